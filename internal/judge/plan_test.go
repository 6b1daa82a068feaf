package judge

import (
	"math"
	"math/rand/v2"
	"testing"
)

func planned() PlanInput {
	return PlanInput{
		Metric: Metric{Name: "errors", Kind: Proportion, Share: 1, Ratio: 1.5, Limit: math.NaN()},
		Alpha:  0.01, AlphaPromote: 0.05, StableRate: 0.01, PerSecond: 1000,
		Steps: []PlanStep{{Share: 0.1, Hold: 10, Looseness: 2}, {Share: 0.5, Hold: 5, Looseness: 1}, {Share: 1, Hold: 60}},
	}
}

// TestPlanFindsWhatItSays plays the smallest regression that a plan promises.
func TestPlanFindsWhatItSays(t *testing.T) {
	in := planned()
	p, err := Plan(in)
	if err != nil {
		t.Fatal(err)
	}
	ratio := *p.Steps[0].Smallest
	r, found := rand.New(rand.NewPCG(41, 1)), 0
	const runs = 200
	for range runs {
		run := newRun(t, Policy{Alpha: in.Alpha, AlphaPromote: 0.05, Horizon: 1800, Metrics: []Metric{in.Metric}}, []History{{N: 60000, Bad: 600}})
		for at := 0.1; at <= p.Steps[0].Seconds && !run.failed; at += 0.1 {
			n := binomial(r, 100, 0.1)
			b := Batch{At: at, Share: 0.1, Canary: Side{N: n, Bad: binomial(r, n, 0.01*ratio)}, Stable: Side{N: 100 - n, Bad: binomial(r, 100-n, 0.01)}}
			if err := run.Update(0, b); err != nil {
				t.Fatal(err)
			}
		}
		if run.failed {
			found++
		}
	}
	if found < runs*78/100 || found == runs {
		t.Errorf("a regression of %.2f times was found in %d of %d runs of %.0f s, want about 90 %%", ratio, found, runs, p.Steps[0].Seconds)
	}
}

func TestPlanOfProofTime(t *testing.T) {
	p, err := Plan(planned())
	if err != nil {
		t.Fatal(err)
	}
	if s := p.Steps[0]; s.Why != "proof" || s.Seconds < 8 || s.Seconds > 20 {
		t.Errorf(`"at most 2 times" at 10 %% is planned to take %.0f s (%s), want about 12 s`, s.Seconds, s.Why)
	}
	if !(p.SlowerCosts > 0) || !(p.SlowerSaves >= 0) {
		t.Errorf("a slower ramp saves %v bad answers and costs %v s", p.SlowerSaves, p.SlowerCosts)
	}
	in := planned()
	in.StableRate = 0
	if p, err = Plan(in); err != nil || p.Never == "" {
		t.Errorf("without errors a ratio can be proven, the plan says (%v)", err)
	}
	in.PerSecond = 0
	if _, err := Plan(in); err == nil {
		t.Error("a plan without traffic was made")
	}
}
