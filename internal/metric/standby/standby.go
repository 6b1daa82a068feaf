// Package standby is a metric.Provider made of several that see the same
// requests: the first that has evidence gives it, and the next takes over while
// it has none. No request counts twice: what the others saw meanwhile is read
// and dropped. It knows no adapter. This file is all of it.
package standby

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/release"
)

// Patience is how long the provider in use may be without evidence before the
// next one that has some takes over.
const Patience = 3 * time.Second

// Provider chooses among those that a release has.
type Provider struct {
	of func(context.Context, release.Release) ([]metric.Provider, error)

	mu  sync.Mutex
	use map[string]int // by release: the one that its last run ended with, where it was not the first
}

var _ metric.Provider = (*Provider)(nil)

// New returns a Provider; of gives a release's providers, by preference.
func New(of func(context.Context, release.Release) ([]metric.Provider, error)) *Provider {
	return &Provider{of: of, use: map[string]int{}}
}

// begin is the provider that a run begins with: the one that the release's last
// run ended with, so that one that is away for long costs the patience once.
func (p *Provider) begin(release string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.use[release]
}

// end notes what a run ended with.
func (p *Provider) end(release string, use int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if use == 0 {
		delete(p.use, release)
		return
	}
	p.use[release] = use
}

// Check implements metric.Provider: each of the release's providers must be able
// to serve each metric, or it could not take over.
func (p *Provider) Check(ctx context.Context, rel release.Release, metrics []release.Metric) error {
	list, err := p.of(ctx, rel)
	if err != nil {
		return err
	}
	for _, one := range list {
		if err := one.Check(ctx, rel, metrics); err != nil {
			return err
		}
	}
	return nil
}

// Open implements metric.Provider.
func (p *Provider) Open(ctx context.Context, s metric.Subject, saved []byte) (metric.Reader, error) {
	list, err := p.of(ctx, s.Release)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("release %s has no source of evidence: name one in spec.analysis.scrape or spec.analysis.prometheus", s.Release.Name)
	}
	c := cursor{Use: p.begin(s.Release.Name)}
	if len(saved) > 0 {
		if err := json.Unmarshal(saved, &c); err != nil {
			return nil, fmt.Errorf("open the evidence of run %s: the saved cursor is not one of this provider: %w", s.Run, err)
		}
	}
	if len(c.Cursors) != len(list) { // the manifest named others then
		c = cursor{Cursors: make([]json.RawMessage, len(list)), Use: min(c.Use, len(list)-1)}
	}
	r := &reader{began: s.Started, cursor: c, wake: make(chan struct{}, 1), stop: make(chan struct{})}
	r.end = func() { p.end(s.Release.Name, r.cursor.Use) }
	for i, one := range list {
		x, err := one.Open(ctx, s, c.Cursors[i])
		if err != nil {
			return nil, errors.Join(err, r.Close())
		}
		r.readers = append(r.readers, x)
		r.wakes.Go(func() { r.forward(x.Wake()) })
	}
	return r, nil
}

// cursor is where each of the readers ended, and which one was in use.
type cursor struct {
	Cursors []json.RawMessage `json:"cursors"`
	Use     int               `json:"use"`
}

type reader struct {
	began   time.Time // the run
	readers []metric.Reader
	cursor  cursor
	without time.Time // since when the one in use has no evidence; zero: it has
	wake    chan struct{}
	stop    chan struct{}
	wakes   sync.WaitGroup
	once    sync.Once
	end     func()
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

// History implements metric.Reader: that of the first one that knows any.
func (r *reader) History(ctx context.Context) ([]judge.History, error) {
	var best []judge.History
	var errs []error
	for _, x := range r.readers {
		h, err := x.History(ctx)
		if err == nil && known(h) {
			return h, nil
		}
		if best == nil {
			best = h
		}
		errs = append(errs, err)
	}
	if best != nil {
		return best, nil
	}
	return nil, errors.Join(errs...)
}

func known(list []judge.History) bool {
	for _, h := range list {
		if h.N > 0 || len(h.Bins) > 0 || len(h.Values) > 0 {
			return true
		}
	}
	return false
}

// Read implements metric.Reader.
func (r *reader) Read(ctx context.Context) (metric.Reading, error) {
	readings := make([]metric.Reading, len(r.readers))
	failures := make([]error, len(r.readers))
	for i, x := range r.readers {
		readings[i], failures[i] = x.Read(ctx)
		if failures[i] == nil {
			r.cursor.Cursors[i] = readings[i].Cursor
		}
	}
	now := time.Now()
	has := func(i int) bool { return failures[i] == nil && readings[i].Missing == "" }
	use := r.cursor.Use
	switch {
	case has(use):
		r.without = time.Time{}
		use = r.preferred(use, func(i int) bool { return has(i) && readings[i].Newest.After(r.began) })
	case r.without.IsZero():
		r.without = now
	case now.Sub(r.without) >= Patience:
		for i := range readings {
			if has(i) {
				use, r.without = i, time.Time{}
				break
			}
		}
	}
	out, err := readings[use], failures[use]
	out.Again = r.again(readings)
	if use != r.cursor.Use { // what it saw until now, the other one may have told
		out.Samples, out.Placebo, out.Division, out.Counted = nil, nil, nil, nil
		r.cursor.Use = use
	}
	if err != nil {
		out = metric.Reading{Missing: cmp.Or(out.Missing, err.Error()), Again: out.Again}
	}
	var encode error
	out.Cursor, encode = json.Marshal(r.cursor)
	return out, encode
}

// again is when the first of the readers wants to be read again, or the patience
// with the one in use ends. Where it has ended, one that has evidence again wakes.
func (r *reader) again(readings []metric.Reading) time.Time {
	var first time.Time
	if end := r.without.Add(Patience); !r.without.IsZero() && end.After(time.Now()) {
		first = end
	}
	for _, x := range readings {
		if !x.Again.IsZero() && (first.IsZero() || x.Again.Before(first)) {
			first = x.Again
		}
	}
	return first
}

// preferred goes back to one that is preferred to the one in use, once it gives
// evidence of the run: one that has just begun may miss none yet, and knows what was
// before.
func (r *reader) preferred(use int, gives func(int) bool) int {
	for i := range use {
		if gives(i) {
			return i
		}
	}
	return use
}

// Wake implements metric.Reader.
func (r *reader) Wake() <-chan struct{} { return r.wake }

// Close implements metric.Reader.
func (r *reader) Close() error {
	var errs []error
	r.once.Do(func() {
		close(r.stop)
		r.wakes.Wait()
		r.end()
		for _, x := range r.readers {
			errs = append(errs, x.Close())
		}
	})
	return errors.Join(errs...)
}
