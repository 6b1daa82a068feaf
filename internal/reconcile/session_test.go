package reconcile

import (
	"testing"

	"github.com/haldane-project/haldane/internal/judge"
)

// TestFindingsHaveTheirExamples: beside the finding, and in the reason of the run
// where that is about it; what is no finding has none.
func TestFindingsHaveTheirExamples(t *testing.T) {
	s := &session{shown: map[int]string{0: "No error.", 1: "The first: is not JSON."}}
	rep := judge.Report{Verdict: judge.Fail, Reason: "Because of invalid and refusal. invalid: worse.", Metrics: []judge.MetricReport{
		{Name: "errors", Reason: "errors: fine."}, {Name: "invalid", Verdict: judge.Fail, Reason: "invalid: worse."},
	}}
	s.show(&rep)
	if rep.Reason != "Because of invalid and refusal. invalid: worse. The first: is not JSON." ||
		rep.Metrics[1].Reason != "invalid: worse. The first: is not JSON." || rep.Metrics[0].Reason != "errors: fine." {
		t.Errorf("report %+v", rep)
	}
}
