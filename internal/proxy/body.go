package proxy

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

// body is a client's request body, read by one attempt after the other. It
// notes the client's own faults, so that they are not taken for a version's,
// and keeps what was read as long as that is within limit, for a second try.
type body struct {
	req   *http.Request
	src   io.Reader
	limit int64                          // bytes kept; 0: nothing is
	tee   interface{ Request(p []byte) } // told what comes; nil: nobody is

	reading sync.Mutex // held while src is read: a later attempt waits for an earlier one's read

	mu     sync.Mutex // guards what follows
	kept   []byte
	lost   bool // more than limit was read
	read   int64
	end    error // what src ended with
	busy   bool  // src is being read
	closed bool
}

var errDetached = errors.New("proxy: this attempt was given up")

// cursor is the body as one attempt reads it.
type cursor struct {
	b    *body
	off  int64
	dead bool // guarded by b.mu
}

func (c *cursor) Read(p []byte) (int, error) {
	if done, n, err := c.known(p); done {
		return n, err
	}
	b := c.b
	b.reading.Lock()
	defer b.reading.Unlock()
	if done, n, err := c.known(p); done {
		return n, err
	}
	if !b.begin() {
		return 0, errDetached
	}
	n, err := b.src.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.busy = false
	b.note(p[:n], err)
	c.off += int64(n)
	return n, err
}

// known reads what earlier reads left; done false: src must be read.
func (c *cursor) known(p []byte) (done bool, n int, err error) {
	b := c.b
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case c.dead:
		return true, 0, errDetached
	case c.off < b.read:
		n = copy(p, b.kept[c.off:])
		c.off += int64(n)
		return true, n, nil
	case b.end != nil:
		return true, 0, b.end
	}
	return false, 0, nil
}

func (b *body) begin() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.busy = !b.closed
	return b.busy
}

// shut ends all reading and reports whether src is being read at this moment.
func (b *body) shut() (busy bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return b.busy
}

func (b *body) note(p []byte, err error) {
	b.read += int64(len(p))
	if b.tee != nil && len(p) > 0 {
		b.tee.Request(p)
	}
	if b.read > b.limit {
		b.kept, b.lost = nil, b.lost || b.read > 0
	} else {
		b.kept = append(b.kept, p...)
	}
	if err != nil {
		b.end = err
		for name := range b.req.Trailer {
			if forbiddenTrailer(name) {
				delete(b.req.Trailer, name)
			}
		}
	}
}

// Close ends the attempt's reading; the client's body itself stays open.
func (c *cursor) Close() error { return nil }

// detach makes reads of an attempt that was given up fail.
func (c *cursor) detach() {
	c.b.mu.Lock()
	c.dead = true
	c.b.mu.Unlock()
}

// replayable reports whether another attempt can read all of the body.
func (b *body) replayable() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.lost && b.fault() == nil
}

// fault is the client's error in sending the body, nil if there was none.
func (b *body) fault() error {
	if errors.Is(b.end, io.EOF) {
		return nil
	}
	return b.end
}

// state returns the bytes read and the client's fault.
func (b *body) state() (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.read, b.fault()
}

// whole returns the body where all of it was read and kept.
func (b *body) whole() ([]byte, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := errors.Is(b.end, io.EOF) || b.end == nil && b.read == b.req.ContentLength
	return b.kept, all && !b.lost
}
