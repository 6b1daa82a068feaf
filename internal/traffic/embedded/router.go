// Package embedded is the traffic.Router on Haldane's own proxy: one listener
// and one routing table for each release, in this process. It knows the port,
// the words and the proxy engine; it must not know what a run is.
//
// Read this file; the engine is package proxy.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/haldane-project/haldane/internal/proxy"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/traffic"
)

// Options are what a router is made of; the zero value of each field is usable.
type Options struct {
	Observer proxy.Observer      // told of every request of every release
	Feedback proxy.FeedbackTaker // told what users said of answers; nil: nobody
	Comparer Comparer            // told of every request that was copied; nil: nobody is
	Listener proxy.Listener      // told of a sample of requests and answers; nil: nobody is
	Tracer   proxy.Tracer        // follows requests through systems; nil: nobody does
	Limits   proxy.Limits
	Trusted  []netip.Prefix // peers whose X-Forwarded-* are believed
	Drain    time.Duration  // longest time for requests on a listener that is given up; default 30 s
	Log      *slog.Logger
}

// Comparer compares the answers to requests that were copied.
type Comparer interface {
	proxy.Comparer
	Configure(release string, m release.Mirroring)
}

// Router serves releases. Make it with New.
type Router struct {
	options Options

	mu      sync.Mutex
	serving map[string]*served
	closed  bool
	drains  sync.WaitGroup
}

// served is one release that has a listener.
type served struct {
	proxy    *proxy.Proxy
	listen   string // as the release says
	listener net.Listener
}

var _ traffic.Router = (*Router)(nil)

// New makes a router that serves nothing yet.
func New(o Options) *Router {
	if o.Drain == 0 {
		o.Drain = 30 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Router{options: o, serving: map[string]*served{}}
}

// Apply implements traffic.Router. New requests follow the target when it returns.
func (r *Router) Apply(_ context.Context, t traffic.Target) error {
	c := t.Release.Traffic.Embedded
	if c == nil {
		return fmt.Errorf("route release %s: its traffic is not embedded: expected spec.traffic.embedded", t.Release.Name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return fmt.Errorf("route release %s: the router is shut down", t.Release.Name)
	}
	s := r.serving[t.Release.Name]
	fresh := s == nil
	if fresh {
		s = &served{proxy: proxy.New(proxy.Options{
			Name: t.Release.Name, Observer: r.options.Observer, Comparer: r.options.Comparer, Feedback: r.options.Feedback, Listener: r.options.Listener, Limits: r.options.Limits,
			Tracer: r.options.Tracer, Trusted: r.options.Trusted, Log: r.options.Log,
		})}
	}
	var next net.Listener
	if s.listen != c.Listen {
		var err error
		if next, err = r.open(t.Release.Name, c.Listen); err != nil {
			return err
		}
	}
	if err := s.proxy.Set(routing(t, *c)); err != nil {
		if next != nil {
			next.Close()
		}
		return fmt.Errorf("route release %s: %w", t.Release.Name, err)
	}
	if r.options.Comparer != nil {
		r.options.Comparer.Configure(t.Release.Name, c.Mirror)
	}
	r.serving[t.Release.Name] = s
	if next != nil {
		r.move(s, c.Listen, next)
	}
	return nil
}

// Feedback takes what was said of an answer of a release (proxy.Proxy.Feedback).
func (r *Router) Feedback(name string, f release.Feedback, session string) error {
	r.mu.Lock()
	s := r.serving[name]
	r.mu.Unlock()
	if s == nil {
		return release.UnknownAnswer{Why: fmt.Sprintf("release %s is not served here, so no answer of it is known", name)}
	}
	return s.proxy.Feedback(f, session)
}

func routing(t traffic.Target, c release.Embedded) proxy.Routing {
	return proxy.Routing{
		Config: c, Split: t.Split, Backends: t.Backends, Interpreter: interpreterOf(c.Model),
		Names: map[release.VersionID]string{t.Release.Version.ID: t.Release.Version.Name},
	}
}

// open listens at an address and says who has it if it cannot.
func (r *Router) open(name, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err == nil {
		return l, nil
	}
	for other, s := range r.serving {
		if other != name && (s.listen == address || s.listener.Addr().String() == address) {
			return nil, fmt.Errorf("listen on %s for release %s: release %s listens there; give one of them another spec.traffic.embedded.listen", address, name, other)
		}
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listen on %s for release %s: another program has this address; stop it or change spec.traffic.embedded.listen", address, name)
	}
	return nil, fmt.Errorf("listen on %s for release %s: %w", address, name, err)
}

// move serves from the new listener and drains the old one.
func (r *Router) move(s *served, address string, next net.Listener) {
	old := s.listener
	s.listen, s.listener = address, next
	p := s.proxy
	r.drains.Add(1)
	go func() {
		defer r.drains.Done()
		if err := p.Serve(next); err != nil {
			r.options.Log.Error("a listener ended", "address", address, "error", err)
		}
	}()
	if old != nil {
		r.drain(func(ctx context.Context) error { return p.Stop(ctx, old) })
	}
}

// drain lets something end in the background, within bounds.
func (r *Router) drain(stop func(context.Context) error) {
	r.drains.Add(1)
	go func() {
		defer r.drains.Done()
		ctx, cancel := context.WithTimeout(context.Background(), r.options.Drain)
		defer cancel()
		if err := stop(ctx); err != nil {
			r.options.Log.Warn("connections were closed before their requests ended", "error", err)
		}
	}()
}

// Observe implements traffic.Router.
func (r *Router) Observe(_ context.Context, rel release.Release) (rollout.ObservedSplit, error) {
	r.mu.Lock()
	s := r.serving[rel.Name]
	r.mu.Unlock()
	if s == nil {
		return rollout.ObservedSplit{Known: true}, nil
	}
	o := rollout.ObservedSplit{Known: true, Split: s.proxy.Table().Split()}
	for _, f := range s.proxy.InFlight() {
		o.InFlight = append(o.InFlight, rollout.InFlight{Version: f.Version, Count: f.Count})
	}
	return o, nil
}

// Remove implements traffic.Router. The listener closes at once; requests that
// were accepted end in the background.
func (r *Router) Remove(_ context.Context, rel release.Release) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.serving[rel.Name]
	if s == nil {
		return nil
	}
	delete(r.serving, rel.Name)
	s.listener.Close()
	r.drain(s.proxy.Shutdown)
	return nil
}

// InFlight is the number of requests inside one version of a release.
type InFlight struct {
	Release string
	proxy.InFlight
}

// InFlight lists the requests inside every version that is served, by release.
func (r *Router) InFlight() []InFlight {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []InFlight
	for _, name := range slices.Sorted(maps.Keys(r.serving)) {
		for _, f := range r.serving[name].proxy.InFlight() {
			list = append(list, InFlight{Release: name, InFlight: f})
		}
	}
	return list
}

// Settled is the moment up to which every request of the release that its split
// sent has been observed (proxy.Settled); now, for a release that is not served.
func (r *Router) Settled(name string, patience time.Duration) time.Time {
	r.mu.Lock()
	s := r.serving[name]
	r.mu.Unlock()
	if s == nil {
		return time.Now()
	}
	return s.proxy.Settled(patience)
}

// Overdue tells the observer of the requests of a release that have been under
// way for longer than age (proxy.Overdue).
func (r *Router) Overdue(name string, age time.Duration) {
	r.mu.Lock()
	s := r.serving[name]
	r.mu.Unlock()
	if s != nil {
		s.proxy.Overdue(age)
	}
}

// InFlightAt counts the requests of all releases inside the instance at
// host:port, and one more while a target in force names it: at 0 it is drained.
// A router that was shut down routes nothing any more.
func (r *Router) InFlightAt(hostport string) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0
	}
	var n int64
	for _, s := range r.serving {
		n += s.proxy.InFlightAt(hostport)
	}
	return n
}

// Dropped counts a release's copies that were to be made and were not, for want
// of budget.
func (r *Router) Dropped(name string) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.serving[name]; s != nil {
		return s.proxy.Dropped()
	}
	return 0
}

// Drops is what Dropped says of each release that is served.
func (r *Router) Drops() map[string]int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[string]int64, len(r.serving))
	for name, s := range r.serving {
		all[name] = s.proxy.Dropped()
	}
	return all
}

// Address is where a release is served now, host:port; empty: nowhere.
func (r *Router) Address(release string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.serving[release]; s != nil {
		return s.listener.Addr().String()
	}
	return ""
}

// Shutdown stops all listeners and waits for the requests that were accepted
// until ctx is done; what is left then is closed.
func (r *Router) Shutdown(ctx context.Context) error {
	r.mu.Lock()
	r.closed = true
	all := r.serving
	r.serving = map[string]*served{}
	r.mu.Unlock()
	errs := make(chan error, len(all))
	for _, s := range all {
		go func() { errs <- s.proxy.Shutdown(ctx) }()
	}
	var first error
	for range all {
		if err := <-errs; err != nil && first == nil {
			first = fmt.Errorf("close connections before their requests ended: %w", err)
		}
	}
	r.drains.Wait()
	return first
}
