package status

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/rollout"
)

func runStatus(run rollout.Run, rep *judge.Report) v1alpha1.RunStatus {
	out := v1alpha1.RunStatus{
		Name: run.ID, Phase: string(run.Phase), To: run.To.Name,
		Started: metav1.NewTime(run.Started), Why: run.Why, Cause: string(run.Cause),
	}
	if run.From != nil {
		out.From = run.From.Name
	}
	if !run.Ended.IsZero() {
		t := metav1.NewTime(run.Ended)
		out.Ended = &t
	}
	for _, s := range run.Plan.Steps {
		out.Steps = append(out.Steps, Percent(s.Weight))
	}
	if rep == nil {
		return out
	}
	out.CanaryRequests, out.StableRequests = rep.Canary, rep.Stable
	out.Evidence = Odds(rep.LogE)
	out.Placebo, out.Division = Checks(*rep)
	out.Caveats = rep.Caveats
	for _, m := range rep.Metrics {
		out.Metrics = append(out.Metrics, metricStatus(m))
	}
	return out
}

// Checks says what the checks of the comparison itself found: stable against
// itself, and how requests were divided. Empty: nothing is known.
func Checks(rep judge.Report) (placebo, division string) {
	if rep.Placebo != nil {
		placebo = rep.Placebo.Finding
	}
	if rep.Division != nil {
		division = upper(rep.Division.Reason)
	}
	return placebo, division
}

func metricStatus(m judge.MetricReport) v1alpha1.MetricStatus {
	out := v1alpha1.MetricStatus{
		Name: m.Name, Verdict: string(m.Verdict), Reason: m.Reason,
		Stable: Figure(m, m.Stable), Canary: Figure(m, m.Canary),
		Ratio: Interval(m.Ratio), Evidence: Odds(m.LogE), Margin: m.Margin,
		Figures: Comparisons(m),
	}
	if m.Margin == "" {
		return out
	}
	out.Proof = Odds(m.LogProof)
	if m.LogProof < m.ProofThreshold {
		out.Remaining = Remaining(m)
	}
	return out
}

// Figure is one side's number in words: "0.41% of 28114", "84 ms of 2000".
func Figure(m judge.MetricReport, s judge.SideReport) string {
	if s.Value == nil {
		return "no data"
	}
	switch m.Unit {
	case "s":
		return fmt.Sprintf("%s of %d", Seconds(*s.Value), s.N)
	case "":
		switch m.Kind {
		case judge.Proportion:
			return fmt.Sprintf("%s of %d", Share(*s.Value), s.N)
		case judge.Category, judge.Drift:
			return strings.TrimSpace(fmt.Sprintf("%s %s of %d", m.ClassName, Share(*s.Value), s.N))
		}
	}
	return strings.TrimSpace(number(*s.Value) + " " + m.Unit)
}

// Interval is an estimate with its always-valid interval: "4.6 [2.8, 7.7]".
func Interval(i *judge.Interval) string {
	if i == nil || i.Value == nil {
		return ""
	}
	low, high := "0", "∞"
	if i.Low != nil {
		low = ratio(*i.Low)
	}
	if i.High != nil {
		high = ratio(*i.High)
	}
	return fmt.Sprintf("%s [%s, %s]", ratio(*i.Value), low, high)
}
