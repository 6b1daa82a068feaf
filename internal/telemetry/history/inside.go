package history

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// insideAddress stands for Haldane itself: no port is opened for it, and no
// host can have the name (RFC 6761).
const insideAddress = "haldane.invalid:80"

// inside serves metrics over connections within the process, so that Haldane's
// own are scraped the way all others are.
type inside struct {
	server http.Server
	conns  chan net.Conn
	done   chan struct{}
	once   sync.Once
	served chan struct{}
}

func serveInside(g prometheus.Gatherer) *inside {
	in := &inside{conns: make(chan net.Conn), done: make(chan struct{}), served: make(chan struct{})}
	in.server = http.Server{
		Handler:           promhttp.HandlerFor(g, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, DisableCompression: true}),
		ReadHeaderTimeout: 5 * time.Second,
	}
	go func() {
		defer close(in.served)
		_ = in.server.Serve(in) // ends with ErrServerClosed
	}()
	return in
}

// dial connects to the inside, or to any other address.
func (in *inside) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if address != insideAddress {
		return plain.DialContext(ctx, network, address)
	}
	client, server := net.Pipe()
	select {
	case in.conns <- server:
		return client, nil
	case <-in.done:
		return nil, errClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (in *inside) close() {
	_ = in.server.Close()
	<-in.served
}

// Accept, Close and Addr implement net.Listener.
func (in *inside) Accept() (net.Conn, error) {
	select {
	case c := <-in.conns:
		return c, nil
	case <-in.done:
		return nil, net.ErrClosed
	}
}

func (in *inside) Close() error {
	in.once.Do(func() { close(in.done) })
	return nil
}

func (in *inside) Addr() net.Addr { return insideAddr{} }

type insideAddr struct{}

func (insideAddr) Network() string { return "inside" }
func (insideAddr) String() string  { return insideAddress }
