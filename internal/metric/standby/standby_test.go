package standby_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/metric/standby"
	"github.com/haldane-project/haldane/internal/release"
)

// source is a provider that tells of the same requests as another one.
type source struct {
	name    string
	missing string
	err     error
	pending int64
	cursors []string
	wake    chan struct{}
	closed  bool
	refuses bool
	newest  time.Time // of an earlier run
}

func (s *source) Check(context.Context, release.Release, []release.Metric) error {
	if s.refuses {
		return errors.New(s.name + " can not serve it")
	}
	return nil
}

func (s *source) Open(_ context.Context, _ metric.Subject, c []byte) (metric.Reader, error) {
	s.cursors = append(s.cursors, string(c))
	return s, nil
}

func (s *source) History(context.Context) ([]judge.History, error) {
	return []judge.History{{N: int64(len(s.missing))}}, nil
}

func (s *source) Read(context.Context) (metric.Reading, error) {
	if s.err != nil {
		return metric.Reading{}, s.err
	}
	out := metric.Reading{Missing: s.missing, Newest: s.newest, Cursor: []byte(`"` + s.name + `"`)}
	if s.missing == "" && s.pending > 0 {
		out.Newest = time.Now()
		out.Samples = []metric.Sample{{Batch: judge.Batch{Canary: judge.Side{N: s.pending}}}}
		s.pending = 0
	}
	return out, nil
}

func (s *source) Wake() <-chan struct{} { return s.wake }
func (s *source) Close() error          { s.closed = true; return nil }

func open(t *testing.T, saved []byte, sources ...*source) metric.Reader {
	t.Helper()
	return run(t, of(sources...), "hello-1", saved)
}

func of(sources ...*source) *standby.Provider {
	return standby.New(func(context.Context, release.Release) ([]metric.Provider, error) {
		var list []metric.Provider
		for _, s := range sources {
			list = append(list, s)
		}
		return list, nil
	})
}

func run(t *testing.T, p *standby.Provider, id string, saved []byte) metric.Reader {
	t.Helper()
	r, err := p.Open(t.Context(), metric.Subject{Run: id, Started: time.Now(), Release: release.Release{Name: "shop/hello"}}, saved)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestTheNextRunGoesOnWithTheOneInUse: a source that stays away costs the patience
// once, not in each run, and one that is back is used at once. Time is the bubble's:
// a sleep moves it and takes none.
func TestTheNextRunGoesOnWithTheOneInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := &source{name: "first", missing: "it is gone"}, &source{name: "second"}
		p := of(first, second)
		read := func(r metric.Reader, want int64, missing string) {
			t.Helper()
			second.pending += 5
			got, err := r.Read(t.Context())
			seen := int64(0)
			for _, s := range got.Samples {
				seen += s.Batch.Canary.N
			}
			if err != nil || seen != want || got.Missing != missing {
				t.Errorf("%d requests, missing %q, %v; expected %d, missing %q", seen, got.Missing, err, want, missing)
			}
		}
		r := run(t, p, "hello-1", nil)
		read(r, 0, "it is gone")
		time.Sleep(standby.Patience)
		read(r, 0, "")
		r.Close()
		first.missing, first.newest = "", time.Now() // as of one that has just begun
		r = run(t, p, "hello-2", nil)
		read(r, 5, "")
		first.missing = "it is gone"
		read(r, 5, "")
		time.Sleep(time.Nanosecond) // what it gives then is of the run
		first.missing, first.pending = "", 5
		read(r, 0, "") // the price of the change back
		r.Close()
		first.missing = "it is gone again"
		r = run(t, p, "hello-3", nil)
		defer r.Close()
		read(r, 0, "it is gone again")
	})
}

// TestTheNextTakesOver: after a while without evidence, once, and back.
func TestTheNextTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := &source{name: "first", wake: make(chan struct{})}, &source{name: "second", wake: make(chan struct{})}
		r := open(t, nil, first, second)
		seen := int64(0)
		var last metric.Reading
		read := func(requests int64) {
			first.pending += requests
			second.pending += requests
			var err error
			if last, err = r.Read(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, s := range last.Samples {
				seen += s.Batch.Canary.N
			}
		}
		read(10)
		if seen != 10 {
			t.Errorf("%d requests of 10", seen)
		}
		first.missing = "it is gone"
		read(5)
		if seen != 10 || last.Missing != "it is gone" {
			t.Errorf("at once: %d requests, missing %q", seen, last.Missing)
		}
		if time.Until(last.Again) != standby.Patience {
			t.Errorf("the patience ends in %s, and it is to be read at %s", standby.Patience, last.Again)
		}
		time.Sleep(standby.Patience)
		read(5)
		if seen != 10 || last.Missing != "" || !last.Again.IsZero() {
			t.Errorf("after the change: %d requests, missing %q", seen, last.Missing)
		}
		read(7)
		if seen != 17 {
			t.Errorf("by the second: %d requests, want 17", seen)
		}
		saved := last.Cursor
		first.missing, first.pending = "", 0
		read(3)
		read(4)
		if seen != 21 { // the 3 of the change back are the price
			t.Errorf("back at the first: %d requests, want 21", seen)
		}
		go func() { second.wake <- struct{}{} }()
		<-r.Wake()
		if err := r.Close(); err != nil || !first.closed || !second.closed {
			t.Errorf("closed %v %v, %v", first.closed, second.closed, err)
		}
		open(t, saved, first, second).Close()
		if got := strings.Join(append(first.cursors, second.cursors...), " "); got != ` "first"  "second"` {
			t.Errorf("opened at %q", got)
		}
	})
}

// TestAllAreGone: no evidence, with the reason, whatever fails.
func TestAllAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := &source{name: "first", err: errors.New("broken")}, &source{name: "second", missing: "nothing"}
		r := open(t, nil, first, second)
		defer r.Close()
		for range 3 {
			got, err := r.Read(t.Context())
			if err != nil || len(got.Samples) > 0 || got.Missing != "broken" {
				t.Errorf("%+v, %v", got, err)
			}
			time.Sleep(standby.Patience)
		}
		h, err := r.History(t.Context())
		if err != nil || h[0].N != int64(len("nothing")) {
			t.Errorf("history %+v, %v", h, err)
		}
	})
}

func TestNoSourceAtAll(t *testing.T) {
	p := standby.New(func(context.Context, release.Release) ([]metric.Provider, error) { return nil, nil })
	if _, err := p.Open(t.Context(), metric.Subject{Release: release.Release{Name: "shop/hello"}}, nil); err == nil || !strings.Contains(err.Error(), "spec.analysis.scrape") {
		t.Errorf("error %v", err)
	}
	p = standby.New(func(context.Context, release.Release) ([]metric.Provider, error) {
		return []metric.Provider{&source{}, &source{name: "second", refuses: true}}, nil
	})
	if err := p.Check(t.Context(), release.Release{}, nil); err == nil || !strings.Contains(err.Error(), "second") {
		t.Errorf("error %v", err)
	}
}
