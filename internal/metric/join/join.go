// Package join is a metric.Provider made of several that see different things:
// each metric is read from the one that serves it. It knows no adapter. This file
// is all of it.
package join

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/release"
)

// Part is one of the providers.
type Part struct {
	Name     string // in the cursor
	Provider metric.Provider
	Serves   func(release.Metric) bool
	// Always says that it is opened for every run, also one of whose metrics it
	// serves none: it sees how requests are divided.
	Always bool
}

// Provider reads each metric from the first part that serves it.
type Provider struct{ parts []Part }

var _ metric.Provider = (*Provider)(nil)

// New returns a Provider. The last part is asked for what none serves, and says
// why it does not.
func New(parts ...Part) *Provider { return &Provider{parts: parts} }

// divide gives the indices of the metrics that each part serves.
func (p *Provider) divide(metrics []release.Metric) [][]int {
	out := make([][]int, len(p.parts))
	for i, m := range metrics {
		at := len(p.parts) - 1
		for k, part := range p.parts[:at] {
			if part.Serves(m) {
				at = k
				break
			}
		}
		out[at] = append(out[at], i)
	}
	return out
}

func pick(metrics []release.Metric, index []int) []release.Metric {
	out := make([]release.Metric, len(index))
	for k, i := range index {
		out[k] = metrics[i]
	}
	return out
}

// Check implements metric.Provider.
func (p *Provider) Check(ctx context.Context, rel release.Release, metrics []release.Metric) error {
	for k, index := range p.divide(metrics) {
		if len(index) == 0 {
			continue
		}
		if err := p.parts[k].Provider.Check(ctx, rel, pick(metrics, index)); err != nil {
			return err
		}
	}
	return nil
}

// Open implements metric.Provider.
func (p *Provider) Open(ctx context.Context, s metric.Subject, saved []byte) (metric.Reader, error) {
	cursors := map[string]json.RawMessage{}
	if len(saved) > 0 {
		if err := json.Unmarshal(saved, &cursors); err != nil {
			return nil, fmt.Errorf("open the evidence of run %s: the saved cursor is not one of this provider: %w", s.Run, err)
		}
	}
	r := &reader{run: s.Run, metrics: len(s.Metrics), cursors: cursors, wake: make(chan struct{}, 1), stop: make(chan struct{})}
	for k, index := range p.divide(s.Metrics) {
		part := p.parts[k]
		if len(index) == 0 && !part.Always {
			continue
		}
		mine := s
		mine.Metrics = pick(s.Metrics, index)
		x, err := part.Provider.Open(ctx, mine, cursors[part.Name])
		if err != nil {
			return nil, errors.Join(err, r.Close())
		}
		r.parts = append(r.parts, opened{Reader: x, name: part.Name, index: index})
		r.wakes.Go(func() { r.forward(x.Wake()) })
	}
	return r, nil
}

// opened is the reader of one part.
type opened struct {
	metric.Reader
	name  string
	index []int // of its metrics, in the subject's
}

type reader struct {
	run     string
	metrics int
	parts   []opened
	wake    chan struct{}
	stop    chan struct{}
	wakes   sync.WaitGroup

	mu      sync.Mutex
	cursors map[string]json.RawMessage
	closed  bool
}

func (r *reader) forward(from <-chan struct{}) {
	for {
		select {
		case <-r.stop:
			return
		case <-from:
			select {
			case r.wake <- struct{}{}:
			default:
			}
		}
	}
}

// History implements metric.Reader.
func (r *reader) History(ctx context.Context) ([]judge.History, error) {
	out := make([]judge.History, r.metrics)
	for _, p := range r.parts {
		list, err := p.History(ctx)
		if err != nil {
			return nil, err
		}
		for k, i := range p.index {
			out[i] = list[k]
		}
	}
	return out, nil
}

// Read implements metric.Reader. A part that fails to read leaves the evidence of
// the others; what it lacks is missing.
func (r *reader) Read(ctx context.Context) (metric.Reading, error) {
	if err := ctx.Err(); err != nil {
		return metric.Reading{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return metric.Reading{}, errors.New("read the evidence of run " + r.run + ": the reader was closed; open another")
	}
	var out metric.Reading
	var missing []string
	for _, p := range r.parts {
		got, err := p.Read(ctx)
		if err != nil {
			missing = append(missing, err.Error())
			continue
		}
		r.cursors[p.name] = got.Cursor
		out.Samples = append(out.Samples, p.named(got.Samples)...)
		out.Placebo = append(out.Placebo, p.named(got.Placebo)...)
		out.Division = append(out.Division, got.Division...)
		out.Counted = append(out.Counted, got.Counted...)
		out.Caveats = append(out.Caveats, got.Caveats...)
		out.Critical = cmp.Or(out.Critical, got.Critical)
		if got.Newest.After(out.Newest) {
			out.Newest = got.Newest
		}
		if a := got.Again; !a.IsZero() && (out.Again.IsZero() || a.Before(out.Again)) {
			out.Again = a
		}
		if got.Missing != "" {
			missing = append(missing, got.Missing)
		}
	}
	out.Missing = strings.Join(missing, "; ")
	var err error
	out.Cursor, err = json.Marshal(r.cursors)
	return out, err
}

// named gives a part's samples the indices of the subject.
func (p opened) named(samples []metric.Sample) []metric.Sample {
	out := make([]metric.Sample, len(samples))
	for k, s := range samples {
		out[k] = metric.Sample{Metric: p.index[s.Metric], Batch: s.Batch}
	}
	return out
}

// Wake implements metric.Reader.
func (r *reader) Wake() <-chan struct{} { return r.wake }

// Close implements metric.Reader.
func (r *reader) Close() error {
	r.mu.Lock()
	closed := r.closed
	r.closed = true
	r.mu.Unlock()
	if closed {
		return nil
	}
	close(r.stop)
	r.wakes.Wait()
	var errs []error
	for _, p := range r.parts {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}
