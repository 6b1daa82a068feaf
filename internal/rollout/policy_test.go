package rollout

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
)

func TestPolicy(t *testing.T) {
	a := release.Analysis{FalseRollback: 0.01, FalsePromotion: 0.05, Metrics: []release.Metric{
		{Name: "errors", Kind: release.Errors, Share: 0.5, Required: true, Margin: release.Margin{Ratio: 1.5, Difference: 0.001}},
		{Name: "slow", Kind: release.Latency, Share: 0.5, Quantile: 0.99, Limit: &release.Limit{Below: true, Value: 0.3}},
		{Name: "memory", Kind: release.Gauge, Judge: release.JudgedPause, Harm: release.HarmFewer},
	}}
	p := release.Plan{Steps: []release.Step{{Looseness: 2}, {Looseness: 1}, {Looseness: 2}, {}}}
	got := Policy(a, p)
	want := judge.Policy{Alpha: 0.01, AlphaPromote: 0.05, Horizon: 1800, Looseness: []float64{1, 2}, Metrics: []judge.Metric{
		{Name: "errors", Kind: judge.Proportion, Share: 0.5, Required: true, Ratio: 1.5, Difference: 0.001, Limit: math.NaN(), Interval: 1, Guard: 5},
		{Name: "slow", Kind: judge.Latency, Share: 0.5, Quantile: 0.99, LimitBelow: true, Limit: 0.3, Guard: 5},
		{Name: "memory", Kind: judge.Gauge, Pause: true, Limit: math.NaN(), Harm: judge.Fewer},
		{Name: "traffic share", Kind: judge.ShareCheck, Pause: true, Limit: math.NaN()},
	}}
	if diff := cmp.Diff(want, got, cmpopts.EquateNaNs()); diff != "" {
		t.Error(diff)
	}
	a.PerUser = true
	if got := Policy(a, p).Metrics; !got[0].PerUnit || got[0].Interval != 0 || got[1].Guard != 0 || !got[3].PerUnit {
		t.Errorf("a sticky release is judged by %+v, expected users for errors and shares, and no guard of their times", got)
	}
	broken := release.Metric{Name: "broken", Kind: release.Proportion, Share: 0.5, Source: release.Source{Response: "5xx"}}
	for _, perUser := range []bool{false, true} {
		if got := judgeMetric(broken, perUser); got.PerUnit != perUser || (got.Interval > 0) == perUser || got.Guard != 5 {
			t.Errorf("a share of answers is judged by %+v, expected users (%v) or intervals beside requests, and the guard", got, perUser)
		}
	}
	cost := release.Metric{Name: "cost", Kind: release.Mean, Source: release.Source{LLM: release.FactCost}, Unit: "EUR"}
	if got := judgeMetric(cost, false); got.Unit != "EUR" {
		t.Errorf("a cost is judged by %+v, expected euros", got)
	}
	broken.Bursts = 2 * time.Second
	if got := judgeMetric(broken, false); !got.Clustered || got.Interval != 2 {
		t.Errorf("bursts of 2 s are judged by %+v", got)
	}
	for i, want := range []int{1, 0, 1, 0} {
		if got := LooseIndex(p, i); got != want {
			t.Errorf("step %d has looseness %d, expected %d", i, got, want)
		}
	}
	if LooseIndex(p, 9) != 0 || LooseIndex(p, -1) != 0 {
		t.Error("a step that is not in the plan is judged as declared")
	}
}

// TestAnyStateGivesADecision: what another version of the program kept, or a
// hand wrote, is decided on without a panic and without end.
func TestAnyStateGivesADecision(t *testing.T) {
	v1, v2 := ver("v1"), ver("v2")
	for _, phase := range []Phase{Preparing, Progressing, Baking, Finishing, RollingBack, Promoted, RolledBack, Aborted, Superseded, "", "Strange"} {
		for _, from := range []*release.Version{nil, &v1} {
			for _, stable := range []*release.Version{nil, &v1, &v2} {
				for _, steps := range []int{0, 1, 3} {
					r := &Run{ID: "x-1", From: from, To: v2, Phase: phase, Step: 7, Back: 9, Plan: release.Plan{Steps: make([]release.Step, steps)}}
					in := Input{Now: noon, State: State{Stable: stable, Run: r}, Release: release.Release{Name: "x", Version: v2, Replicas: 1}}
					in.Split.Known = true
					for _, verb := range []Verb{AskAbort, AskPause, AskResume, AskPromote, AskPromoteFull, AskRetry, AskRollback} {
						in.Intents = []Intent{{ID: 1, Verb: verb, By: "ann"}}
						if d := Decide(in); len(d.Consumed) != 1 {
							t.Errorf("%s in %q: %d answers", verb, phase, len(d.Consumed))
						}
					}
					in.Intents, in.Deleted = nil, true
					Decide(in)
				}
			}
		}
	}
}

func TestWords(t *testing.T) {
	for want, got := range map[string]string{
		"0.5%": percent(50), "100%": percent(release.Full), "33.33%": percent(3333),
		"28 114": thousands(28114), "-1 000": thousands(-1000), "999": thousands(999), "1 000 000": thousands(1e6),
		"250ms": span(250 * time.Millisecond), "3.2s": span(3217 * time.Millisecond), "1m6s": span(65600 * time.Millisecond),
		"1 request": count(1, "request", "requests"),
	} {
		if got != want {
			t.Errorf("%q, expected %q", got, want)
		}
	}
}
