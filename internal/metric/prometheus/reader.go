package prometheus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/metric/query"
	"github.com/haldane-project/haldane/internal/release"
)

const (
	mostRaw  = 5 * time.Minute  // of samples that one poll asks for at most
	lateness = 15 * time.Second // how late samples may come and still be asked for
	// latenessIn is the same of a store that tells what is fresh: a scrape's length.
	// What comes later yet is in the next sample of its counter.
	latenessIn = 500 * time.Millisecond
	past       = 60 * time.Second // of stable's time before the run (judge.md 5.2)
	maxPending = 300              // polls kept for a reader that does not read
)

// The two versions, in the order of every pair.
const (
	stable = iota
	canary
)

// The flows of what the router counts, in the cursor; others have the names of
// their metrics.
const (
	requestsFlow = "requests"
	timesFlow    = "times"
)

// cursor is where a reader ended.
type cursor struct {
	At    float64               `json:"at"`              // seconds since the run began, of the last batch
	Since float64               `json:"since"`           // seconds since 1970: where counting began
	First float64               `json:"first,omitempty"` // the same: of the canary's first request
	Flows map[string]*flowState `json:"flows,omitempty"`
	Steps map[string]query.Step `json:"steps,omitempty"` // of levels, by metric
}

// poll is what the server said at one moment.
type poll struct {
	at     time.Time
	parts  [][2]part // by flow
	up     answer    // when instances were scraped
	levels []level   // by metric
	why    string    // something is missing; empty: nothing is
	failed bool      // the server did not answer: its samples are asked for again
}

// reader is the evidence of one run. One goroutine polls, so that a slow
// server delays no look; Read turns into evidence what came.
type reader struct {
	provider *Provider
	subject  metric.Subject
	flows    []*flow
	levels   [][2]*source // by metric; nil: it has no query
	names    [2]string
	wake     chan struct{} // after a poll that was answered
	cancel   context.CancelFunc
	done     chan struct{}

	findMu    sync.Mutex // of what sources have found
	pendingMu sync.Mutex
	pending   []poll

	mu      sync.Mutex
	cursor  cursor
	scraped map[string]float64 // by instance: when it was first
	heard   heard
	placebo []metric.Sample // not handed out yet
	gauge   time.Time       // of the last pair of values of a level, new or not
	opened  time.Time
	why     string
	gaps    int
	closed  bool
}

func newReader(ctx context.Context, p *Provider, s metric.Subject, c cursor) (*reader, error) {
	now := time.Now()
	r := &reader{
		provider: p, subject: s, cursor: c, opened: now, gauge: now, wake: make(chan struct{}, 1),
		scraped: map[string]float64{}, heard: heard{}, names: [2]string{s.Stable.Name, s.Canary.Name}, levels: make([][2]*source, len(s.Metrics)), done: make(chan struct{}),
	}
	if r.cursor.Since == 0 {
		r.cursor.Since = seconds(r.opened)
	}
	for i, m := range s.Metrics {
		if err := r.bind(ctx, i, m); err != nil {
			return nil, fmt.Errorf("metric %s: %w", m.Name, err)
		}
	}
	polling, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go r.run(polling)
	return r, nil
}

// bind puts the versions into what is asked for a metric.
func (r *reader) bind(ctx context.Context, i int, m release.Metric) error {
	var sources [2]*source
	for who, v := range []release.Version{r.subject.Stable, r.subject.Canary} {
		list, err := r.provider.candidates(m, who)
		if err != nil {
			return err
		}
		vars := query.Vars{
			Release: r.subject.Release.Name, Version: string(v.ID),
			Role: [2]string{"stable", "canary"}[who], Window: r.provider.options.Window,
		}
		sources[who] = r.provider.source(m, list, v.Name, func(ctx context.Context) (query.Vars, error) {
			return r.provider.vars(ctx, r.subject.Release, vars)
		})
		if err = sources[who].bind(ctx); err != nil {
			return err
		}
	}
	if sources[stable].list[0].level != "" {
		r.levels[i] = sources
		return nil
	}
	f := r.flow(flowOf(m))
	f.metrics, f.sources = append(f.metrics, i), sources
	return nil
}

// flowOf names the flow that a metric is counted from.
func flowOf(m release.Metric) string {
	switch {
	case m.Source != (release.Source{}):
		return "metric " + m.Name
	case m.Kind == release.Latency:
		return timesFlow
	}
	return requestsFlow
}

// flow returns the flow of a name; it is made when it is asked for first.
func (r *reader) flow(name string) *flow {
	for _, f := range r.flows {
		if f.name == name {
			return f
		}
	}
	f := newFlow(name, r.cursor.Flows[name], r.opened)
	if name == requestsFlow && r.provider.options.Layout.Drawn {
		f.divided = newDivided()
	}
	r.flows = append(r.flows, f)
	return f
}

// run polls until the reader is closed.
func (r *reader) run(ctx context.Context) {
	defer close(r.done)
	clock := time.NewTimer(0)
	defer clock.Stop()
	since := time.Time{} // of the last poll that was answered
	var scrapes phase
	for {
		var fresh <-chan struct{}
		if r.provider.options.Fresh != nil {
			fresh = r.provider.options.Fresh()
		}
		at := time.Now()
		x := r.poll(ctx, at, since)
		if ctx.Err() != nil {
			return
		}
		next := at.Add(r.provider.options.Interval)
		if !x.failed {
			since = at
			scrapes.saw(at, x.ofCanary()...)
			next = scrapes.next(at, r.provider.options.Interval)
		}
		r.keep(x)
		if fresh != nil {
			next = at.Add(r.provider.options.Interval)
		}
		if !r.pause(ctx, clock, at, next, fresh) {
			return
		}
	}
}

// soonest is the part of an interval, one in so many, that is between polls that
// bring something fresh: of several targets one may have been scraped.
const soonest = 4

// pause waits for the time of the next poll: when there is something fresh, a
// quarter of an interval after the last one at the soonest and a whole one at the
// latest.
func (r *reader) pause(ctx context.Context, clock *time.Timer, last, next time.Time, fresh <-chan struct{}) bool {
	if fresh != nil {
		clock.Reset(time.Until(last.Add(r.provider.options.Interval / soonest)))
		select {
		case <-ctx.Done():
			return false
		case <-clock.C:
		}
	}
	clock.Reset(time.Until(next))
	select {
	case <-ctx.Done():
		return false
	case <-clock.C:
	case <-fresh:
	}
	return true
}

// keep hands a poll to the next Read.
func (r *reader) keep(x poll) {
	r.pendingMu.Lock()
	if len(r.pending) == maxPending {
		r.pending = slices.Delete(r.pending, 0, 1) // a later poll has its samples again
	}
	r.pending = append(r.pending, x)
	r.pendingMu.Unlock()
	r.provider.polls.Add(1)
	if x.failed {
		return
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// poll asks for everything, both versions at the same time of the server's data.
// A metric whose series are not there leaves the others alone; a server that
// does not answer leaves nothing, since the half of it would be no comparison.
func (r *reader) poll(ctx context.Context, at, since time.Time) poll {
	p := poll{at: at, levels: make([]level, len(r.levels)), parts: make([][2]part, len(r.flows))}
	r.pollLevels(ctx, &p)
	late := lateness
	if r.provider.options.Fresh != nil {
		late = latenessIn
	}
	for i, f := range r.flows {
		raw := window(at, f.polled, late)
		for who, s := range f.sources {
			x, err := r.find(ctx, s, at)
			if err == nil {
				p.parts[i][who], err = r.part(ctx, x, at, raw)
				p.failed = p.failed || err != nil
			}
			if err != nil {
				p.why, p.parts[i] = err.Error(), [2]part{}
				break
			}
		}
	}
	// Last, so that the scrape of every sample above is among them: one that ends
	// meanwhile would bring series that seem to have begun in the run.
	if selector := r.provider.options.Scraped; selector != "" {
		var err error
		if p.up, err = r.provider.client.query(ctx, ranged(selector, window(at, since, late)), at); err != nil {
			p.why, p.failed, p.parts = err.Error(), true, make([][2]part, len(r.flows))
		}
	}
	for i, f := range r.flows {
		if p.parts[i][stable].layout != nil && p.parts[i][canary].layout != nil {
			f.polled = at
		}
	}
	return p
}

// window is how far back is asked for at a time: to the last poll that was answered,
// and further for what comes late. A series whose beginning no poll asked for would
// seem to have begun in the run.
func window(at, last time.Time, late time.Duration) time.Duration {
	return min(at.Sub(last), mostRaw-late) + late
}

// find tells what is asked for a source.
func (r *reader) find(ctx context.Context, s *source, at time.Time) (*selected, error) {
	r.findMu.Lock()
	defer r.findMu.Unlock()
	return s.find(ctx, r.provider.client, at)
}

// part asks for the samples of a flow of one version.
func (r *reader) part(ctx context.Context, x *selected, at time.Time, raw time.Duration) (part, error) {
	p := part{layout: x.layout}
	for _, ask := range []struct {
		selector string
		to       *answer
	}{{x.total, &p.total}, {x.bad, &p.bad}, {x.buckets, &p.bins}} {
		if ask.selector == "" {
			continue
		}
		a, err := r.provider.client.query(ctx, ranged(ask.selector, raw), at)
		if err != nil {
			return part{}, err
		}
		*ask.to = a
	}
	return p, nil
}

// ranged asks for the samples of the last time, in milliseconds: each one that is
// not needed is written and read as text, and keeps a verdict waiting.
func ranged(selector string, d time.Duration) string {
	return fmt.Sprintf("%s[%dms]", selector, (d + time.Millisecond - 1).Milliseconds())
}

// Wake implements metric.Reader: after every poll that was answered.
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
	for _, f := range r.flows {
		out.Counted = append(out.Counted, f.divided.take()...)
		if oldest := min(f.newest[0], f.newest[1]); oldest > 0 {
			out.Newest = later(out.Newest, time.UnixMilli(int64(oldest*1000)))
		}
	}
	if r.gauge.After(r.opened) && r.gauge.After(out.Newest) {
		out.Newest = r.gauge
	}
	out.Placebo, r.placebo = r.placebo, nil
	out.Missing = r.missing(now)
	r.cursor.Flows = map[string]*flowState{}
	for _, f := range r.flows {
		r.cursor.Flows[f.name] = f.saved()
	}
	var err error
	out.Cursor, err = json.Marshal(r.cursor)
	return out, err
}

// take turns one poll into evidence.
func (r *reader) take(p *poll) []metric.Sample {
	r.why = p.why
	r.cursor.At = max(r.cursor.At, p.at.Sub(r.subject.Started).Seconds())
	for _, s := range p.up.series {
		first := slices.IndexFunc(s.samples, func(x sample) bool { return x.v > 0 })
		if _, known := r.scraped[s.labels["instance"]]; !known && first >= 0 {
			r.scraped[s.labels["instance"]] = s.samples[first].t
		}
	}
	if r.shared() {
		r.heard.note(p)
	}
	out := r.takeLevels(p)
	first, warm := 0.0, r.warm()
	for i, f := range r.flows {
		for who, x := range p.parts[i] {
			gaps, grew := f.count(who, x, p.at, births{
				since: r.cursor.Since, scraped: r.scraped, heard: r.heard, warm: warm, another: who == canary && r.shared(),
			})
			if r.gaps += gaps; who == canary && grew > 0 && (first == 0 || grew < first) {
				first = grew
			}
		}
		batches, err := f.batches(r.cursor.At, r.subject.Metrics)
		if err != nil {
			r.why = err.Error()
		}
		placebo, err := f.placebo(r.cursor.At, r.subject.Metrics)
		if err != nil {
			r.why = err.Error()
		}
		for _, m := range f.metrics {
			if b, ok := batches[m]; ok {
				out = append(out, metric.Sample{Metric: m, Batch: b})
			}
			if b, ok := placebo[m]; ok {
				r.placebo = append(r.placebo, metric.Sample{Metric: m, Batch: b})
			}
		}
	}
	if r.cursor.First == 0 {
		r.cursor.First = first
	}
	return out
}

// warm is when the canary's warming up ends, in seconds since 1970: infinite
// before its first request, 0 where there is none.
func (r *reader) warm() float64 {
	switch up := r.subject.Release.Analysis.WarmUp; {
	case up <= 0:
		return 0
	case r.cursor.First == 0:
		return math.Inf(1)
	default:
		return r.cursor.First + up.Seconds()
	}
}

// shared reports whether a series may have counted another version's requests
// before: those of a Service do, run by run.
func (r *reader) shared() bool { return r.provider.options.Cluster != nil }

// History implements metric.Reader. A run without a past is judged more slowly,
// not wrongly, so what can not be asked is left out.
func (r *reader) History(ctx context.Context) ([]judge.History, error) {
	parent := ctx
	ctx, cancel := context.WithTimeout(parent, r.provider.options.Timeout) // of all queries: a pass waits
	defer cancel()
	out := make([]judge.History, len(r.subject.Metrics))
	started := r.subject.Started
	for i := range r.subject.Metrics {
		if s := r.levels[i][stable]; s != nil {
			out[i].Values = r.pastValues(ctx, s, started)
		}
	}
	for _, f := range r.flows {
		x, err := r.find(ctx, f.sources[stable], started)
		if err != nil {
			continue
		}
		p, err := r.part(ctx, x, started, mostRaw)
		if err != nil {
			continue
		}
		for _, i := range f.metrics {
			out[i] = f.past(r.subject.Metrics[i], p, started)
		}
	}
	return out, parent.Err()
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func rounded(d time.Duration) time.Duration { return d.Round(time.Second) }

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
