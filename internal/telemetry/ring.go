package telemetry

import (
	"cmp"
	"slices"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
)

// keptSeconds is how long the ring of seconds reaches back.
const keptSeconds = 900

// second is what happened between two ticks.
type second struct {
	end      time.Time
	requests int64 // without mirrored copies and clients' faults
	failed   int64
	faults   int64 // clients' own
	mirrored int64
	shielded int64
	class    [classes]int64   // requests by the class of their status code
	ok       []judge.BinCount // total time of successful requests
	sizes    []judge.BinCount // of their answers
}

// ring keeps the last seconds, oldest first from next on.
type ring struct {
	seconds []second
	next    int
}

func (r *ring) push(s second) {
	if len(r.seconds) < keptSeconds {
		r.seconds = append(r.seconds, s)
		return
	}
	r.seconds[r.next] = s
	r.next = (r.next + 1) % keptSeconds
}

// between calls f for the seconds that ended after from and not after to.
func (r *ring) between(from, to time.Time, f func(*second)) {
	for i := range r.seconds {
		s := &r.seconds[(r.next+i)%len(r.seconds)]
		if s.end.After(from) && !s.end.After(to) {
			f(s)
		}
	}
}

// tick closes the current second.
func (s *series) tick(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var t tally
	s.read(&t)
	p := &s.previous
	next := second{
		end:      now,
		failed:   t.of(release.Failed) - p.of(release.Failed),
		faults:   t.of(release.ClientFault) - p.of(release.ClientFault),
		shielded: t.shielded - p.shielded,
	}
	next.requests = t.of(release.OK) - p.of(release.OK) + next.failed
	for i := range t.mirrored {
		next.mirrored += t.mirrored[i] - p.mirrored[i]
	}
	for i := range p.ok.bins {
		p.ok.bins[i] = t.ok.bins[i] - p.ok.bins[i]
	}
	next.ok = sparse(p.ok.bins[:])
	for i := range p.sizes {
		p.sizes[i] = t.sizes[i] - p.sizes[i]
	}
	next.sizes = sparse(p.sizes[:])
	for i, by := range t.codes {
		next.class[i] = by[release.OK] + by[release.Failed] - p.codes[i][release.OK] - p.codes[i][release.Failed]
	}
	s.previous = t
	s.ring.push(next)
}

// History sums what a version did in the seconds that ended in (from, to], as
// far as the ring reaches back. It is the learner's start for a run that began
// at to.
func (r *Recorder) History(rel string, v release.VersionID, from, to time.Time) Count {
	s := (*r.series.Load())[key{rel, v}]
	if s == nil {
		return Count{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var c Count
	var dense, sizes [numBins]int64
	s.ring.between(from, to, func(x *second) {
		c.N += x.requests
		c.Bad += x.failed
		for i, n := range x.class {
			c.Class[i] += n
		}
		spread(dense[:], x.ok)
		spread(sizes[:], x.sizes)
		c.Seconds = append(c.Seconds, x.ok)
	})
	c.Bins, c.Bytes = sparse(dense[:]), sparse(sizes[:])
	return c
}

// Rates is what a version did lately.
type Rates struct {
	Version    release.VersionID `json:"version"`
	Seconds    float64           `json:"seconds"` // covered by the figures
	Requests   int64             `json:"requests"`
	Failed     int64             `json:"failed"`
	Shielded   int64             `json:"shielded"`
	Mirrored   int64             `json:"mirrored"`
	PerSecond  float64           `json:"perSecond"`
	ErrorShare *float64          `json:"errorShare"` // nil: no request
	P50        *float64          `json:"p50"`        // seconds, of successful requests; nil: none
	P95        *float64          `json:"p95"`
	P99        *float64          `json:"p99"`
}

// Rates tells what each version of a release did in the last window, at most 15
// minutes, sorted by version.
func (r *Recorder) Rates(rel string, window time.Duration) []Rates {
	now := time.Now()
	var out []Rates
	for k, s := range *r.series.Load() {
		if k.release == rel {
			out = append(out, s.rates(k.version, now.Add(-window), now))
		}
	}
	slices.SortFunc(out, func(a, b Rates) int { return cmp.Compare(a.Version, b.Version) })
	return out
}

func (s *series) rates(v release.VersionID, from, to time.Time) Rates {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Rates{Version: v}
	var dense [numBins]int64
	s.ring.between(from, to, func(x *second) {
		out.Seconds++
		out.Requests += x.requests
		out.Failed += x.failed
		out.Shielded += x.shielded
		out.Mirrored += x.mirrored
		spread(dense[:], x.ok)
	})
	if out.Seconds > 0 {
		out.PerSecond = float64(out.Requests) / out.Seconds
	}
	if out.Requests > 0 {
		share := float64(out.Failed) / float64(out.Requests)
		out.ErrorShare = &share
	}
	out.P50, out.P95, out.P99 = pointer(dense[:], .5), pointer(dense[:], .95), pointer(dense[:], .99)
	return out
}

// Second is one second of a version's history, for charts.
type Second struct {
	End      time.Time `json:"end"`
	Requests int64     `json:"requests"` // without mirrored copies and clients' faults
	Failed   int64     `json:"failed"`
	Mirrored int64     `json:"mirrored,omitempty"`
	P50      *float64  `json:"p50,omitempty"` // seconds, of successful requests; nil: none
	P99      *float64  `json:"p99,omitempty"`
}

// Seconds lists a version's seconds that ended after since, oldest first, at
// most the last 900.
func (r *Recorder) Seconds(rel string, v release.VersionID, since time.Time) []Second {
	s := (*r.series.Load())[key{rel, v}]
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Second
	var dense [numBins]int64
	s.ring.between(since, time.Now(), func(x *second) {
		clear(dense[:])
		spread(dense[:], x.ok)
		out = append(out, Second{
			End: x.end, Requests: x.requests, Failed: x.failed, Mirrored: x.mirrored,
			P50: pointer(dense[:], .5), P99: pointer(dense[:], .99),
		})
	})
	return out
}

func pointer(dense []int64, q float64) *float64 {
	if v, ok := quantile(dense, q); ok {
		return &v
	}
	return nil
}
