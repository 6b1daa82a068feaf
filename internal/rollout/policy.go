package rollout

import (
	"cmp"
	"math"
	"slices"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
)

// Horizon is the time in seconds over which the judge expects late starts of a
// regression (judge: restarts).
const Horizon = 1800

// guarded is how many times worse than stable was before the run both versions
// together may get before a run pauses: a canary that hurts what they share
// hides from every comparison.
const guarded = 5

// burst is the interval in seconds whose bad requests are bet on once where a
// placebo finds that requests fail together.
const burst = 1

// ShareMetric is the check of how requests are divided, the last metric of every
// policy. No metric of a manifest can have its name.
const ShareMetric = "traffic share"

// Policy is what a run of this plan is judged by. Its metrics are those of the
// analysis, in their order, and ShareMetric behind them; Looseness holds each
// multiple that a step of the plan asks for, once.
func Policy(a release.Analysis, p release.Plan) judge.Policy {
	out := judge.Policy{Alpha: a.FalseRollback, AlphaPromote: a.FalsePromotion, Horizon: Horizon, Looseness: looseness(p)}
	for _, m := range a.Metrics {
		out.Metrics = append(out.Metrics, judgeMetric(m, a.PerUser))
	}
	if len(out.Metrics) > 0 {
		out.Metrics = append(out.Metrics, judge.Metric{Name: ShareMetric, Kind: judge.ShareCheck, Pause: true, PerUnit: a.PerUser, Limit: math.NaN()})
	}
	return out
}

// LooseIndex is the step's index into Policy.Looseness.
func LooseIndex(p release.Plan, step int) int {
	if step < 0 || step >= len(p.Steps) {
		return 0
	}
	return max(0, slices.Index(looseness(p), loose(p.Steps[step])))
}

func looseness(p release.Plan) []float64 {
	out := []float64{1}
	for _, s := range p.Steps {
		if !slices.Contains(out, loose(s)) {
			out = append(out, loose(s))
		}
	}
	return out
}

func loose(s release.Step) float64 { return max(s.Looseness, 1) }

func judgeMetric(m release.Metric, perUser bool) judge.Metric {
	out := judge.Metric{
		Name: m.Name, Kind: judgeKind(m.Kind), Share: m.Share, Required: m.Required,
		Ratio: m.Margin.Ratio, Difference: m.Margin.Difference, Quantile: m.Quantile,
		Unit: cmp.Or(m.Unit, m.Source.Unit()), Limit: math.NaN(), Harm: judge.Harm(m.Harm), Watch: m.Judge == release.JudgedWatch, Pause: m.Judge == release.JudgedPause,
	}
	if out.Kind == judge.Latency || out.Kind == judge.Amount || out.Kind == judge.Mean {
		// What the margin tolerates must not fail the run: small systematic
		// differences between two processes are real, and no regression.
		out.Tolerate = out.Ratio
	}
	if fact, ok := m.Source.Fact(); ok {
		out.Split = fact.Input
	}
	if m.Kind == release.Mean && (m.Source.Feedback != "" || m.Source.Evaluator != nil) {
		out.Most = 1 // how far scores are below 1
	}
	if m.Source.Server.Name != "" {
		out.Split = m.Source.Server.Input()
	}
	if out.Kind == judge.Proportion && ofRequests(m.Source) {
		if out.PerUnit = perUser; !perUser {
			out.Interval = burst
		}
	}
	if m.Bursts > 0 {
		out.Interval, out.Clustered = m.Bursts.Seconds(), true
	}
	// What is known of before the run is of requests: the times of users can not be
	// held against it, as those who fail can, who are fewer than the requests that do.
	if out.Kind == judge.Proportion && ofRequests(m.Source) || m.Source == (release.Source{}) && m.Kind == release.Latency && !perUser {
		out.Guard = guarded
	}
	if m.Limit != nil {
		out.Limit, out.LimitBelow = m.Limit.Value, m.Limit.Below
	}
	return out
}

// ofRequests reports whether each request, or what is said of its answer, has an
// outcome of its own, as it is told by who draws the version.
func ofRequests(s release.Source) bool {
	_, fact := s.Fact()
	return fact || s.Response != "" || s == (release.Source{})
}

func judgeKind(k release.MetricKind) judge.Kind {
	switch k {
	case release.Latency:
		return judge.Latency
	case release.Amount:
		return judge.Amount
	case release.Rate:
		return judge.Rate
	case release.Gauge:
		return judge.Gauge
	case release.Mean:
		return judge.Mean
	case release.Drift:
		return judge.Drift
	case release.Category:
		return judge.Category
	case release.Agreement:
		return judge.Agreement
	}
	return judge.Proportion // errors, proportions, votes
}
