package judge

import (
	"math"
	"strings"
	"testing"
)

// A version is not promoted while a metric whose proof nobody asked for is about to
// fail it, and is once further requests have taken the doubt away.
func TestDoubtHoldsPromotion(t *testing.T) {
	p := Policy{Alpha: 0.01, AlphaPromote: 0.05, Horizon: 1800, Metrics: []Metric{
		{Name: "errors", Kind: Proportion, Share: 0.5, Required: true, Ratio: 1.5, Difference: 0.03, Limit: math.NaN()},
		{Name: "abandoned", Kind: Proportion, Share: 0.05, Ratio: 1.5, Difference: 0.001, Limit: math.NaN()},
	}}
	r, at := newRun(t, p, nil), 0.0
	give := func(metric int, canary, stable Side) {
		at++
		if err := r.Update(metric, Batch{At: at, Share: 0.5, Canary: canary, Stable: stable}); err != nil {
			t.Fatal(err)
		}
	}
	for range 500 {
		give(0, Side{N: 1}, Side{N: 1})
	}
	if !r.Proven(0) {
		t.Fatalf("the proof that is required is missing: %s", r.Report(0).Reason)
	}
	for range 9 {
		give(1, Side{N: 5, Bad: 1}, Side{N: 5})
	}
	rep := r.Report(0)
	if r.Failed() || !r.Doubt(0) || r.Proven(0) || rep.Verdict != Inconclusive || rep.Doubt != rep.Reason {
		t.Fatalf("%s, at %.1f of %.1f nats: %s", rep.Verdict, rep.Metrics[1].LogE, rep.Metrics[1].Threshold, rep.Reason)
	}
	const want = "abandoned: the canary looks worse, 20 % against 0 %; a good version shows so much with a chance of 1 : "
	if !strings.HasPrefix(rep.Reason, want) || !strings.HasSuffix(rep.Reason, "at most. That is not enough to take it back, and too much to give it more traffic.") {
		t.Error(rep.Reason)
	}
	for range 60 {
		give(1, Side{N: 5}, Side{N: 5, Bad: 1})
	}
	if rep := r.Report(0); r.Doubt(0) || !r.Proven(0) || rep.Verdict != Pass || rep.Doubt != "" {
		t.Errorf("%s, at %.1f nats: %s", rep.Verdict, rep.Metrics[1].LogE, rep.Reason)
	}
}

// What a metric is in doubt by is less than what fails the run, and never nothing.
func TestDoubtfulIsBelowTheThreshold(t *testing.T) {
	for _, alpha := range []float64{0.2, 0.1, 0.01, 1e-6} {
		for _, share := range []float64{1, 0.1, 1e-4} {
			threshold := math.Log(1 / (alpha * share))
			if d := doubtful(threshold); d <= 0 || d >= threshold || d < threshold/2 {
				t.Errorf("alpha %v, share %v: in doubt from %.2f of %.2f nats on", alpha, share, d, threshold)
			}
		}
	}
}
