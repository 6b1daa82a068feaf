// Package proxy is the data plane engine: an http.Handler over a routing Table
// that is swapped in one atomic store. For every request it draws a version,
// passes the request on and tells an Observer what became of it. It knows the
// words of package release and nothing else of Haldane: no runs, no verdicts, no
// store. It must not decide anything that outlives a request.
//
// Read this file first, then table.go (what is compiled once), exchange.go (one
// request from beginning to end) and outcome.go (for whom a request counts).
package proxy

import (
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// Observer is told of every request once, at its end, and of those that Overdue
// finds before that. Observe must not block; the observation is reused after it
// returns.
type Observer interface {
	Observe(o *release.Observation)
}

// Options are what a proxy is made of; the zero value of each field is usable.
type Options struct {
	Name     string        // the release; stands in every observation
	Observer Observer      // nil: nobody listens
	Comparer Comparer      // nil: answers to copies are not compared
	Feedback FeedbackTaker // nil: none is taken
	Listener Listener      // nil: nobody is told what was said
	Tracer   Tracer        // nil: requests are not traced
	Limits   Limits
	// Trusted are peers whose X-Forwarded-* headers are believed. Empty: none.
	Trusted []netip.Prefix
	Log     *slog.Logger // nil: slog.Default()
}

// Limits bound what a client or a version can make the proxy hold. Zero fields
// take the defaults of DefaultLimits.
type Limits struct {
	HeaderBytes   int           // of a request's or an answer's header
	Streams       int           // concurrent HTTP/2 streams of one client connection
	DialTimeout   time.Duration // to a version's instance
	PoolIdle      time.Duration // an unused connection to an instance is closed after this
	PoolSize      int           // unused connections kept for one instance
	HeaderTimeout time.Duration // client's request header, where the release sets none
	IdleTimeout   time.Duration // client connection between requests, where the release sets none
}

// DefaultLimits are the limits where nothing else is said. PoolIdle is below
// the keep-alive timeouts common among servers (5 s and up).
func DefaultLimits() Limits {
	return Limits{
		HeaderBytes: 64 << 10, Streams: 250, DialTimeout: 5 * time.Second,
		PoolIdle: 4 * time.Second, PoolSize: 512,
		HeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute,
	}
}

func (l Limits) orDefaults() Limits {
	d := DefaultLimits()
	fill(&l.HeaderBytes, d.HeaderBytes)
	fill(&l.Streams, d.Streams)
	fill(&l.DialTimeout, d.DialTimeout)
	fill(&l.PoolIdle, d.PoolIdle)
	fill(&l.PoolSize, d.PoolSize)
	fill(&l.HeaderTimeout, d.HeaderTimeout)
	fill(&l.IdleTimeout, d.IdleTimeout)
	return l
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Proxy serves one release. Its methods may be called at any time from any
// goroutine.
type Proxy struct {
	name     string
	observer Observer
	feedback FeedbackTaker
	comparer Comparer
	listener Listener
	tracer   Tracer
	limits   Limits
	trusted  []netip.Prefix
	log      *slog.Logger

	table    atomic.Pointer[Table]
	unserved atomic.Int64
	copying  copying
	fronts   fronts
	tunnels  tunnels
	flights  flights

	mu    sync.Mutex // guards pools, fronts and the making of tables
	pools map[release.VersionID]*pool
	apart map[release.VersionID]*pool // for copies: their connections are not the users'
	left  []*instance                 // in no table any more, with requests still inside
}

// New makes a proxy that answers 503 until Set is called.
func New(o Options) *Proxy {
	p := &Proxy{
		name: o.Name, observer: o.Observer, comparer: o.Comparer, feedback: o.Feedback, listener: o.Listener, limits: o.Limits.orDefaults(),
		tracer:  o.Tracer,
		trusted: o.Trusted, log: o.Log, pools: map[release.VersionID]*pool{}, apart: map[release.VersionID]*pool{},
	}
	if p.log == nil {
		p.log = slog.Default()
	}
	p.table.Store(&Table{})
	return p
}

// Routing is what a proxy needs to know to serve: it is compiled into a Table.
type Routing struct {
	Config   release.Embedded
	Split    release.Split
	Backends []release.Backend
	// Names are further names by which the test header reaches a version,
	// beside its ID and the words canary and stable.
	Names map[release.VersionID]string
	// Interpreter reads model traffic along; nil: it is traffic like any other.
	Interpreter Interpreter
}

// Set makes the routing the one in force: every request that comes after Set
// returns follows it. On an error the old one stays. Connections to instances
// that stay are kept; those to others close once their requests have ended.
func (p *Proxy) Set(r Routing) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := checkTLS(r.Config.TLS); err != nil {
		return err
	}
	t, err := compile(r, p)
	if err != nil {
		return err
	}
	old := p.table.Swap(t)
	p.retire(t)
	p.configure(old.config, t.config)
	return nil
}

// Table returns the table in force.
func (p *Proxy) Table() *Table { return p.table.Load() }

// Unserved counts the requests that were answered 503 because no instance was
// ready. They belong to no version.
func (p *Proxy) Unserved() int64 { return p.unserved.Load() }

// InFlight counts the requests, streams and tunnels inside one version.
type InFlight struct {
	Version release.VersionID
	Count   int64
}

// InFlight lists the versions of the table in force and those that still have
// requests, sorted by version. A request that was routed by an earlier table is
// in the count before the Set that replaced that table returns.
func (p *Proxy) InFlight() []InFlight {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []InFlight
	for v, pl := range p.pools {
		n := pl.inflight.Load()
		if pl.retired.Load() && n == 0 {
			continue
		}
		list = append(list, InFlight{Version: v, Count: n})
	}
	slices.SortFunc(list, func(a, b InFlight) int { return strings.Compare(string(a.Version), string(b.Version)) })
	return list
}

// InFlightAt counts the requests inside the instance at host:port, also when no
// table names it any more; one that the table in force names counts one more,
// since a request may come at any moment.
func (p *Proxy) InFlightAt(hostport string) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	var n int64
	for _, in := range p.left {
		if in.address.host == hostport {
			n += in.inflight.Load()
		}
	}
	for _, pools := range []map[release.VersionID]*pool{p.pools, p.apart} {
		for _, pl := range pools {
			for a, in := range pl.instances {
				if a.host == hostport {
					n += 1 + in.inflight.Load()
				}
			}
		}
	}
	return n
}

// retire lets go of the pools and instances that the new table does not name.
func (p *Proxy) retire(t *Table) {
	p.left = slices.DeleteFunc(p.left, func(in *instance) bool { return in.inflight.Load() == 0 })
	for v, pl := range p.pools {
		p.left = append(p.left, pl.keepOnly(t.targets[v])...)
		if pl.retired.Load() && pl.inflight.Load() == 0 {
			delete(p.pools, v)
		}
	}
	for v, pl := range p.apart {
		p.left = append(p.left, pl.keepOnly(t.mirror.apart(v))...)
		if pl.retired.Load() {
			delete(p.apart, v)
		}
	}
}

func (p *Proxy) observe(o *release.Observation) {
	if p.observer != nil {
		p.observer.Observe(o)
	}
}

var _ http.Handler = (*Proxy)(nil)
