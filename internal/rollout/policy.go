package rollout

import (
	"math"
	"slices"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
)

// Horizon is the time in seconds over which the judge expects late starts of a
// regression (judge: restarts).
const Horizon = 1800

// Policy is what a run of this plan is judged by. Its metrics are those of the
// analysis, in their order; Looseness holds each multiple that a step of the
// plan asks for, once.
func Policy(a release.Analysis, p release.Plan) judge.Policy {
	out := judge.Policy{Alpha: a.FalseRollback, AlphaPromote: a.FalsePromotion, Horizon: Horizon, Looseness: looseness(p)}
	for _, m := range a.Metrics {
		out.Metrics = append(out.Metrics, judgeMetric(m))
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

func judgeMetric(m release.Metric) judge.Metric {
	out := judge.Metric{
		Name: m.Name, Kind: judgeKind(m.Kind), Share: m.Share, Required: m.Required,
		Ratio: m.Margin.Ratio, Difference: m.Margin.Difference, Quantile: m.Quantile,
		Limit: math.NaN(), Watch: m.Judge == release.JudgedWatch, Pause: m.Judge == release.JudgedPause,
	}
	if out.Kind == judge.Latency || out.Kind == judge.Amount {
		// What the margin tolerates must not fail the run: small systematic
		// differences between two processes are real, and no regression.
		out.Tolerate = out.Ratio
	}
	if m.Limit != nil {
		out.Limit, out.LimitBelow = m.Limit.Value, m.Limit.Below
	}
	return out
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
	case release.Category:
		return judge.Category
	case release.Agreement:
		return judge.Agreement
	}
	return judge.Proportion // errors, proportions, votes
}
