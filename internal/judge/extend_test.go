package judge

import (
	"bytes"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestMetricsJoinFromUnspentAlphaOnly: what no metric has can be given to one that
// joins midway; what was given can not be given again.
func TestMetricsJoinFromUnspentAlphaOnly(t *testing.T) {
	p := errorsOnly(0)
	p.Metrics[0].Share = 0.6
	run := newRun(t, p, nil)
	for i := range 100 {
		if err := run.Update(0, Batch{At: float64(i), Share: 0.1, Canary: Side{N: 100, Bad: 1}, Stable: Side{N: 900, Bad: 9}}); err != nil {
			t.Fatal(err)
		}
	}
	before, state := run.LogE(), run.Snapshot()
	late := Metric{Name: "late", Kind: Proportion, Share: 0.5, Limit: math.NaN()}
	if err := run.Add(late, History{}); err == nil || !strings.Contains(err.Error(), "at most 0.4") || !bytes.Equal(run.Snapshot(), state) {
		t.Errorf("half of alpha was given where 0.4 is unspent (%v), or the refusal changed the run", err)
	}
	late.Share = 0.4
	if err := run.Add(late, History{N: 100, Bad: 101}); err == nil || !bytes.Equal(run.Snapshot(), state) {
		t.Errorf("an impossible history was taken (%v), or the refusal changed the run", err)
	}
	if err := run.Add(late, History{N: 1000, Bad: 10}); err != nil {
		t.Fatal(err)
	}
	if got := run.LogE(); got > before+1e-12 || before-got > 1e-8 { // its first odds are rounded down
		t.Errorf("a metric that joined moved the evidence from %v to %v", before, got)
	}
	watched := Metric{Name: "watched", Kind: Rate, Watch: true, Limit: math.NaN()}
	if err := run.Add(watched, History{}); err != nil {
		t.Errorf("a metric that is only watched needs no alpha: %v", err)
	}
	if err := run.Add(Metric{Name: "more", Kind: Proportion, Share: 0.01, Limit: math.NaN()}, History{}); err == nil {
		t.Error("alpha was spent twice")
	}
	again, err := Restore(run.Policy(), run.Snapshot())
	if err != nil || !bytes.Equal(again.Snapshot(), run.Snapshot()) {
		t.Errorf("the grown run is not continued: %v", err)
	}
	for i := range 50 {
		if err := run.Update(1, Batch{At: float64(100 + i), Share: 0.1, Canary: Side{N: 100, Bad: 20}, Stable: Side{N: 900, Bad: 9}}); err != nil {
			t.Fatal(err)
		}
	}
	if rep := run.Report(0); rep.Verdict != Fail || len(rep.Blame) != 1 || rep.Blame[0] != "late" {
		t.Errorf("%s for %v, want a failure for the metric that joined", rep.Verdict, rep.Blame)
	}
}

// TestJoiningKeepsAlpha: good versions fail no more often where a metric joins.
func TestJoiningKeepsAlpha(t *testing.T) {
	const runs, alpha = 400, 0.05
	alarms := 0
	for i := range runs {
		r := rand.New(rand.NewPCG(31, uint64(i)))
		p := errorsOnly(0)
		p.Alpha, p.Metrics[0].Share = alpha, 0.5
		run := newRun(t, p, []History{{N: 10_000, Bad: 200}})
		for at := range 200 {
			if at == 100 {
				if err := run.Add(Metric{Name: "late", Kind: Proportion, Share: 0.5, Limit: math.NaN()}, History{N: 10_000, Bad: 200}); err != nil {
					t.Fatal(err)
				}
			}
			for m := range len(run.metrics) {
				b := Batch{At: float64(at), Share: 0.2, Canary: Side{N: 20, Bad: binomial(r, 20, 0.02)}, Stable: Side{N: 80, Bad: binomial(r, 80, 0.02)}}
				if err := run.Update(m, b); err != nil {
					t.Fatal(err)
				}
			}
		}
		if run.Failed() {
			alarms++
		}
	}
	if most := runs*alpha + 3*math.Sqrt(runs*alpha); float64(alarms) > most {
		t.Errorf("%d of %d good versions failed, want at most %.0f", alarms, runs, most)
	}
}
