package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"sync"
	"syscall"
	"time"
)

// h1 speaks HTTP/1.1 in clear text to one instance. Beside the standard
// transport it has no goroutine for a connection, asks the kernel whether an
// idle connection still lives before it uses it, and knows whether any byte of
// a request was written, so that it can tell which requests may be sent again.
type h1 struct {
	host string
	d    dialing

	mu      sync.Mutex
	idle    []*h1conn // the one used last is last
	sweeper *time.Timer
}

// sender sends requests to an instance. Interim answers (1xx) go to hints.
type sender interface {
	send(out *http.Request, hints hints) (*http.Response, error)
	CloseIdleConnections()
}

// hints gets interim answers.
type hints interface {
	hint(code int, header textproto.MIMEHeader) error
}

// freshness is how long ago a connection's last request may have been sent for
// it to be used for one that cannot be sent twice. Servers close idle
// connections after a time that they do not tell. A request that crosses such a
// close and was not acknowledged by the server's kernel is sent again; one that
// was acknowledged while the server closed is lost with no sign whether it was
// acted upon. No server gives up a connection within this time; an older one is
// closed and a new one made.
const freshness = 5 * time.Millisecond

func (t *h1) send(out *http.Request, hints hints) (*http.Response, error) {
	m, err := newMessage(out)
	if err != nil {
		return nil, err
	}
	defer m.free()
	for {
		c, err := t.get(out.Context(), m.repeatable)
		if err != nil {
			return nil, err
		}
		res, err := c.exchange(out, m, hints)
		if err == nil {
			return res, nil
		}
		again := c.uses > 0 && out.Context().Err() == nil && c.lost(err, m)
		c.conn.Close()
		if !again {
			return nil, err
		}
	}
}

// get takes an idle connection or makes one.
func (t *h1) get(ctx context.Context, repeatable bool) (*h1conn, error) {
	for {
		c := t.pop()
		if c == nil {
			return t.dial(ctx)
		}
		old := !repeatable && time.Since(c.sent) > freshness
		if !old && c.alive() {
			return c, nil
		}
		c.conn.Close()
	}
}

func (t *h1) pop() *h1conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(t.idle)
	if n == 0 {
		return nil
	}
	c := t.idle[n-1]
	t.idle[n-1] = nil
	t.idle = t.idle[:n-1]
	return c
}

// dial makes a connection. All of its errors are of the operation "dial":
// nothing was written.
func (t *h1) dial(ctx context.Context) (*h1conn, error) {
	d := net.Dialer{Timeout: t.d.limits.DialTimeout}
	conn, err := d.DialContext(ctx, "tcp", t.host)
	if err != nil {
		var op *net.OpError
		if !errors.As(err, &op) {
			err = &net.OpError{Op: "dial", Net: "tcp", Err: err}
		}
		return nil, err
	}
	return newH1conn(t, conn), nil
}

// put keeps a connection for the next request.
func (t *h1) put(c *h1conn) {
	c.since = time.Now()
	c.uses++
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.idle) >= t.d.limits.PoolSize {
		c.conn.Close()
		return
	}
	t.idle = append(t.idle, c)
	if len(t.idle) == 1 {
		t.schedule(t.d.limits.PoolIdle)
	}
}

func (t *h1) schedule(after time.Duration) {
	if t.sweeper == nil {
		t.sweeper = time.AfterFunc(after, t.sweep)
		return
	}
	t.sweeper.Reset(after)
}

// sweep closes the connections that were idle for too long.
func (t *h1) sweep() {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for n < len(t.idle) && time.Since(t.idle[n].since) >= t.d.limits.PoolIdle {
		t.idle[n].conn.Close()
		n++
	}
	t.idle = append(t.idle[:0], t.idle[n:]...)
	clear(t.idle[len(t.idle):cap(t.idle)])
	if len(t.idle) > 0 {
		t.schedule(max(t.d.limits.PoolIdle-time.Since(t.idle[0].since), time.Millisecond))
	}
}

// CloseIdleConnections closes the connections that no request uses.
func (t *h1) CloseIdleConnections() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.idle {
		c.conn.Close()
	}
	clear(t.idle)
	t.idle = t.idle[:0]
	if t.sweeper != nil {
		t.sweeper.Stop()
	}
}

// lost reports whether a request on a used connection may be sent again on
// another one: the connection was closed without a byte of an answer, and
// nothing of the request was written, or the server's kernel took none of it,
// or the request may be sent twice.
func (c *h1conn) lost(err error, m *message) bool {
	closed := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	if !closed || c.answered || m.streamed {
		return false
	}
	return c.written == 0 || m.repeatable || (c.raw != nil && unreceived(c.raw, c.total))
}
