package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// fronts are the listeners of a proxy, guarded by its mutex.
type fronts struct {
	list map[net.Listener]*front
	down bool
}

// front hands the connections of one listener to the server of the day: a
// server's timeouts cannot be changed while it runs, so a change of the
// timeouts puts a new server behind the same listener and lets the old one
// drain.
type front struct {
	listener net.Listener
	mu       sync.Mutex
	feed     *feed
	server   *http.Server
	former   map[*http.Server]bool // still draining
}

// Serve accepts connections until the listener is stopped by Stop or Shutdown;
// it returns nil then. It owns the listener from here on.
func (p *Proxy) Serve(l net.Listener) error {
	f := &front{listener: l, former: map[*http.Server]bool{}}
	if !p.addFront(f) {
		return l.Close()
	}
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			f.deliver(c)
		case errors.Is(err, net.ErrClosed):
			return nil
		case passing(err):
			time.Sleep(5 * time.Millisecond) // too many open files: let some close
		default:
			return err
		}
	}
}

func (p *Proxy) addFront(f *front) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fronts.down {
		return false
	}
	if p.fronts.list == nil {
		p.fronts.list = map[net.Listener]*front{}
	}
	p.fronts.list[f.listener] = f
	f.renew(p.newServer(p.table.Load().config))
	return true
}

func passing(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// configure puts new servers behind the listeners where the release's timeouts
// or TLS changed. Proxy.mu is held.
func (p *Proxy) configure(before, now release.Embedded) {
	same := before.Timeouts.Header == now.Timeouts.Header && before.Timeouts.Idle == now.Timeouts.Idle
	if same && sameTLS(before.TLS, now.TLS) {
		return
	}
	for _, f := range p.fronts.list {
		f.renew(p.newServer(now))
	}
}

func sameTLS(a, b *release.TLS) bool {
	return a == b || (a != nil && b != nil && *a == *b)
}

// newServer makes an HTTP/1.1 and HTTP/2 server with the limits of this proxy.
func (p *Proxy) newServer(c release.Embedded) *http.Server {
	s := &http.Server{
		Handler:           p,
		ReadHeaderTimeout: c.Timeouts.Header,
		IdleTimeout:       c.Timeouts.Idle,
		MaxHeaderBytes:    p.limits.HeaderBytes,
		ErrorLog:          slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
		Protocols:         new(http.Protocols),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: p.limits.Streams,
			SendPingTimeout:      30 * time.Second,
			PingTimeout:          15 * time.Second,
			WriteByteTimeout:     time.Minute,
		},
		DisableGeneralOptionsHandler: true,
	}
	fill(&s.ReadHeaderTimeout, p.limits.HeaderTimeout)
	fill(&s.IdleTimeout, p.limits.IdleTimeout)
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	if c.TLS != nil {
		s.TLSConfig = tlsConfig(*c.TLS, p.log)
	}
	return s
}

// renew puts the server behind the listener and lets the one before it drain.
func (f *front) renew(s *http.Server) {
	fd := &feed{conns: make(chan net.Conn), done: make(chan struct{}), addr: f.listener.Addr()}
	f.mu.Lock()
	old := f.server
	f.server, f.feed = s, fd
	if old != nil {
		f.former[old] = true
		go f.retire(old)
	}
	f.mu.Unlock()
	go run(s, fd)
}

// run ends with http.ErrServerClosed only: the feed has no other error.
func run(s *http.Server, fd *feed) {
	if s.TLSConfig != nil {
		_ = s.ServeTLS(fd, "", "")
		return
	}
	_ = s.Serve(fd)
}

// retire drains a server that another one took over from; stop may end that.
func (f *front) retire(s *http.Server) {
	_ = s.Shutdown(context.Background()) // ends without an error: nothing else ends it
	f.mu.Lock()
	delete(f.former, s)
	f.mu.Unlock()
}

// deliver gives a connection to the server of the day. The deadline is for the
// look at its first bytes, for HTTP/2 without TLS, where that server sets none.
func (f *front) deliver(c net.Conn) {
	for {
		f.mu.Lock()
		fd, first := f.feed, f.server.ReadHeaderTimeout
		f.mu.Unlock()
		c.SetReadDeadline(time.Now().Add(first)) // a connection that is gone shows at its first read
		if fd.put(guarded{c}) {
			return
		}
		f.mu.Lock()
		over := f.feed == fd
		f.mu.Unlock()
		if over {
			c.Close()
			return
		}
	}
}

// stop closes the listener and drains its connections until ctx is done.
func (f *front) stop(ctx context.Context) error {
	f.listener.Close()
	f.mu.Lock()
	all := []*http.Server{f.server}
	for s := range f.former {
		all = append(all, s)
	}
	f.mu.Unlock()
	errs := make(chan error, len(all))
	for _, s := range all {
		go func() {
			err := s.Shutdown(ctx)
			if err != nil {
				_ = s.Close() // its connections; the error that counts is Shutdown's
			}
			errs <- err
		}()
	}
	var first error
	for range all {
		if err := <-errs; first == nil {
			first = err
		}
	}
	return first
}

// Stop stops accepting on one listener and drains its connections; what is
// left when ctx is done is closed.
func (p *Proxy) Stop(ctx context.Context, l net.Listener) error {
	p.mu.Lock()
	f := p.fronts.list[l]
	delete(p.fronts.list, l)
	p.mu.Unlock()
	if f == nil {
		return nil
	}
	return f.stop(ctx)
}

// Shutdown stops accepting, lets requests, streams and tunnels end, and closes
// what is left when ctx is done; the error then is that of ctx.
func (p *Proxy) Shutdown(ctx context.Context) error {
	p.mu.Lock()
	p.fronts.down = true
	list := p.fronts.list
	p.fronts.list = nil
	p.mu.Unlock()
	errs := make(chan error, len(list)+1)
	for _, f := range list {
		go func() { errs <- f.stop(ctx) }()
	}
	errs <- p.tunnels.drain(ctx)
	var first error
	for range len(list) + 1 {
		if err := <-errs; first == nil {
			first = err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	empty := &Table{config: p.table.Load().config}
	p.table.Store(empty)
	p.retire(empty)
	return first
}

// stall is how long one write to a client may take: a client that reads
// nothing holds its request, and a connection to an instance, no longer.
const stall = time.Minute

// guarded is a client's connection whose writes do not wait for ever.
type guarded struct{ net.Conn }

func (g guarded) Write(p []byte) (int, error) {
	g.SetWriteDeadline(time.Now().Add(stall)) // a connection that is gone shows at the write
	return g.Conn.Write(p)
}

func (g guarded) CloseWrite() error {
	if h, ok := g.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return errors.ErrUnsupported
}

// feed is a listener whose connections are put into it.
type feed struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	addr  net.Addr
}

func (f *feed) put(c net.Conn) bool {
	select {
	case f.conns <- c:
		return true
	case <-f.done:
		return false
	}
}

func (f *feed) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.done:
		return nil, net.ErrClosed
	}
}

func (f *feed) Close() error {
	f.once.Do(func() { close(f.done) })
	return nil
}

func (f *feed) Addr() net.Addr { return f.addr }
