package prometheus

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/metric/query"
)

// How much of stable's time before the run tells how far one value of a level
// depends on the one before it, by the window of its query.
const (
	pastLevels  = 10 * time.Minute // at least
	pastWindows = 20
	pastMost    = time.Hour
)

// level is what a poll found of one metric: the values of both versions, NaN
// where one is not known, and when the samples behind them were taken.
type level struct {
	values [2]float64
	spans  [2]query.Span
}

// pollLevels evaluates the queries of levels.
func (r *reader) pollLevels(ctx context.Context, p *poll) {
	for i, m := range r.subject.Metrics {
		for who, s := range r.levels[i] {
			p.levels[i].values[who] = math.NaN()
			if s == nil || p.why != "" {
				continue
			}
			v, span, why := r.value(ctx, s, p.at, r.names[who])
			if why == "" {
				p.levels[i].values[who], p.levels[i].spans[who] = v, span
			} else if who == canary || m.Limit == nil {
				p.why = "metric " + m.Name + ": " + why
			}
		}
	}
}

// value evaluates a level of one version; why says, in words, that it has none.
func (r *reader) value(ctx context.Context, s *source, at time.Time, name string) (v float64, span query.Span, why string) {
	x, err := r.find(ctx, s, at)
	if err != nil {
		return 0, span, err.Error()
	}
	a, err := r.provider.client.query(ctx, x.timing.All, at)
	if err != nil {
		return 0, span, err.Error()
	}
	values, span := a.timed()
	v, ok, err := values.number()
	switch {
	case err != nil:
		return 0, span, err.Error() + " for " + name
	case !ok:
		return 0, span, "its query gives nothing for " + name
	}
	return v, span, ""
}

// timed takes the times of samples out of an answer to query.Timing.All.
func (a answer) timed() (values answer, span query.Span) {
	for _, s := range a.series {
		switch part := s.labels[query.Part]; {
		case part != query.PartOldest && part != query.PartNewest:
			values.series = append(values.series, s)
		case len(s.samples) == 0:
		case part == query.PartOldest:
			span.Oldest = s.samples[len(s.samples)-1].v
		default:
			span.Newest = s.samples[len(s.samples)-1].v
		}
	}
	return values, span
}

// takeLevels turns the values of one poll that are new evidence into samples.
func (r *reader) takeLevels(p *poll) (out []metric.Sample) {
	for i, x := range p.levels {
		m := r.subject.Metrics[i]
		if r.levels[i][canary] == nil || math.IsNaN(x.values[canary]) || math.IsNaN(x.values[stable]) && m.Limit == nil {
			continue
		}
		r.gauge = p.at
		step := r.cursor.Steps[m.Name]
		if !step.Next(p.at, r.windowOf(i), x.spans) {
			continue
		}
		if r.cursor.Steps == nil {
			r.cursor.Steps = map[string]query.Step{}
		}
		r.cursor.Steps[m.Name] = step
		out = append(out, metric.Sample{Metric: i, Batch: judge.Batch{
			At: r.cursor.At, Stable: judge.Side{Value: x.values[stable]}, Canary: judge.Side{Value: x.values[canary]},
		}})
	}
	return out
}

// windowOf is the longest range that the queries of a level look back over.
func (r *reader) windowOf(i int) (w time.Duration) {
	r.findMu.Lock()
	defer r.findMu.Unlock()
	for _, s := range r.levels[i] {
		if s.chosen != nil {
			w = max(w, s.chosen.timing.Window)
		}
	}
	return w
}

// pastValues are stable's values before the run, as far apart as those of the run.
func (r *reader) pastValues(ctx context.Context, s *source, started time.Time) []float64 {
	x, err := r.find(ctx, s, started)
	if err != nil {
		return nil
	}
	length := min(max(pastLevels, pastWindows*x.timing.Window), pastMost)
	text := fmt.Sprintf("(%s)[%ds:1s]", x.timing.All, int(length.Seconds()))
	a, err := r.provider.client.query(ctx, text, started)
	if err != nil {
		return nil
	}
	return stepped(a, x.timing.Window)
}

// stepped are the values of a level over time that are each new evidence.
func stepped(a answer, window time.Duration) (out []float64) {
	moments := map[float64]*answer{}
	for _, s := range a.series {
		for _, x := range s.samples {
			if moments[x.t] == nil {
				moments[x.t] = &answer{}
			}
			moments[x.t].series = append(moments[x.t].series, series{labels: s.labels, samples: []sample{x}})
		}
	}
	var step query.Step
	for _, t := range slices.Sorted(maps.Keys(moments)) {
		values, span := moments[t].timed()
		v, ok, err := values.number()
		if err == nil && ok && step.Next(time.UnixMilli(int64(t*1000)), window, [2]query.Span{span}) {
			out = append(out, v)
		}
	}
	return out
}
