package judge

import (
	"math"
	"strings"
	"testing"
)

// The names of classes survive a restart and stand in the reason; what users send
// accuses the split.
func TestNamesOfClasses(t *testing.T) {
	p := Policy{Alpha: 0.01, AlphaPromote: 0.05, Horizon: 1800, Looseness: []float64{1}, Metrics: []Metric{
		{Name: "finish", Kind: Category, Share: 1, Limit: math.NaN()},
		{Name: "prompts", Kind: Category, Pause: true, Split: true, Limit: math.NaN()},
	}}
	r, err := New(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		for m := range p.Metrics {
			b := Batch{At: float64(i), Share: 0.5, Canary: Side{Classes: []int64{1, 9}}, Stable: Side{Classes: []int64{10}}, Names: []string{"stop", "length"}}
			if err := r.Update(m, b); err != nil {
				t.Fatal(err)
			}
		}
		if r, err = Restore(p, r.Snapshot()); err != nil {
			t.Fatal(err)
		}
	}
	rep := r.Report(0)
	if m := rep.Metrics[0]; m.Verdict != Fail || !strings.Contains(m.Reason, `most in "stop": 10 % against 100 %`) {
		t.Errorf("%s: %s", m.Verdict, m.Reason)
	}
	if !strings.Contains(rep.Pause, "not the version") {
		t.Errorf("the pause says %q", rep.Pause)
	}
	if err := r.Update(0, Batch{At: 50, Names: []string{strings.Repeat("x", 300)}}); err == nil {
		t.Error("a name of 300 bytes was taken")
	}
}
