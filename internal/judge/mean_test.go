package judge

import (
	"math"
	"testing"
)

// Values of stable that are all alike tell nothing of how far the canary's may be:
// they are cut at the largest one or, where none is known, well above stable's, so
// that a change is found.
func TestMeanOfValuesThatAreAlike(t *testing.T) {
	const stable, worse = 0.1, 0.6
	of := func(values ...float64) Side {
		var s Side
		for _, v := range values {
			s.Bins = append(s.Bins, BinCount{Bin: BinOf(Mean, v), Count: 5})
		}
		return s
	}
	for name, c := range map[string]struct {
		most   float64
		canary Side
		want   Verdict
	}{
		"half are worse":                {1, of(stable, worse), Fail},
		"half are worse, bound unknown": {0, of(stable, worse), Fail},
		"all cost three times as much":  {0, of(3*stable, 3*stable*1.2), Fail},
		"alike":                         {1, of(stable, stable*1.2), Inconclusive},
	} {
		r, err := New(Policy{Alpha: 0.01, AlphaPromote: 0.05, Horizon: 1800, Metrics: []Metric{
			{Name: "scores", Kind: Mean, Share: 1, Ratio: 1.2, Tolerate: 1.2, Most: c.most, Limit: math.NaN()}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for at := range 100 {
			if err := r.Update(0, Batch{At: float64(at), Share: 0.5, Canary: c.canary, Stable: of(stable, stable*1.2)}); err != nil {
				t.Fatal(err)
			}
		}
		if got := r.Report(0); got.Verdict != c.want {
			t.Errorf("%s: %s: %s", name, got.Verdict, got.Reason)
		}
	}
	if err := (Policy{Alpha: 0.01, AlphaPromote: 0.05, Horizon: 1800, Metrics: []Metric{{Name: "m", Kind: Latency, Share: 1, Most: 1, Limit: math.NaN()}}}).Validate(); err == nil {
		t.Error("a largest value of a latency is taken")
	}
}
