package judge

import (
	"math"
	"testing"
)

// TestFirstBatchesOfCounters: a router's counters come in batches of many
// requests; three failures of the canary are enough although nothing is known of
// stable before the first batch.
func TestFirstBatchesOfCounters(t *testing.T) {
	run, err := New(Policy{Alpha: 0.01, AlphaPromote: 0.05, Horizon: 1800, Looseness: []float64{1}, Metrics: []Metric{{Name: "errors", Kind: Proportion, Share: 1, Limit: math.NaN()}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if v := run.Report(0).Verdict; v == Fail {
			t.Fatalf("failed after %d batches", i)
		}
		b := Batch{At: 1 + float64(i)/4, Share: 0.1, Canary: Side{N: 5, Bad: 1}, Stable: Side{N: 45}}
		if err := run.Update(0, b); err != nil {
			t.Fatal(err)
		}
	}
	if r := run.Report(0); r.Verdict != Fail {
		t.Errorf("after three failures in three batches: %s, %s", r.Verdict, r.Reason)
	}
}
