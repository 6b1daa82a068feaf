package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// strictOrigin is an HTTP/1.1 server that accepts nothing but what RFC 9112
// lets a client generate: any other byte is noted as a violation.
type strictOrigin struct {
	addr string
	mu   sync.Mutex
	got  []strictRequest
	bad  []string
}

type strictRequest struct {
	method, target, body string
	header               map[string][]string // by lower-case name
}

func newStrictOrigin(t testing.TB) *strictOrigin {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	o := &strictOrigin{addr: l.Addr().String()}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go o.serve(c)
		}
	}()
	return o
}

// take returns what came since the last call.
func (o *strictOrigin) take() ([]strictRequest, []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	got, bad := o.got, o.bad
	o.got, o.bad = nil, nil
	return got, bad
}

func (o *strictOrigin) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		q, err := readStrict(r)
		o.mu.Lock()
		if err == nil {
			o.got = append(o.got, q)
		} else if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			o.bad = append(o.bad, err.Error())
		}
		o.mu.Unlock()
		if err != nil {
			return
		}
		if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
			return
		}
	}
}

var (
	requestLine = regexp.MustCompile(`^([!#$%&'*+.^_|~0-9A-Za-z-]+) ([^\x00-\x20\x7f]+) HTTP/1\.1$`)
	fieldLine   = regexp.MustCompile(`^([!#$%&'*+.^_|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*$`)
	chunkLine   = regexp.MustCompile(`^[0-9a-fA-F]{1,15}$`)
)

func strictLine(r *bufio.Reader) (string, error) {
	s, err := r.ReadString('\n')
	if err != nil {
		if err == io.EOF && s != "" {
			err = io.ErrUnexpectedEOF
		}
		return "", err
	}
	s, ok := strings.CutSuffix(s, "\r\n")
	if !ok || strings.ContainsAny(s, "\r\x00") {
		return "", fmt.Errorf("line %q", s)
	}
	return s, nil
}

func readStrict(r *bufio.Reader) (strictRequest, error) {
	q := strictRequest{header: map[string][]string{}}
	line, err := strictLine(r)
	if err != nil {
		return q, err
	}
	m := requestLine.FindStringSubmatch(line)
	if m == nil {
		return q, fmt.Errorf("request line %q", line)
	}
	q.method, q.target = m[1], m[2]
	for {
		line, err := strictLine(r)
		if err != nil {
			return q, unexpected(err)
		}
		if line == "" {
			break
		}
		f := fieldLine.FindStringSubmatch(line)
		if f == nil {
			return q, fmt.Errorf("field %q", line)
		}
		name := strings.ToLower(f[1])
		q.header[name] = append(q.header[name], f[2])
	}
	if len(q.header["host"]) != 1 {
		return q, fmt.Errorf("%d Host fields", len(q.header["host"]))
	}
	q.body, err = strictBody(r, q.header)
	return q, err
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func strictBody(r *bufio.Reader, h map[string][]string) (string, error) {
	te, cl := h["transfer-encoding"], h["content-length"]
	switch {
	case len(te) > 0 && len(cl) > 0:
		return "", fmt.Errorf("both Transfer-Encoding and Content-Length")
	case len(te) > 0:
		if len(te) != 1 || te[0] != "chunked" {
			return "", fmt.Errorf("Transfer-Encoding %q", te)
		}
		return strictChunks(r)
	case len(cl) > 1:
		return "", fmt.Errorf("Content-Length %q", cl)
	case len(cl) == 1:
		n, err := strconv.ParseUint(cl[0], 10, 31)
		if err != nil || strings.TrimLeft(cl[0], "0123456789") != "" {
			return "", fmt.Errorf("Content-Length %q", cl[0])
		}
		b := make([]byte, n)
		_, err = io.ReadFull(r, b)
		return string(b), unexpected(err)
	}
	return "", nil
}

func strictChunks(r *bufio.Reader) (string, error) {
	var body strings.Builder
	for {
		line, err := strictLine(r)
		if err != nil {
			return "", unexpected(err)
		}
		if !chunkLine.MatchString(line) {
			return "", fmt.Errorf("chunk size %q", line)
		}
		n, _ := strconv.ParseUint(line, 16, 31)
		if n == 0 {
			break
		}
		if _, err := io.CopyN(&body, r, int64(n)); err != nil {
			return "", unexpected(err)
		}
		if end, err := strictLine(r); err != nil || end != "" {
			return "", fmt.Errorf("chunk end %q %w", end, unexpected(err))
		}
	}
	for {
		line, err := strictLine(r)
		if err != nil {
			return "", unexpected(err)
		}
		if line == "" {
			return body.String(), nil
		}
		f := fieldLine.FindStringSubmatch(line)
		if f == nil || forbiddenTrailer(f[1]) {
			return "", fmt.Errorf("trailer %q", line)
		}
	}
}
