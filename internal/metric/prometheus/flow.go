package prometheus

import (
	"math"
	"slices"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
)

// flowState is where the counting of one flow ended: the last sample of every
// series that was counted, and what was counted but not yet handed out, because
// one version had none. It is saved with the judge's state, so that each sample
// counts once.
type flowState struct {
	Marks  [2]marks       `json:"marks"`         // stable, canary
	Bad    [2]marks       `json:"bad,omitempty"` // of a second counter, of those that are bad
	Held   [2]count       `json:"held"`
	Times  [2]savedBounds `json:"times,omitempty"` // the same of a histogram
	Halves halves         `json:"halves"`
	// Began: the canary has been asked something. What stable did before is no
	// comparison.
	Began bool `json:"began,omitempty"`
}

// flow is what a counter or a histogram gains, for both versions. Metrics of the
// router's requests share one.
type flow struct {
	name    string // in the cursor
	metrics []int
	sources [2]*source
	polled  time.Time // the last poll that was answered for both versions; the poller's alone

	state  *flowState
	every  spacing
	times  [2]bounds
	newest [2]float64   // seconds since 1970, of counted samples
	grown  [2]time.Time // of the last poll that brought a request

	divided *divided // nil: these requests tell nothing of how they were divided
}

// part is what one poll brought of a flow for one version.
type part struct {
	total, bad, bins answer
	layout           *reading
}

func newFlow(name string, saved *flowState, now time.Time) *flow {
	f := &flow{name: name, state: saved, grown: [2]time.Time{now, now}}
	if f.state == nil {
		f.state = &flowState{}
	}
	f.state.Halves.restore()
	for who := range f.times {
		for _, m := range []*[2]marks{&f.state.Marks, &f.state.Bad} {
			if m[who] == nil {
				m[who] = marks{}
			}
		}
		f.times[who] = f.state.Times[who].bounds()
	}
	return f
}

func (f *flow) saved() *flowState {
	f.state.Halves.save()
	f.state.Times = [2]savedBounds{f.times[stable].saved(), f.times[canary].saved()}
	return f.state
}

// count takes in what one version's series gained; first is when they did so for
// the first time, in seconds since 1970, 0 for never.
func (f *flow) count(who int, p part, at time.Time, since births) (gaps int, first float64) {
	if p.layout == nil {
		return 0, 0
	}
	seen := f.state.Marks[who]
	apart := append(seen.gaps(p.total), seen.gaps(p.bins)...)
	if f.every.median() == 0 {
		f.every.add(apart)
	} else {
		defer f.every.add(apart) // what is a gap does not follow from itself
	}
	since.gap, since.apart, since.saw = f.every.longestGap(), f.every.median(), &growth{}
	if who == stable && len(seen) == 0 {
		since.since = math.Inf(1) // it ran before: what its series hold when first seen is no gain
	}
	if since.divided, since.who = f.divided, who; who == stable {
		since.halves = &f.state.Halves
	}
	got, newest, gaps := seen.gain(p.total, since, p.layout)
	since.divided = nil
	if p.bad.series != nil || len(f.state.Bad[who]) > 0 {
		also := since
		also.bad = true
		bad, _, more := f.state.Bad[who].gain(p.bad, also, p.layout)
		got.Bad, gaps = bad.N, gaps+more
	}
	times, last, more := seen.gainBuckets(p.bins, since, p.layout)
	f.state.Held[who].add(got)
	f.times[who].add(times)
	if since.saw.first > 0 {
		f.grown[who] = at
	}
	if newest = max(newest, last); newest <= seconds(at)+leastGap { // a time far ahead proves nothing
		f.newest[who] = max(f.newest[who], newest)
	}
	return gaps + more, since.saw.first
}

// aloneAfter is for how long the new version's requests are kept for stable's to
// be compared with. When none came it is taken to have all of the traffic.
const aloneAfter = 3 * time.Second

// batches gives a batch for each metric of the flow once both versions have
// something to compare: that hangs on their counts, never on outcomes, as the counts
// mode demands, and longer batches would find an outage later. While the new version is alone there is nothing to
// compare it with, but an absolute limit holds still.
func (f *flow) batches(at float64, metrics []release.Metric) (map[int]judge.Batch, error) {
	f.state.Began = f.state.Began || f.state.Held[canary].N > 0 || f.times[canary].total() > 0
	if !f.state.Began {
		f.state.Held[stable], f.times[stable] = count{}, bounds{}
		return nil, nil
	}
	if f.grown[canary].Sub(f.grown[stable]) >= aloneAfter && f.limited(metrics) {
		return f.alone(at, metrics)
	}
	return f.pairs(at, metrics, &f.state.Held, &f.times)
}

// pairs gives a batch for each metric of the flow, of what was held of two sides, once
// both have something.
func (f *flow) pairs(at float64, metrics []release.Metric, held *[2]count, times *[2]bounds) (map[int]judge.Batch, error) {
	out := map[int]judge.Batch{}
	switch {
	case times[stable].total() > 0 && times[canary].total() > 0:
		for _, i := range f.metrics {
			line := judge.EvidenceLine{T: at, Metric: metrics[i].Name, Canary: times[canary].side(), Stable: times[stable].side()}
			b, err := line.Batch(judge.Metric{Name: metrics[i].Name, Kind: judge.Kind(metrics[i].Kind)})
			if err != nil {
				return nil, err
			}
			out[i] = b
		}
		*times = [2]bounds{{}, {}}
	case held[stable].N > 0 && held[canary].N > 0:
		var left [2]count
		for _, i := range f.metrics {
			b := judge.Batch{At: at}
			b.Stable, left[stable] = sideOf(metrics[i].Kind, held[stable])
			b.Canary, left[canary] = sideOf(metrics[i].Kind, held[canary])
			out[i] = b
		}
		*held = left
	}
	return out, nil
}

// limited reports whether a limit could judge what stable has nothing to compare
// with.
func (f *flow) limited(metrics []release.Metric) bool {
	return f.state.Held[stable].N == 0 && f.times[stable].total() == 0 && slices.ContainsFunc(f.metrics, func(i int) bool { return metrics[i].Limit != nil })
}

// alone gives what the new version gained to the metrics with a limit.
func (f *flow) alone(at float64, metrics []release.Metric) (map[int]judge.Batch, error) {
	out := map[int]judge.Batch{}
	left := f.state.Held
	left[canary] = count{}
	for _, i := range f.metrics {
		m, line := metrics[i], judge.EvidenceLine{T: at, Metric: metrics[i].Name}
		switch {
		case m.Limit == nil:
		case f.times[canary].total() > 0:
			line.Canary = f.times[canary].side()
			b, err := line.Batch(judge.Metric{Name: m.Name, Kind: judge.Kind(m.Kind)})
			if err != nil {
				return nil, err
			}
			out[i] = b
		case f.state.Held[canary].N > 0:
			b := judge.Batch{At: at}
			b.Canary, left[canary] = sideOf(m.Kind, f.state.Held[canary])
			out[i] = b
		}
	}
	f.times[canary], f.state.Held = bounds{}, left
	return out, nil
}

// sideOf is a count as the judge reads it, and what of it must wait: two counters
// are not read in the same moment, so one may tell of bad outcomes before the
// other counts them.
func sideOf(k release.MetricKind, c count) (judge.Side, count) {
	if k == release.Rate {
		return judge.Side{N: c.N, Bad: c.Bad}, count{}
	}
	bad := min(c.Bad, c.N)
	return judge.Side{N: c.N, Bad: bad}, count{Bad: c.Bad - bad}
}

// past is what stable gained in the time before the run.
func (f *flow) past(m release.Metric, p part, started time.Time) judge.History {
	var every spacing
	every.add(append(marks{}.gaps(p.total), marks{}.gaps(p.bins)...))
	since := births{since: seconds(started.Add(-past)), gap: every.longestGap()}
	for _, a := range []*answer{&p.total, &p.bad, &p.bins} {
		*a = a.from(since.since)
	}
	if len(p.bins.series) > 0 {
		return pastTimes(m, p.bins, since, p.layout)
	}
	got, _, _ := marks{}.gain(p.total, since, p.layout)
	if len(p.bad.series) > 0 {
		bad, _, _ := marks{}.gain(p.bad, since, p.layout)
		got.Bad = bad.N
	}
	side, _ := sideOf(m.Kind, got)
	return judge.History{N: side.N, Bad: side.Bad}
}

func pastTimes(m release.Metric, a answer, since births, l *reading) judge.History {
	got, _, _ := marks{}.gainBuckets(a, since, l)
	if got.total() == 0 {
		return judge.History{}
	}
	line := judge.EvidenceLine{Metric: m.Name, Stable: got.side()}
	b, err := line.Batch(judge.Metric{Name: m.Name, Kind: judge.Kind(m.Kind)})
	if err != nil {
		return judge.History{}
	}
	return judge.History{Bins: b.Stable.Bins, Bounds: boundsOf(a, l)}
}
