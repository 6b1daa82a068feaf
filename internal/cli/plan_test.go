package cli

import (
	"math"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
)

// TestPlanKnowsStableFromItsRuns: what flags do not say is taken from the last
// look of the newest run.
func TestPlanKnowsStableFromItsRuns(t *testing.T) {
	rate := 0.004
	p := seen("hello-3", judge.Report{
		Canary: 1000, Stable: 9000, At: 50,
		Metrics: []judge.MetricReport{
			{Name: "errors", Kind: judge.Proportion, Stable: judge.SideReport{N: 9000, Value: &rate}},
			{Name: "latency", Kind: judge.Latency, Stable: judge.SideReport{Quantiles: []judge.Quantile{{Q: 0.5, Value: 0.08}, {Q: 0.9, Value: 0.08 * math.Exp(0.4*normal90)}}}},
		},
	})
	perSecond, truth, err := stableFlags{}.over(p)
	if err != nil || perSecond != 200 || truth.StableErrors != 0.004 || truth.StableLatency != 80*time.Millisecond || math.Abs(truth.Spread-0.4) > 1e-9 {
		t.Errorf("it is planned with %v a second and %+v, %v", perSecond, truth, err)
	}
	perSecond, truth, err = stableFlags{rate: "50", errors: "1%", latency: "1s", spread: "0.2"}.over(p)
	if err != nil || perSecond != 50 || truth.StableErrors != 0.01 || truth.StableLatency != time.Second || truth.Spread != 0.2 {
		t.Errorf("flags count for nothing: %v a second and %+v, %v", perSecond, truth, err)
	}
	if _, truth, err = (stableFlags{rate: "50"}).over(past{}); err != nil || truth.StableErrors != 0.01 {
		t.Errorf("a release without runs is planned with %+v, %v", truth, err)
	}
	for _, k := range []stableFlags{{}, {rate: "x"}, {rate: "1", errors: "200%"}, {rate: "1", latency: "80"}, {rate: "1", latency: "0s"}, {rate: "1", spread: "-1"}} {
		if _, _, err := k.over(past{}); err == nil {
			t.Errorf("%+v was taken", k)
		}
	}
}
