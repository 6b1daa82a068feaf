package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"syscall"
	"time"
)

// h1conn is one connection to an instance, used by one exchange at a time.
type h1conn struct {
	t     *h1
	conn  net.Conn
	raw   syscall.RawConn // nil: cannot be asked
	br    *bufio.Reader
	since time.Time // idle since
	sent  time.Time // before the last request was written
	uses  int       // exchanges before this one
	total int64     // bytes written by exchanges before this one

	// of the exchange under way
	written  int64
	answered bool        // a byte of the answer came
	left     int         // bytes of the answer's header that may still come; < 0: no bound
	watch    func() bool // stops watching the client; nil: it is not watched
	upload   *upload

	peeked  int
	peekNow func(fd uintptr)
}

var errHeaderTooLarge = errors.New("the header of the answer is too large")

// maxHints bounds the interim answers before the final one.
const maxHints = 16

func newH1conn(t *h1, conn net.Conn) *h1conn {
	c := &h1conn{t: t, conn: conn, left: -1}
	c.br = bufio.NewReaderSize(reader{c}, 4<<10)
	if sc, ok := conn.(syscall.Conn); ok {
		c.raw, _ = sc.SyscallConn() // without it a connection counts as alive
	}
	c.peekNow = func(fd uintptr) {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		switch {
		case err == nil:
			c.peeked = n // 0: closed by the peer
		case errors.Is(err, syscall.EAGAIN):
			c.peeked = -1
		default:
			c.peeked = 0
		}
	}
	return c
}

// alive reports whether the peer has neither closed the connection nor sent
// anything on it, which would be no answer to a request of ours.
func (c *h1conn) alive() bool {
	if c.raw == nil {
		return true
	}
	return c.raw.Control(c.peekNow) == nil && c.peeked == -1
}

// reader reads from the connection within the bound for headers.
type reader struct{ c *h1conn }

func (r reader) Read(p []byte) (int, error) {
	c := r.c
	if c.left == 0 {
		return 0, errHeaderTooLarge
	}
	if c.left > 0 && len(p) > c.left {
		p = p[:c.left]
	}
	n, err := c.conn.Read(p)
	if n > 0 {
		c.answered = true
	}
	if c.left > 0 {
		c.left -= n
	}
	return n, err
}

// brisk is how long an answer may take that is waited for without watching
// whether the client still waits. Most answers come within it.
const brisk = 20 * time.Millisecond

// exchange sends the request and reads the header of the answer. After an
// error the connection is of no use.
func (c *h1conn) exchange(out *http.Request, m *message, hints hints) (*http.Response, error) {
	c.written, c.answered, c.upload, c.watch, c.sent = 0, false, nil, nil, time.Now()
	c.left = c.t.d.limits.HeaderBytes
	n, err := c.conn.Write(m.bytes)
	c.written = int64(n)
	if err != nil {
		return nil, err
	}
	if m.streamed {
		c.conn.SetReadDeadline(time.Time{}) // of the exchange before: an upload takes as long as its client does
		c.watchClient(out.Context())
		c.upload = newUpload(c, out, m.chunked)
		go c.upload.run()
	} else {
		c.await(out.Context())
	}
	res, err := c.readHeader(out, hints)
	if err == nil {
		err = c.headerCame(out.Context(), res)
	}
	if err != nil {
		c.unwatch()
		if m.streamed {
			c.conn.Close() // an upload that waits for the connection ends by this
		}
		return nil, c.because(err)
	}
	return c.deliver(out, res)
}

// await waits for the answer's header; where it does not come whole at once,
// the client is watched and the answer gets the time that the release allows.
func (c *h1conn) await(ctx context.Context) {
	limit := c.t.d.response
	first := brisk
	if limit > 0 {
		first = min(brisk, limit)
	}
	c.conn.SetReadDeadline(c.sent.Add(first))
	if _, err := c.br.Peek(1); err == nil {
		if b, _ := c.br.Peek(c.br.Buffered()); bytes.Contains(b, headerEnd) {
			return
		}
	}
	deadline := time.Time{}
	if limit > 0 {
		deadline = c.sent.Add(limit)
	}
	c.conn.SetReadDeadline(deadline)
	c.watchClient(ctx)
}

var headerEnd = []byte("\r\n\r\n")

func (c *h1conn) watchClient(ctx context.Context) {
	if c.watch == nil {
		c.watch = context.AfterFunc(ctx, c.interrupt)
	}
}

// unwatch ends the watch and reports whether the client was still there.
func (c *h1conn) unwatch() bool { return c.watch == nil || c.watch() }

// interrupt ends what waits for the connection, when the client has gone.
func (c *h1conn) interrupt() { c.conn.SetDeadline(time.Unix(1, 0)) }

// headerCame lifts the bounds that hold for the header. A body that is there
// already needs no watch of the client.
func (c *h1conn) headerCame(ctx context.Context, res *http.Response) error {
	c.left = -1
	whole := res.Body == http.NoBody || (res.ContentLength >= 0 && int64(c.br.Buffered()) >= res.ContentLength)
	if whole && c.upload == nil && res.StatusCode != http.StatusSwitchingProtocols {
		return nil
	}
	if c.upload != nil {
		c.upload.headerCame()
	}
	if err := c.conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	c.watchClient(ctx)
	if ctx.Err() != nil {
		c.interrupt() // again: the line above may have undone it
	}
	return nil
}

// because prefers the upload's error where that is the reason of the other one.
func (c *h1conn) because(err error) error {
	if c.upload != nil {
		if e := c.upload.failure(); e != nil {
			return e
		}
	}
	return err
}

func (c *h1conn) readHeader(out *http.Request, hints hints) (*http.Response, error) {
	for range maxHints {
		res, err := http.ReadResponse(c.br, out)
		if err != nil {
			return nil, err
		}
		if res.StatusCode == http.StatusSwitchingProtocols || res.StatusCode >= 200 {
			return res, nil
		}
		if res.StatusCode != http.StatusContinue { // which nobody asked for
			if err := hints.hint(res.StatusCode, textproto.MIMEHeader(res.Header)); err != nil {
				return nil, err
			}
		}
		if c.upload == nil {
			c.await(out.Context())
		}
	}
	return nil, fmt.Errorf("more than %d interim answers", maxHints)
}

// deliver makes the answer's body give the connection back at its end.
func (c *h1conn) deliver(out *http.Request, res *http.Response) (*http.Response, error) {
	if res.StatusCode == http.StatusSwitchingProtocols {
		if !c.unwatch() {
			return nil, context.Cause(out.Context())
		}
		res.Body = &switched{c}
		return res, nil
	}
	if res.Body == http.NoBody {
		c.end(!res.Close)
		return res, nil
	}
	res.Body = &h1body{c: c, ReadCloser: res.Body, keep: !res.Close}
	return res, nil
}

// end is the end of an exchange; keep says that the answer came whole.
func (c *h1conn) end(keep bool) {
	quiet := c.unwatch()
	if c.upload != nil && !c.upload.finished() {
		keep = false
	}
	if !keep || !quiet || c.br.Buffered() > 0 {
		c.conn.Close()
		return
	}
	c.total += c.written
	c.t.put(c)
}

// h1body is the body of an answer.
type h1body struct {
	io.ReadCloser
	c    *h1conn
	keep bool
	over bool
}

func (b *h1body) Read(p []byte) (int, error) {
	if b.over {
		return 0, io.EOF
	}
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.over = true
		b.c.end(b.keep)
	}
	return n, err
}

func (b *h1body) Close() error {
	if !b.over {
		b.over = true
		b.c.end(false)
	}
	return nil
}

// switched is a connection after 101.
type switched struct{ c *h1conn }

func (s *switched) Read(p []byte) (int, error)  { return s.c.br.Read(p) }
func (s *switched) Write(p []byte) (int, error) { return s.c.conn.Write(p) }
func (s *switched) Close() error                { return s.c.conn.Close() }
func (s *switched) CloseWrite() error {
	if h, ok := s.c.conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return errors.ErrUnsupported
}
