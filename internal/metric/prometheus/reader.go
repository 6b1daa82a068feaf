package prometheus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/metric/query"
	"github.com/haldane-project/haldane/internal/release"
)

const (
	mostRaw    = 5 * time.Minute  // of samples that one poll asks for at most
	lateness   = 15 * time.Second // how late samples may come and still be asked for
	past       = 60 * time.Second // of stable's time before the run (judge.md 5.2)
	maxPending = 300              // polls kept for a reader that does not read
)

// The two versions, in the order of every pair.
const (
	stable = iota
	canary
)

// cursor is where a reader ended: the last sample of every series that was
// counted, and what was counted but not yet handed out, because one version had
// no request. It is saved with the judge's state, so that each sample counts once.
type cursor struct {
	At    float64  `json:"at"`              // seconds since the run began, of the last batch
	Since float64  `json:"since"`           // seconds since 1970: where counting began
	Marks [2]marks `json:"marks,omitempty"` // stable, canary
	Held  [2]count `json:"held"`
	// The same of the histograms' buckets.
	BucketMarks [2]marks       `json:"bucketMarks,omitempty"`
	BucketsHeld [2]savedBounds `json:"bucketsHeld,omitempty"`
	Gauge       time.Time      `json:"gauge,omitzero"` // of the last poll of gauges
}

// poll is what the server said at one moment.
type poll struct {
	at     time.Time
	counts [2]answer
	bins   [2]answer    // buckets of histograms
	up     answer       // when instances were scraped
	values [][2]float64 // by metric; NaN: not known
	why    string       // something is missing; empty: nothing is
}

// reader is the evidence of one run. One goroutine polls, so that a slow
// server delays no look; Read turns into evidence what came.
type reader struct {
	provider *Provider
	subject  metric.Subject
	counts   [2]string   // selectors of the counter; empty: not needed
	buckets  [2]string   // of the histogram
	queries  [][2]string // by metric
	names    [2]string
	wake     chan struct{} // never: polls come when they come
	cancel   context.CancelFunc
	done     chan struct{}

	pendingMu sync.Mutex
	pending   []poll

	mu      sync.Mutex
	cursor  cursor
	times   [2]bounds          // the cursor's BucketsHeld
	scraped map[string]float64 // by instance: when it was first
	newest  [2]float64         // seconds since 1970, of counted samples
	grown   [2]time.Time       // of the last poll that brought a request
	gauge   time.Time          // of the last pair of values
	opened  time.Time
	why     string
	gaps    int
	closed  bool
}

func newReader(p *Provider, s metric.Subject, c cursor) (*reader, error) {
	r := &reader{
		provider: p, subject: s, cursor: c, opened: time.Now(), gauge: time.Now(), wake: make(chan struct{}),
		grown:   [2]time.Time{time.Now(), time.Now()},
		scraped: map[string]float64{}, names: [2]string{s.Stable.Name, s.Canary.Name}, queries: make([][2]string, len(s.Metrics)), done: make(chan struct{}),
	}
	if r.cursor.Since == 0 {
		r.cursor.Since = seconds(r.opened)
	}
	for i := range r.cursor.Marks {
		if r.cursor.Marks[i] == nil {
			r.cursor.Marks[i] = marks{}
		}
		if r.cursor.BucketMarks[i] == nil {
			r.cursor.BucketMarks[i] = marks{}
		}
		r.times[i] = r.cursor.BucketsHeld[i].bounds()
	}
	if err := r.bind(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go r.run(ctx)
	return r, nil
}

// bind puts the versions into the queries.
func (r *reader) bind() error {
	for who, v := range []release.Version{r.subject.Stable, r.subject.Canary} {
		vars := query.Vars{
			Release: r.subject.Release.Name, Version: string(v.ID),
			Role: [2]string{"stable", "canary"}[who], Window: r.provider.options.Window,
		}
		if r.provider.options.Cluster != nil {
			vars.Cluster = r.provider.options.Cluster(r.subject.Release, vars.Role)
		}
		for i, m := range r.subject.Metrics {
			if err := r.bindMetric(i, m, who, vars); err != nil {
				return fmt.Errorf("metric %s: %w", m.Name, err)
			}
		}
	}
	return nil
}

func (r *reader) bindMetric(i int, m release.Metric, who int, vars query.Vars) (err error) {
	switch {
	case m.Source.Prometheus != "":
		var q *query.Query
		if q, err = query.Parse(m.Source.Prometheus); err == nil {
			r.queries[i][who], err = q.Bind(vars)
		}
	case m.Kind == release.Latency:
		r.buckets[who], err = r.provider.layout.buckets.Bind(vars)
	default:
		r.counts[who], err = r.provider.layout.requests.Bind(vars)
	}
	return err
}

// run polls until the reader is closed.
func (r *reader) run(ctx context.Context) {
	defer close(r.done)
	tick := time.NewTicker(r.provider.options.Interval)
	defer tick.Stop()
	since := time.Time{} // of the last poll that was answered
	for {
		at := time.Now()
		x := r.poll(ctx, at, since)
		if ctx.Err() != nil {
			return
		}
		if x.why == "" {
			since = at
		}
		r.pendingMu.Lock()
		if len(r.pending) == maxPending {
			r.pending = slices.Delete(r.pending, 0, 1) // a later poll has its samples again
		}
		r.pending = append(r.pending, x)
		r.pendingMu.Unlock()
		r.provider.polls.Add(1)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// poll asks for everything, both versions at the same time of the server's data.
func (r *reader) poll(ctx context.Context, at, since time.Time) poll {
	p := poll{at: at, values: make([][2]float64, len(r.queries))}
	for i, m := range r.subject.Metrics {
		for who, text := range r.queries[i] {
			p.values[i][who] = math.NaN()
			if text == "" || p.why != "" {
				continue
			}
			v, why := r.value(ctx, text, at, r.names[who])
			if why == "" {
				p.values[i][who] = v
			} else if who == canary || m.Limit == nil {
				p.why = "metric " + m.Name + ": " + why
			}
		}
	}
	raw := min(at.Sub(since), mostRaw-lateness) + lateness
	if selector := r.provider.options.Scraped; selector != "" {
		var err error
		if p.up, err = r.provider.client.query(ctx, ranged(selector, raw), at); err != nil {
			p.why = err.Error()
			return p
		}
	}
	for who := range r.counts {
		for _, x := range []struct {
			selector string
			to       *answer
		}{{r.counts[who], &p.counts[who]}, {r.buckets[who], &p.bins[who]}} {
			if x.selector == "" {
				continue
			}
			a, err := r.provider.client.query(ctx, ranged(x.selector, raw), at)
			if err != nil { // the half of it would be no comparison
				p.why, p.counts, p.bins = err.Error(), [2]answer{}, [2]answer{}
				return p
			}
			*x.to = a
		}
	}
	return p
}

// ranged asks for the samples of the last time, whole seconds of it.
func ranged(selector string, d time.Duration) string {
	return fmt.Sprintf("%s[%ds]", selector, int((d+time.Second-1)/time.Second))
}

func (r *reader) value(ctx context.Context, text string, at time.Time, name string) (float64, string) {
	a, err := r.provider.client.query(ctx, text, at)
	if err != nil {
		return 0, err.Error()
	}
	v, ok, err := a.number()
	switch {
	case err != nil:
		return 0, err.Error() + " for " + name
	case !ok:
		return 0, "its query gives nothing for " + name
	}
	return v, ""
}

// Wake implements metric.Reader; a server that is polled wakes nobody.
func (r *reader) Wake() <-chan struct{} { return r.wake }

// Close implements metric.Reader.
func (r *reader) Close() error {
	r.mu.Lock()
	closed := r.closed
	r.closed = true
	r.mu.Unlock()
	if !closed {
		r.cancel()
		<-r.done
	}
	return nil
}

// Read implements metric.Reader.
func (r *reader) Read(ctx context.Context) (metric.Reading, error) {
	if err := ctx.Err(); err != nil {
		return metric.Reading{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return metric.Reading{}, errors.New("read the evidence of run " + r.subject.Run + ": the reader was closed; open another")
	}
	r.pendingMu.Lock()
	polls := r.pending
	r.pending = nil
	r.pendingMu.Unlock()
	var out metric.Reading
	for i := range polls {
		out.Samples = append(out.Samples, r.take(&polls[i])...)
	}
	now := time.Now()
	if oldest := min(r.newest[0], r.newest[1]); oldest > 0 {
		out.Newest = time.UnixMilli(int64(oldest * 1000))
	}
	if r.gauge.After(r.opened) && r.gauge.After(out.Newest) {
		out.Newest = r.gauge
	}
	out.Missing = r.missing(now)
	var err error
	r.cursor.BucketsHeld = [2]savedBounds{r.times[stable].saved(), r.times[canary].saved()}
	out.Cursor, err = json.Marshal(r.cursor)
	return out, err
}

// take turns one poll into evidence.
func (r *reader) take(p *poll) []metric.Sample {
	r.why = p.why
	r.cursor.At = max(r.cursor.At, p.at.Sub(r.subject.Started).Seconds())
	for who := range p.counts {
		r.count(who, p)
	}
	var out []metric.Sample
	counted := r.cursor.Held[stable].N > 0 && r.cursor.Held[canary].N > 0
	timed := r.times[stable].total() > 0 && r.times[canary].total() > 0
	for i, m := range r.subject.Metrics {
		b := judge.Batch{At: r.cursor.At}
		switch {
		case m.Source.Prometheus != "":
			b.Stable.Value, b.Canary.Value = p.values[i][stable], p.values[i][canary]
			if math.IsNaN(b.Canary.Value) || math.IsNaN(b.Stable.Value) && m.Limit == nil {
				continue
			}
			r.gauge = p.at
		case m.Kind == release.Latency && timed:
			line := judge.EvidenceLine{T: r.cursor.At, Metric: m.Name, Canary: r.times[canary].side(), Stable: r.times[stable].side()}
			var err error
			if b, err = line.Batch(judge.Metric{Name: m.Name, Kind: judge.Latency}); err != nil {
				r.why = err.Error()
				continue
			}
		case m.Kind != release.Latency && counted:
			b.Stable, b.Canary = sideOf(m.Kind, r.cursor.Held[stable]), sideOf(m.Kind, r.cursor.Held[canary])
		default:
			continue
		}
		out = append(out, metric.Sample{Metric: i, Batch: b})
	}
	if counted {
		r.cursor.Held = [2]count{}
	}
	if timed {
		r.times = [2]bounds{{}, {}}
	}
	return out
}

// count takes in what one version's counter and histogram gained.
func (r *reader) count(who int, p *poll) {
	for _, s := range p.up.series {
		if _, known := r.scraped[s.labels["instance"]]; !known && len(s.samples) > 0 {
			r.scraped[s.labels["instance"]] = s.samples[0].t
		}
	}
	since := func(m marks) births {
		if who == stable && len(m) == 0 {
			return births{since: math.Inf(1)} // it ran before: what its series hold when first seen is no gain
		}
		return births{since: r.cursor.Since, scraped: r.scraped}
	}
	got, newest, gaps := r.cursor.Marks[who].gain(p.counts[who], since(r.cursor.Marks[who]), r.provider.layout)
	r.cursor.Held[who].add(got)
	if got.N > 0 {
		r.grown[who] = p.at
	}
	if newest <= seconds(p.at)+longestGap { // a time far ahead proves nothing
		r.newest[who] = max(r.newest[who], newest)
	}
	times, more := r.cursor.BucketMarks[who].gainBuckets(p.bins[who], since(r.cursor.BucketMarks[who]), r.provider.layout)
	r.times[who].add(times)
	r.gaps += gaps + more
}

// sideOf is a count as the judge reads it; the events of a rate are requests.
func sideOf(k release.MetricKind, c count) judge.Side {
	if k == release.Rate {
		return judge.Side{N: c.N, Bad: c.N}
	}
	return judge.Side{N: c.N, Bad: c.Bad}
}

// missing says why evidence is absent or old; empty: it is not.
func (r *reader) missing(now time.Time) string {
	stale := r.provider.options.Stale
	var why []string
	if r.counts[canary] != "" {
		for _, who := range []int{canary, stable} {
			age := now.Sub(r.opened)
			if n := r.newest[who]; n > 0 {
				age = min(age, now.Sub(time.UnixMilli(int64(n*1000))))
			}
			if age >= stale {
				why = append(why, fmt.Sprintf("the counter of requests of %s has no sample of the last %s", r.names[who], rounded(age)))
				break
			}
			if idle := now.Sub(r.grown[who]); idle >= stale {
				why = append(why, fmt.Sprintf("no request has reached %s for %s", r.names[who], rounded(idle)))
				break
			}
		}
	}
	if r.hasGauge() && now.Sub(r.gauge) >= stale && r.why == "" {
		why = append(why, "no query has given a value")
	}
	if r.why != "" && (len(why) > 0 || now.Sub(r.gauge) >= stale && r.hasGauge()) {
		why = append(why, r.why)
	}
	if r.gaps > 0 {
		why = append(why, fmt.Sprintf("%d series had gaps of more than %.0f s, which are left out", r.gaps, longestGap))
		r.gaps = 0
	}
	return strings.Join(why, "; ")
}

func (r *reader) hasGauge() bool {
	return slices.ContainsFunc(r.queries, func(q [2]string) bool { return q[canary] != "" })
}

// History implements metric.Reader.
func (r *reader) History(ctx context.Context) ([]judge.History, error) {
	parent := ctx
	ctx, cancel := context.WithTimeout(parent, r.provider.options.Timeout) // of all queries: a pass waits
	defer cancel()
	out := make([]judge.History, len(r.subject.Metrics))
	started := r.subject.Started
	for i, m := range r.subject.Metrics {
		if m.Source.Prometheus != "" {
			for at := started.Add(-past); !at.After(started); at = at.Add(past / 12) {
				if v, why := r.value(ctx, r.queries[i][stable], at, r.names[stable]); why == "" {
					out[i].Values = append(out[i].Values, v)
				}
			}
			continue
		}
		if m.Kind == release.Latency {
			a, err := r.provider.client.query(ctx, ranged(r.buckets[stable], mostRaw), started)
			if err == nil {
				out[i] = pastTimes(m, a, started, r.provider.layout)
			}
			continue
		}
		a, err := r.provider.client.query(ctx, ranged(r.counts[stable], mostRaw), started)
		if err != nil {
			continue // a run without a past is judged more slowly, not wrongly
		}
		before := marks{}
		got, _, _ := before.gain(a, births{since: seconds(started.Add(-past))}, r.provider.layout)
		side := sideOf(m.Kind, got)
		out[i].N, out[i].Bad = side.N, side.Bad
	}
	return out, parent.Err()
}

// pastTimes is what stable's histogram gained in the time before the run.
func pastTimes(m release.Metric, a answer, started time.Time, l *reading) judge.History {
	before := marks{}
	got, _ := before.gainBuckets(a, births{since: seconds(started.Add(-past))}, l)
	if got.total() == 0 {
		return judge.History{}
	}
	line := judge.EvidenceLine{Metric: m.Name, Stable: got.side()}
	b, err := line.Batch(judge.Metric{Name: m.Name, Kind: judge.Latency})
	if err != nil {
		return judge.History{}
	}
	return judge.History{Bins: b.Stable.Bins, Bounds: boundsOf(a, l)}
}

func rounded(d time.Duration) time.Duration { return d.Round(time.Second) }

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
