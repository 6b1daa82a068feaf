package proxy

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// upload sends a body while the answer may already come.
type upload struct {
	c       *h1conn
	out     *http.Request
	chunked bool
	done    chan struct{}
	err     error // read after done is closed

	mu     sync.Mutex
	header bool // the answer's header came: it has no deadline any more
}

func newUpload(c *h1conn, out *http.Request, chunked bool) *upload {
	return &upload{c: c, out: out, chunked: chunked, done: make(chan struct{})}
}

func (u *upload) run() {
	defer close(u.done)
	u.err = u.copy()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.header {
		return
	}
	if u.err != nil {
		u.c.conn.SetReadDeadline(u.grace()) // an answer that says why may be on its way
		return
	}
	if d := u.c.t.d.response; d > 0 {
		u.c.conn.SetReadDeadline(time.Now().Add(d))
	}
}

// grace is until when an answer may still come after the upload failed: at
// once where the client is at fault.
func (u *upload) grace() time.Time {
	var op *net.OpError
	if errors.As(u.err, &op) && op.Op == "write" {
		return time.Now().Add(100 * time.Millisecond)
	}
	return time.Unix(1, 0)
}

func (u *upload) copy() error {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	sent := int64(0)
	for {
		n, err := u.out.Body.Read((*buf)[room : len(*buf)-2])
		if n > 0 {
			sent += int64(n)
			if werr := u.write(*buf, n); werr != nil {
				return werr
			}
		}
		if err == io.EOF {
			return u.finish(sent)
		}
		if err != nil {
			return err
		}
	}
}

// room is left before the data for a chunk's size line.
const room = 16

// write sends n bytes of the buffer from room on, framed where that is needed.
func (u *upload) write(buf []byte, n int) error {
	b := buf[room : room+n]
	if u.chunked {
		var size [room]byte
		s := append(strconv.AppendInt(size[:0], int64(n), 16), "\r\n"...)
		start := room - len(s)
		copy(buf[start:], s)
		copy(buf[room+n:], "\r\n")
		b = buf[start : room+n+2]
	}
	_, err := u.c.conn.Write(b)
	return err
}

func (u *upload) finish(sent int64) error {
	if !u.chunked {
		if sent != u.out.ContentLength {
			return io.ErrUnexpectedEOF
		}
		return nil
	}
	b := []byte("0\r\n")
	for name, values := range u.out.Trailer {
		if !forbiddenTrailer(name) {
			b = appendHeader(b, http.Header{name: values})
		}
	}
	_, err := u.c.conn.Write(append(b, "\r\n"...))
	return err
}

// headerCame keeps the upload's end from setting a deadline for the header.
func (u *upload) headerCame() {
	u.mu.Lock()
	u.header = true
	u.mu.Unlock()
}

func (u *upload) finished() bool {
	select {
	case <-u.done:
		return u.err == nil
	default:
		return false
	}
}

// failure is why the upload ended before its end, nil if it did not.
func (u *upload) failure() error {
	select {
	case <-u.done:
		return u.err
	default:
		return nil
	}
}
