package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"

	"golang.org/x/net/http/httpguts"
)

// message is a request as it goes over a connection: the header and, where it
// is small and of known length, the body in one piece.
type message struct {
	bytes      []byte
	streamed   bool // a body follows that is read as it is sent
	chunked    bool
	repeatable bool // by its method and for want of a body: may be sent twice
}

// smallBody is the largest body that is read before anything is sent. That
// keeps a slow client from holding a connection to an instance, and a request
// that was not sent can be sent elsewhere.
const smallBody = 16 << 10

var messages = sync.Pool{New: func() any { return new(message) }}

func newMessage(r *http.Request) (*message, error) {
	m := messages.Get().(*message)
	*m = message{bytes: m.bytes[:0]}
	if err := m.build(r); err != nil {
		m.free()
		return nil, err
	}
	return m, nil
}

func (m *message) free() {
	if cap(m.bytes) <= 64<<10 {
		messages.Put(m)
	}
}

func (m *message) build(r *http.Request) error {
	hasBody := r.Body != nil && r.Body != http.NoBody
	m.repeatable = !hasBody && (r.Method == "GET" || r.Method == "HEAD" || r.Method == "OPTIONS" || r.Method == "TRACE")
	m.chunked = hasBody && r.ContentLength < 0
	target := r.URL.RequestURI()
	if !validTarget(target) {
		return fmt.Errorf("the target %q has bytes that must not stand in a request line", target)
	}
	b := m.bytes
	b = append(b, r.Method...)
	b = append(append(b, ' '), target...)
	b = append(append(b, " HTTP/1.1\r\nHost: "...), r.Host...)
	b = append(b, "\r\n"...)
	b = appendHeader(b, r.Header)
	switch {
	case m.chunked:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
		b = appendTrailerNames(b, r.Trailer)
	case hasBody, r.Method == "POST", r.Method == "PUT", r.Method == "PATCH":
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, max(r.ContentLength, 0), 10)
		b = append(b, "\r\n"...)
	}
	b = append(b, "\r\n"...)
	m.bytes = b
	if !hasBody || r.ContentLength == 0 {
		return nil
	}
	if r.ContentLength < 0 || r.ContentLength > smallBody {
		m.streamed = true
		return nil
	}
	return m.readBody(r)
}

func (m *message) readBody(r *http.Request) error {
	head, n := len(m.bytes), int(r.ContentLength)
	for cap(m.bytes) < head+n {
		m.bytes = append(m.bytes[:cap(m.bytes)], 0)
	}
	m.bytes = m.bytes[:head+n]
	_, err := io.ReadFull(r.Body, m.bytes[head:])
	return err
}

// appendHeader writes the fields that are valid; Host and framing are written
// by build alone.
func appendHeader(b []byte, h http.Header) []byte {
	for name, values := range h {
		if name == "Host" || name == "Content-Length" || name == "Transfer-Encoding" || !httpguts.ValidHeaderFieldName(name) {
			continue
		}
		for _, v := range values {
			if !httpguts.ValidHeaderFieldValue(v) || (v == "" && name == "User-Agent") {
				continue
			}
			b = append(append(b, name...), ": "...)
			b = append(append(b, v...), "\r\n"...)
		}
	}
	return b
}

func appendTrailerNames(b []byte, trailer http.Header) []byte {
	first := true
	for name := range trailer {
		if forbiddenTrailer(name) {
			continue
		}
		if first {
			b = append(b, "Trailer: "...)
		} else {
			b = append(b, ", "...)
		}
		b, first = append(b, name...), false
	}
	if !first {
		b = append(b, "\r\n"...)
	}
	return b
}

func validTarget(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return false
		}
	}
	return s != ""
}
