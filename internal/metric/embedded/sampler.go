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

// queryTimeout bounds one evaluation.
const queryTimeout = 2 * time.Second

// maxPending bounds the samples kept for a reader that does not read.
const maxPending = 600

// sampler evaluates one query for both versions every second, beside the reads,
// so that a slow query never delays the look at a failed request.
type sampler struct {
	querier Querier
	name    string // of the metric
	queries [2]string
	names   [2]string
	alone   bool // the canary's value says something without stable's: there is a limit
	cancel  context.CancelFunc
	done    chan struct{}

	mu      sync.Mutex
	pending []pair
	last    time.Time // of the last pair
	why     string    // there was no pair the last time
}

func newSampler(q Querier, s metric.Subject, m release.Metric) (*sampler, error) {
	parsed, err := query.Parse(m.Source.Prometheus)
	if err != nil {
		return nil, err
	}
	out := &sampler{querier: q, name: m.Name, last: time.Now(), alone: m.Limit != nil, names: [2]string{s.Stable.Name, s.Canary.Name}}
	for i, v := range []release.Version{s.Stable, s.Canary} {
		out.queries[i], err = parsed.Bind(query.Vars{
			Release: s.Release.Name, Version: string(v.ID), Role: [2]string{"stable", "canary"}[i], Window: window,
		})
		if err != nil {
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
	var why string
	for i := range values {
		if values[i], why = s.value(ctx, i, now); why == "" {
			continue
		}
		if i == 1 || !s.alone {
			break
		}
		values[i] = math.NaN()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why = why; why != "" {
		return
	}
	s.last = now
	if len(s.pending) < maxPending {
		s.pending = append(s.pending, pair{at: now, stable: values[0], canary: values[1]})
	}
}

// value evaluates the query for one version; why says, in words, that it has none.
func (s *sampler) value(ctx context.Context, i int, at time.Time) (v float64, why string) {
	v, ok, err := s.querier.Value(ctx, s.queries[i], at)
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

// history evaluates the query for stable, once a second, before the run.
func (s *sampler) history(ctx context.Context, from, to time.Time) []float64 {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	var out []float64
	for at := from.Add(time.Second); !at.After(to); at = at.Add(time.Second) {
		if v, why := s.value(ctx, 0, at); why == "" {
			out = append(out, v)
		}
	}
	return out
}
