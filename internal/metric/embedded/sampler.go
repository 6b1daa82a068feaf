package embedded

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/metric/query"
	"github.com/haldane-project/haldane/internal/release"
)

// window is what $window stands for.
const window = 30 * time.Second

// pastSteps are the values of stable's past that tell how far one depends on the
// one before it.
const pastSteps = 20

// queryTimeout bounds one evaluation.
const queryTimeout = 2 * time.Second

// maxPending bounds the samples kept for a reader that does not read.
const maxPending = 600

// sampler evaluates one query for both versions every second, beside the reads,
// so that a slow query never delays the look at a failed request. Values that say
// nothing new are left out (query.Step).
type sampler struct {
	querier Querier
	name    string // of the metric
	queries [2]string
	timing  [2]query.Timing
	names   [2]string
	step    query.Step // of the last pair; the sampling goroutine's
	alone   bool       // the canary's value says something without stable's: there is a limit
	cancel  context.CancelFunc
	done    chan struct{}

	mu      sync.Mutex
	pending []pair
	last    time.Time // of the last pair
	why     string    // there was no pair the last time
}

func newSampler(q Querier, s metric.Subject, m release.Metric, step query.Step) (*sampler, error) {
	parsed, err := query.Parse(m.Source.Prometheus)
	if err != nil {
		return nil, err
	}
	out := &sampler{querier: q, name: m.Name, step: step, last: time.Now(), alone: m.Limit != nil, names: [2]string{s.Stable.Name, s.Canary.Name}}
	for i, v := range []release.Version{s.Stable, s.Canary} {
		out.queries[i], err = parsed.Bind(query.Vars{
			Release: s.Release.Name, Version: string(v.ID), Role: [2]string{"stable", "canary"}[i], Window: window,
		})
		if err != nil {
			return nil, err
		}
		if out.timing[i], err = query.TimingOf(out.queries[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *sampler) start() {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel, s.done = cancel, make(chan struct{})
	go func() {
		defer close(s.done)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				s.sample(ctx, now)
			}
		}
	}()
}

func (s *sampler) stop() {
	s.cancel()
	<-s.done
}

func (s *sampler) sample(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	var values [2]float64
	var spans [2]query.Span
	var why string
	for i := range values {
		if values[i], why = s.value(ctx, s.queries[i], i, now); why == "" {
			spans[i], why = s.span(ctx, i, now)
		}
		if why == "" {
			continue
		}
		if i == 1 || !s.alone {
			break
		}
		values[i], spans[i] = math.NaN(), query.Span{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why = why; why != "" {
		return
	}
	s.last = now
	if s.step.Next(now, s.window(), spans) && len(s.pending) < maxPending {
		s.pending = append(s.pending, pair{at: now, stable: values[0], canary: values[1], step: s.step})
	}
}

// window is the longest range that the queries look back over.
func (s *sampler) window() time.Duration { return max(s.timing[0].Window, s.timing[1].Window) }

// span asks when the samples of one version were taken.
func (s *sampler) span(ctx context.Context, i int, at time.Time) (x query.Span, why string) {
	if x.Oldest, why = s.value(ctx, s.timing[i].Oldest, i, at); why != "" {
		return x, why
	}
	x.Newest, why = s.value(ctx, s.timing[i].Newest, i, at)
	return x, why
}

// value evaluates a query about one version; why says, in words, that it has none.
func (s *sampler) value(ctx context.Context, text string, i int, at time.Time) (v float64, why string) {
	v, ok, err := s.querier.Value(ctx, text, at)
	switch {
	case err != nil:
		return 0, err.Error()
	case !ok:
		return 0, "its query gives nothing for " + s.names[i]
	case math.IsNaN(v) || math.IsInf(v, 0):
		return 0, fmt.Sprintf("its query gives %v for %s", v, s.names[i])
	}
	return v, ""
}

func (s *sampler) take() []pair {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.pending
	s.pending = nil
	return out
}

func (s *sampler) missing(now time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why == "" || now.Sub(s.last) < quiet {
		return ""
	}
	return fmt.Sprintf("metric %s has had no value for %s: %s", s.name, whole(now.Sub(s.last)), s.why)
}

// history evaluates the query for stable before the run; its values are as far
// apart as those of the run.
func (s *sampler) history(ctx context.Context, from, to time.Time) []float64 {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	var out []float64
	var step query.Step
	from = earlier(from, to.Add(-pastSteps*s.window()))
	for at := from.Add(time.Second); !at.After(to); at = at.Add(time.Second) {
		v, why := s.value(ctx, s.queries[0], 0, at)
		if why != "" {
			continue
		}
		x, why := s.span(ctx, 0, at)
		if why == "" && step.Next(at, s.window(), [2]query.Span{x}) {
			out = append(out, v)
		}
	}
	return out
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
