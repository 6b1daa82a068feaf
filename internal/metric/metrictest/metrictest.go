// Package metrictest is the suite that every metric.Provider must pass. It
// knows no adapter: a Harness says how to make requests that the adapter sees.
package metrictest

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/release"
)

// Harness is one fresh world with a provider in it.
type Harness struct {
	Provider metric.Provider
	// Subject has a metric of kind errors first and one of kind latency second.
	Subject metric.Subject
	// Serve makes requests that a random split sent to a version; the provider
	// sees them when it returns.
	Serve func(v release.VersionID, good, failed int)
	// Silence lets time pass without a request until evidence counts as missing.
	Silence func()
	// Wakes: the provider wakes the reader after a failed request of the canary.
	Wakes bool
}

// Run runs the suite. World is called once for each test, inside in: an
// adapter with a clock of its own (testing/synctest) puts its bubble there.
func Run(t *testing.T, in func(t *testing.T, f func(t *testing.T)), world func(t *testing.T) Harness) {
	cases := []struct {
		name string
		test func(*testing.T, Harness)
	}{
		{"EveryRequestOnce", everyRequestOnce},
		{"CursorNeverRepeats", cursorNeverRepeats},
		{"BatchesAreValid", batchesAreValid},
		{"SilenceIsMissing", silenceIsMissing},
		{"FailureWakes", failureWakes},
		{"UnknownSourceIsNamed", unknownSourceIsNamed},
		{"ForeignCursorIsRefused", foreignCursorIsRefused},
		{"CloseTwice", closeTwice},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			in(t, func(t *testing.T) { c.test(t, world(t)) })
		})
	}
}

// totals sums the errors metric's batches.
type totals struct{ canary, canaryBad, stable, stableBad int64 }

func (s *totals) add(samples []metric.Sample) {
	for _, x := range samples {
		if x.Metric == 0 {
			s.canary += x.Batch.Canary.N
			s.canaryBad += x.Batch.Canary.Bad
			s.stable += x.Batch.Stable.N
			s.stableBad += x.Batch.Stable.Bad
		}
	}
}

func open(t *testing.T, h Harness, cursor []byte) metric.Reader {
	t.Helper()
	r, err := h.Provider.Open(context.Background(), h.Subject, cursor)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return r
}

func read(t *testing.T, r metric.Reader) metric.Reading {
	t.Helper()
	got, err := r.Read(context.Background())
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return got
}

func everyRequestOnce(t *testing.T, h Harness) {
	r := open(t, h, nil)
	defer r.Close()
	read(t, r)
	var sum totals
	for range 3 {
		h.Serve(h.Subject.Canary.ID, 5, 2) // first: what stable does alone may be left out
		h.Serve(h.Subject.Stable.ID, 20, 1)
		sum.add(read(t, r).Samples)
	}
	sum.add(read(t, r).Samples)
	if want := (totals{21, 6, 63, 3}); sum != want {
		t.Errorf("evidence adds up to %+v, want %+v", sum, want)
	}
}

func cursorNeverRepeats(t *testing.T, h Harness) {
	r := open(t, h, nil)
	read(t, r)
	h.Serve(h.Subject.Canary.ID, 10, 1)
	h.Serve(h.Subject.Stable.ID, 10, 0)
	first := read(t, r)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r = open(t, h, first.Cursor)
	defer r.Close()
	var sum totals
	sum.add(read(t, r).Samples)
	if sum != (totals{}) {
		t.Errorf("the second reader repeats %+v", sum)
	}
	h.Serve(h.Subject.Canary.ID, 3, 0)
	h.Serve(h.Subject.Stable.ID, 3, 0)
	sum.add(read(t, r).Samples)
	if want := (totals{3, 0, 3, 0}); sum != want {
		t.Errorf("after the second reader was opened: %+v, want %+v", sum, want)
	}
}

func batchesAreValid(t *testing.T, h Harness) {
	r := open(t, h, nil)
	defer r.Close()
	at := make([]float64, len(h.Subject.Metrics))
	for range 4 {
		h.Serve(h.Subject.Stable.ID, 9, 1)
		h.Serve(h.Subject.Canary.ID, 9, 1)
		for _, s := range read(t, r).Samples {
			b := s.Batch
			if b.At < at[s.Metric] {
				t.Errorf("metric %d: time goes back from %v to %v", s.Metric, at[s.Metric], b.At)
			}
			at[s.Metric] = b.At
			if !(b.Share >= 0 && b.Share < 1) {
				t.Errorf("metric %d: share %v", s.Metric, b.Share)
			}
			validSide(t, b.Canary)
			validSide(t, b.Stable)
		}
	}
}

func validSide(t *testing.T, s judge.Side) {
	t.Helper()
	if s.N < 0 || s.Bad < 0 || s.Bad > s.N || math.IsNaN(s.Value) || math.IsInf(s.Value, 0) {
		t.Errorf("invalid side %+v", s)
	}
	for i, b := range s.Bins {
		if b.Count <= 0 || b.Bin < 0 || i > 0 && s.Bins[i-1].Bin >= b.Bin {
			t.Errorf("invalid bins %v", s.Bins)
			return
		}
	}
}

func silenceIsMissing(t *testing.T, h Harness) {
	r := open(t, h, nil)
	defer r.Close()
	h.Serve(h.Subject.Stable.ID, 5, 0)
	h.Serve(h.Subject.Canary.ID, 5, 0)
	if got := read(t, r); got.Missing != "" {
		t.Errorf("there is evidence, yet missing says %q", got.Missing)
	} else if got.Newest.IsZero() {
		t.Error("there is evidence, yet newest is zero")
	}
	h.Silence()
	got := read(t, r)
	if len(got.Samples) != 0 {
		t.Errorf("samples out of silence: %+v", got.Samples)
	}
	if !strings.Contains(got.Missing, h.Subject.Canary.Name) {
		t.Errorf("missing is %q, want a sentence about %s", got.Missing, h.Subject.Canary.Name)
	}
}

func failureWakes(t *testing.T, h Harness) {
	if !h.Wakes {
		t.Skip("this provider does not wake")
	}
	r := open(t, h, nil)
	defer r.Close()
	h.Serve(h.Subject.Stable.ID, 5, 5)
	h.Serve(h.Subject.Canary.ID, 5, 0)
	select {
	case <-r.Wake():
		t.Error("woke without a failed request of the canary")
	default:
	}
	h.Serve(h.Subject.Canary.ID, 0, 3)
	select {
	case <-r.Wake():
	default:
		t.Error("did not wake after a failed request of the canary")
	}
	select {
	case <-r.Wake():
		t.Error("three failures in a row woke more than once")
	default:
	}
}

func unknownSourceIsNamed(t *testing.T, h Harness) {
	odd := release.Metric{Name: "odd", Kind: release.Gauge, Source: release.Source{Process: "colour"}}
	err := h.Provider.Check(context.Background(), h.Subject.Release, []release.Metric{odd})
	if err == nil || !strings.Contains(err.Error(), "odd") {
		t.Errorf("a process has no colour: got error %v, want one that names the metric", err)
	}
	if err := h.Provider.Check(context.Background(), h.Subject.Release, h.Subject.Metrics); err != nil {
		t.Errorf("the subject's own metrics are refused: %v", err)
	}
}

func foreignCursorIsRefused(t *testing.T, h Harness) {
	if r, err := h.Provider.Open(context.Background(), h.Subject, []byte("\x00not a cursor")); err == nil {
		r.Close()
		t.Error("a cursor that is none was accepted: evidence could be counted twice")
	}
}

func closeTwice(t *testing.T, h Harness) {
	r := open(t, h, nil)
	for range 2 {
		if err := r.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if _, err := r.Read(context.Background()); err == nil {
		t.Error("a closed reader reads")
	}
}
