package embedded

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/haldane-project/haldane/internal/compare"
	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/metric/query"
	"github.com/haldane-project/haldane/internal/telemetry"
)

// quiet is how long evidence may be absent before a reading says so.
const quiet = 10 * time.Second

// readEvery is how often what is under way is asked for its age, which nothing
// tells (Reading.Again).
const readEvery = 100 * time.Millisecond

// past is how much of stable's time before a run the judge starts from
// (judge.md 5.2).
const past = 60 * time.Second

// pastAnswers is the same of what a model answered: there are fewer answers, and
// what they say changes more slowly than what their times are.
const pastAnswers = 15 * time.Minute

// reader is the evidence of one run.
type reader struct {
	provider *Provider
	subject  metric.Subject
	requests *requests
	queries  []*sampler // by metric; nil where it has no query
	copies   *compare.Tap
	evals    *evaluations
	met      *conditions

	mu     sync.Mutex
	cursor cursor
	opened time.Time
	seen   [2]time.Time // stable, canary: their last request
	closed bool
}

func newReader(p *Provider, s metric.Subject, c cursor) (*reader, error) {
	r := &reader{provider: p, subject: s, cursor: c, opened: time.Now(), queries: make([]*sampler, len(s.Metrics))}
	if r.cursor.Gauge.IsZero() {
		r.cursor.Gauge = s.Started
	}
	for i, m := range s.Metrics {
		if m.Source.Prometheus == "" {
			continue
		}
		q, err := newSampler(p.querier, s, m, c.Steps[m.Name])
		if err != nil {
			return nil, fmt.Errorf("metric %s: %w", m.Name, err)
		}
		r.queries[i] = q
	}
	r.requests = newRequests(p, s, c, r.opened)
	if p.copies != nil {
		r.copies = p.copies.Tap(s.Release.Name, s.Stable.ID, s.Canary.ID, s.Release.Analysis.WarmUp)
	}
	r.evals, r.met = p.evaluations(s), p.conditions(s, r.opened)
	for _, q := range r.queries {
		if q != nil {
			q.start()
		}
	}
	return r, nil
}

// Wake implements metric.Reader.
func (r *reader) Wake() <-chan struct{} { return r.requests.tap.Wake() }

// Close implements metric.Reader.
func (r *reader) Close() error {
	r.mu.Lock()
	closed := r.closed
	r.closed = true
	r.mu.Unlock()
	if closed {
		return nil
	}
	r.requests.tap.Close()
	if r.copies != nil {
		r.copies.Close()
	}
	r.evals.close()
	for _, q := range r.queries {
		if q != nil {
			q.stop()
		}
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
		return metric.Reading{}, fmt.Errorf("read the evidence of run %s: the reader was closed; open another", r.subject.Run)
	}
	now := time.Now()
	r.cursor.Seq++
	r.cursor.At = max(r.cursor.At, now.Sub(r.subject.Started).Seconds())
	var out metric.Reading
	got := r.requests.read(r.cursor.At, &out)
	r.cursor.First = got.First
	gauges, newest := r.gauges()
	out.Samples = append(out.Samples, gauges...)
	r.note(got)
	r.readCopies(&out)
	r.evals.read(r.cursor.At, &out)
	r.met.look(now)
	out.Caveats = append(out.Caveats, r.met.caveats()...)
	out.Examples = r.met.examples()
	out.Newest = latest(r.seen[0], r.seen[1], newest)
	out.Missing, out.Again = r.missing(now, got), now.Add(readEvery)
	r.cursor.Facts = r.requests.facts.known
	var err error
	out.Cursor, err = r.cursor.bytes()
	return out, err
}

func (r *reader) note(got telemetry.Portions) {
	r.seen[0] = latest(r.seen[0], got.Stable)
	r.seen[1] = latest(r.seen[1], got.Canary)
}

// missing says why evidence is absent, in one sentence; empty: it is not.
func (r *reader) missing(now time.Time, got telemetry.Portions) string {
	var why []string
	canary, stable := r.subject.Canary.Name, r.subject.Stable.Name
	since := func(i int) time.Duration { return now.Sub(latest(r.seen[i], r.opened)) }
	warm := got.First.Add(r.subject.Release.Analysis.WarmUp)
	switch {
	case !r.requests.any():
	case since(1) >= quiet:
		why = append(why, fmt.Sprintf("no request has reached %s for %s", canary, whole(since(1))))
	case since(0) >= quiet:
		why = append(why, fmt.Sprintf("no request has reached %s for %s, so there is nothing to compare %s with", stable, whole(since(0)), canary))
	case len(got.Portions) == 0 && got.Skipped > 0 && now.Before(warm):
		why = append(why, fmt.Sprintf("%s is warming up for another %s", canary, whole(warm.Sub(now))))
	}
	for _, q := range r.queries {
		if q == nil {
			continue
		}
		if s := q.missing(now); s != "" {
			why = append(why, s)
		}
	}
	return strings.Join(why, "; ")
}

// gauges gives the levels sampled since the last read, and when the newest of
// them was.
func (r *reader) gauges() ([]metric.Sample, time.Time) {
	var out []metric.Sample
	var newest time.Time
	after := r.cursor.Gauge
	for i, m := range r.subject.Metrics {
		var pairs []pair
		switch {
		case m.Source.Process != "":
			pairs = r.usage(m.Source.Process, after)
		case m.Source.Prometheus != "":
			pairs = r.queries[i].take()
		}
		for _, p := range pairs {
			newest = latest(newest, p.at)
			out = append(out, metric.Sample{Metric: i, Batch: judge.Batch{
				At: r.cursor.At, Canary: judge.Side{Value: p.canary}, Stable: judge.Side{Value: p.stable},
			}})
		}
		if m.Source.Process != "" && len(pairs) > 0 {
			r.cursor.Gauge = latest(r.cursor.Gauge, pairs[len(pairs)-1].at)
		}
		if m.Source.Prometheus != "" && len(pairs) > 0 {
			if r.cursor.Steps == nil {
				r.cursor.Steps = map[string]query.Step{}
			}
			r.cursor.Steps[m.Name] = pairs[len(pairs)-1].step
		}
	}
	return out, newest
}

// pair is one level of both versions.
type pair struct {
	at             time.Time
	stable, canary float64
	step           query.Step // of a query
}

// usage pairs the process samples that both versions have of one second.
func (r *reader) usage(what string, after time.Time) []pair {
	rec, rel := r.provider.recorder, r.subject.Release.Name
	canary := rec.UsageSince(rel, r.subject.Canary.ID, after)
	var out []pair
	for _, s := range rec.UsageSince(rel, r.subject.Stable.ID, after) {
		for len(canary) > 0 && canary[0].At.Before(s.At) {
			canary = canary[1:]
		}
		if len(canary) == 0 {
			break
		}
		p := pair{at: s.At, stable: levelOf(s, what), canary: levelOf(canary[0], what)}
		if canary[0].At.Equal(s.At) && !math.IsNaN(p.stable) && !math.IsNaN(p.canary) {
			out = append(out, p)
		}
	}
	return out
}

func levelOf(s telemetry.UsageSample, what string) float64 {
	if what == cpu {
		return s.CPU
	}
	return s.Memory
}

// History implements metric.Reader.
func (r *reader) History(ctx context.Context) ([]judge.History, error) {
	rec, s := r.provider.recorder, r.subject
	from := s.Started.Add(-past)
	count := rec.History(s.Release.Name, s.Stable.ID, from, s.Started)
	out := make([]judge.History, len(s.Metrics))
	for i, m := range s.Metrics {
		switch {
		case m.Source.Prometheus != "":
			out[i].Values = r.queries[i].history(ctx, from, s.Started)
		case m.Source.Process != "":
			for _, x := range rec.UsageSince(s.Release.Name, s.Stable.ID, from) {
				if v := levelOf(x, m.Source.Process); !x.At.After(s.Started) && !math.IsNaN(v) {
					out[i].Values = append(out[i].Values, v)
				}
			}
		case isRequest(m) && !isFact(m):
			out[i] = historyOf(m, count)
		}
	}
	r.requests.facts.history(r.requests.past, out)
	r.requests.past = nil // asked for once
	return out, nil
}

func latest(times ...time.Time) time.Time {
	var out time.Time
	for _, t := range times {
		if t.After(out) {
			out = t
		}
	}
	return out
}

func whole(d time.Duration) string { return d.Round(time.Second).String() }
