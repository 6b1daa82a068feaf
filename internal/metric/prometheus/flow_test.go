package prometheus

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
)

// TestAloneUnderALimit: with all of the traffic on the new version a comparison
// waits for stable's requests, and a limit does not.
func TestAloneUnderALimit(t *testing.T) {
	begin := time.Unix(1000, 0)
	metrics := []release.Metric{
		{Name: "errors", Kind: release.Errors},
		{Name: "limited", Kind: release.Errors, Limit: &release.Limit{Value: 0.05, Below: true}},
	}
	grow := func(f *flow, who int, after time.Duration, n, bad int64) {
		f.state.Held[who].add(count{N: n, Bad: bad})
		f.grown[who] = begin.Add(after)
	}
	all := func(f *flow) map[int]judge.Batch {
		t.Helper()
		out, err := f.batches(1, metrics)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	f := newFlow(requestsFlow, nil, begin)
	f.metrics = []int{0, 1}
	grow(f, stable, time.Second, 9, 0)
	grow(f, canary, time.Second, 1, 0)
	if got := all(f); len(got) != 2 || got[0].Stable.N != 9 || got[1].Canary.N != 1 {
		t.Errorf("of both versions' requests came %+v", got)
	}
	grow(f, canary, 3*time.Second, 10, 10)
	if got := all(f); len(got) != 0 {
		t.Errorf("before stable's part could have come: %+v", got)
	}
	grow(f, canary, 4*time.Second, 10, 10)
	want := map[int]judge.Batch{1: {At: 1, Canary: judge.Side{N: 20, Bad: 20}}}
	if got := all(f); !cmp.Equal(want, got) {
		t.Errorf("alone: %s", cmp.Diff(want, got))
	}
	if f.state.Held[canary] != (count{}) {
		t.Errorf("counted, and still held: %+v", f.state.Held)
	}
	f.metrics = []int{0}
	grow(f, canary, 9*time.Second, 5, 5)
	if got := all(f); len(got) != 0 || f.state.Held[canary].N != 5 {
		t.Errorf("without a limit came %+v, held is %+v", got, f.state.Held)
	}
}
