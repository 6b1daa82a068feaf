// Package telemetry is the engine that remembers what routers saw: a Recorder
// takes every release.Observation and keeps, for each version of each release,
// counts, latency histograms and a ring of the last seconds. Taps drain it as
// evidence of one run; Rates and Seconds serve those who show it; Handler
// exposes it as Prometheus metrics. It knows no run, no verdict, no manifest and
// no proxy. The queryable history is the package history below it.
//
// Read this file first, then series.go (what is counted) and tap.go (evidence).
package telemetry

import (
	"context"
	"maps"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// Recorder counts observations. All its methods may be called at any time from
// any goroutine.
type Recorder struct {
	boot    string
	born    time.Time
	stripes int // a power of two
	series  atomic.Pointer[map[key]*series]
	mu      sync.Mutex // guards replacing the map, and everything below
	names   map[key]named
	sources sources
	created map[key]time.Time // see expire
	ledgers ledgers
}

// key names one version of one release.
type key struct {
	release string
	version release.VersionID
}

// Label is what people call a version, for the metric haldane_version_info.
type Label struct {
	Name string
	Role string // stable, canary, or empty
}

// named is a label and when it was given.
type named struct {
	Label
	at time.Time
}

// New returns an empty Recorder. Run keeps its history of seconds.
func New() *Recorder {
	r := &Recorder{
		boot:    newBoot(),
		born:    time.Now(),
		stripes: stripesFor(runtime.GOMAXPROCS(0)),
		names:   map[key]named{},
		created: map[key]time.Time{},
	}
	r.series.Store(&map[key]*series{})
	return r
}

// Boot identifies this Recorder; no two have the same.
func (r *Recorder) Boot() string { return r.boot }

// Observe counts one request; one that is still under way (release.Overdue) is
// evidence for taps and counted at its end. It neither allocates (but for the first request
// of a version or of a share) nor waits: cells are striped, and a busy one is
// passed over.
func (r *Recorder) Observe(o *release.Observation) {
	s := r.of(key{o.Release, o.Version})
	stripe := int(rand.Uint32()) //nolint:gosec // spreads observers over cells; nothing secret
	if o.Stage != release.Overdue {
		s.add(stripe, o)
		if o.ID != "" {
			if was := r.ledgers.note(o); was != nil {
				r.tell(o.Release, was, &release.Feedback{Regenerated: true})
			}
		}
	}
	if taps := s.taps.Load(); taps != nil {
		for _, t := range *taps {
			t.add(stripe, o)
		}
	}
}

// Run closes one second of history after the other until the context ends.
func (r *Recorder) Run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			r.Tick(now)
		}
	}
}

// Tick closes the current second of history at now. Run calls it; tests may.
func (r *Recorder) Tick(now time.Time) {
	for _, s := range *r.series.Load() {
		s.tick(now)
	}
	r.sampleUsage(now)
	r.expire(now)
}

// Label names a version for haldane_version_info.
func (r *Recorder) Label(rel string, v release.VersionID, l Label) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names[key{rel, v}] = named{l, time.Now()}
}

// Forget drops all that is known of a release that was deleted.
func (r *Recorder) Forget(rel string) {
	r.drop(func(k key, _ *series) bool { return k.release == rel })
	r.ledgers.forget(rel)
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.names, func(k key, _ named) bool { return k.release == rel })
}

// of returns the series of a key, made on first use.
func (r *Recorder) of(k key) *series {
	if s := (*r.series.Load())[k]; s != nil {
		return s
	}
	return r.create(k)
}

func (r *Recorder) create(k key) *series {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := *r.series.Load()
	if s := old[k]; s != nil {
		return s
	}
	next := maps.Clone(old)
	s := newSeries(r.stripes)
	next[k] = s
	r.created[k] = time.Now()
	r.series.Store(&next)
	return s
}

// keptIdle is how long a version without requests keeps its series, and
// keptName how long a version without series keeps its name.
const (
	keptIdle = time.Hour
	keptName = 24 * time.Hour
)

// expire drops versions that have had no request for a long time and that no
// tap reads, so that the series of dead versions end.
func (r *Recorder) expire(now time.Time) {
	r.drop(func(k key, s *series) bool {
		if s.taps.Load() != nil || r.hasUsage(k) {
			return false
		}
		last := s.lastSeen()
		if last.IsZero() {
			last = r.created[k]
		}
		return now.Sub(last) > keptIdle
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	known := *r.series.Load()
	maps.DeleteFunc(r.names, func(k key, n named) bool { return known[k] == nil && now.Sub(n.at) > keptName })
}

func (r *Recorder) drop(gone func(key, *series) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := *r.series.Load()
	next := make(map[key]*series, len(old))
	for k, s := range old {
		if !gone(k, s) {
			next[k] = s
			continue
		}
		delete(r.created, k)
	}
	if len(next) != len(old) {
		r.series.Store(&next)
	}
}
