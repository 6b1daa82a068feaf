package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"
)

// tunnels are the upgraded connections of a proxy.
type tunnels struct {
	mu    sync.Mutex
	open  map[net.Conn]struct{}
	empty chan struct{} // closed when draining and none is open
}

func (t *tunnels) add(c net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		t.open = map[net.Conn]struct{}{}
	}
	t.open[c] = struct{}{}
}

func (t *tunnels) remove(c net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, c)
	if len(t.open) == 0 && t.empty != nil {
		close(t.empty)
		t.empty = nil
	}
}

// drain waits until all tunnels have ended or ctx is done, and closes the rest then.
func (t *tunnels) drain(ctx context.Context) error {
	t.mu.Lock()
	if len(t.open) == 0 {
		t.mu.Unlock()
		return nil
	}
	if t.empty == nil {
		t.empty = make(chan struct{})
	}
	empty := t.empty
	t.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	for c := range t.open {
		c.Close()
	}
	t.mu.Unlock()
	<-empty // every tunnel notices that its client is gone
	return ctx.Err()
}

// switches reports whether 101 answers what was asked.
func (x *exchange) switches(res *http.Response) bool {
	_, ok := res.Body.(io.ReadWriteCloser)
	return ok && x.upgrade && strings.EqualFold(res.Header.Get("Upgrade"), "websocket")
}

// tunnel joins client and instance after 101 Switching Protocols.
func (x *exchange) tunnel(a *attempt) bool {
	if a.obs.Cause == causeBad { // an upgrade that was not asked for
		x.answerError(a, true)
		return true
	}
	back := a.res.Body.(io.ReadWriteCloser) // as switches has found
	conn, buf, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		x.hungUp(a)
		return true
	}
	defer conn.Close()
	x.p.tunnels.add(conn)
	defer x.p.tunnels.remove(conn)
	if err := x.writeSwitch(a.res, buf.Writer); err != nil {
		x.hungUp(a)
		return true
	}
	x.flight.end() // it was answered; how long it stays says nothing
	x.pump(a, conn, buf.Reader, back)
	return true
}

func (x *exchange) writeSwitch(res *http.Response, w *bufio.Writer) error {
	dropHopByHop(res.Header)
	res.Header["Connection"], res.Header["Upgrade"] = upgradeToken, websocketToken
	if x.pick.cookie != "" {
		setCookie(res.Header, x.table.config.Sticky, x.pick.cookie, x.r.TLS != nil)
	}
	_, _ = w.WriteString("HTTP/1.1 101 Switching Protocols\r\n") // the first error comes out of Flush
	_ = res.Header.Write(w)
	_, _ = w.WriteString("\r\n")
	return w.Flush()
}

// halfOpen is how long one direction of a tunnel may go on after the other ended.
const halfOpen = 30 * time.Second

// pump copies both ways. When one side ends its half, that end is passed on
// and the other half may go on for a while; an error ends both.
func (x *exchange) pump(a *attempt, conn net.Conn, early *bufio.Reader, back io.ReadWriteCloser) {
	up, over := make(chan int64, 1), make(chan struct{})
	defer close(over)
	go func() {
		n, err := io.Copy(back, early)
		if err != nil || !closeWrite(back) {
			back.Close()
		}
		bound := time.AfterFunc(halfOpen, func() { back.Close() })
		up <- n
		<-over
		bound.Stop()
	}()
	n, err := io.Copy(conn, back)
	x.out += n
	if op := (*net.OpError)(nil); errors.As(err, &op) && op.Op == "read" && errors.Is(err, syscall.ECONNRESET) {
		settle(&a.obs, causeReset) // by the instance: the client is written to here
	}
	if err != nil || !closeWrite(conn) {
		conn.Close()
	}
	conn.SetReadDeadline(time.Now().Add(halfOpen))
	a.obs.In = <-up
	back.Close()
}

func closeWrite(c any) bool {
	h, ok := c.(interface{ CloseWrite() error })
	return ok && h.CloseWrite() == nil
}
