package status

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
)

func runStatus(run rollout.Run, rep *judge.Report) v1alpha1.RunStatus {
	out := v1alpha1.RunStatus{
		Name: run.ID, Phase: string(run.Phase), To: run.To.Name, ToID: string(run.To.ID),
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
	out.Caveats = Caveats(run, *rep)
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

// fewUsers are so few that each of them weighs.
const fewUsers = 300

// Caveats are what could mislead who reads a report, in sentences.
func Caveats(run rollout.Run, rep judge.Report) []string {
	out := slices.Clone(rep.Caveats)
	if d := rep.Division; d != nil && d.Unit == "users" && d.Canary.N > 0 && d.Canary.N < fewUsers {
		out = append(out, fmt.Sprintf("Users keep their version, so that all that is known of %s is from %s.", run.To.Name, count(int(d.Canary.N), "user", "users")))
	}
	return out
}

// Load says how much more or less an instance of the canary has to do than one of
// stable; empty: about the same, or nothing is compared.
func Load(rec store.Record) string {
	run := rec.State.Run
	if run == nil || run.Phase != rollout.Progressing || run.From == nil {
		return ""
	}
	ready := func(v release.VersionID) float64 {
		for _, g := range rec.Observed.Fleet {
			if g.Version == v {
				return float64(g.Ready)
			}
		}
		return 0
	}
	nc, ns := ready(run.To.ID), ready(run.From.ID)
	wc, ws := float64(rec.Observed.Split.Of(run.To.ID)), float64(rec.Observed.Split.Of(run.From.ID))
	if nc == 0 || ns == 0 || wc == 0 || ws == 0 {
		return ""
	}
	switch x := wc / nc / (ws / ns); {
	case x <= 1/unlike:
		return fmt.Sprintf("An instance of %s gets %s as many requests as one of %s: under less load it looks faster than it is.", run.To.Name, Share(x), run.From.Name)
	case x >= unlike:
		return fmt.Sprintf("An instance of %s gets %s times as many requests as one of %s: under more load it looks slower than it is.", run.To.Name, number(x), run.From.Name)
	}
	return ""
}

// unlike is the ratio of loads from which on it is told.
const unlike = 1.5

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
	case "B":
		return Bytes(*s.Value)
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
