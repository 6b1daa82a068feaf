package judge

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

// TestImpossibleSidesAreRefused: what the sides of each kind can not hold.
func TestImpossibleSidesAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		metric Metric
		side   Side
		want   string
	}{
		"values of a bin below the scale": {Metric{Kind: Latency}, Side{Bins: []BinCount{{-1, 1}}}, "bin -1"},
		"values of a bin above it":        {Metric{Kind: Amount}, Side{Bins: []BinCount{{scaleBins, 1}}}, "expected each bin once"},
		"a bin twice":                     {Metric{Kind: Mean}, Side{Bins: []BinCount{{3, 1}, {3, 1}}}, "bin 3 after bin 3"},
		"a negative count in a bin":       {Metric{Kind: Drift}, Side{Bins: []BinCount{{3, -1}}}, "-1 values"},
		"more events than can be":         {Metric{Kind: Rate}, Side{Bad: maxCount + 1}, "bad units"},
		"an infinite gauge":               {Metric{Kind: Gauge, Difference: 1}, Side{Value: math.Inf(-1)}, "the gauge is -Inf"},
		"a gauge beyond all numbers":      {Metric{Kind: Gauge, Difference: 1}, Side{Value: 1e300}, "the gauge is 1e+300"},
		"a gauge below 0 with a ratio":    {Metric{Kind: Gauge, Ratio: 1.5}, Side{Value: -1}, "below 0"},
		"a negative class":                {Metric{Kind: Category}, Side{Classes: []int64{1, -1}}, "class 1 has -1"},
		"too many classes":                {Metric{Kind: Category}, Side{Classes: make([]int64, maxClasses+1)}, "at most 64"},
		"pairs on one side":               {Metric{Kind: Agreement, Difference: 0.1}, Side{N: 3}, "same number of pairs"},
	} {
		s := scenario{name: "x", metric: c.metric}
		run := newRun(t, s.policy(), nil)
		before := run.Snapshot()
		err := run.Update(0, Batch{At: 1, Canary: c.side, Stable: Side{Value: 1}})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one that says %q", name, err, c.want)
		}
		if string(before) != string(run.Snapshot()) {
			t.Errorf("%s: a refused batch changed the state", name)
		}
	}
}

func TestImpossiblePoliciesAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Policy)
		want   string
	}{
		"unknown kind":       {func(p *Policy) { p.Metrics[0].Kind = "percentile" }, `kind "percentile" is unknown, expected one of [proportion latency amount`},
		"no metric":          {func(p *Policy) { p.Metrics = nil }, "no metric to judge by"},
		"alpha 0":            {func(p *Policy) { p.Alpha = 0 }, "alpha is 0"},
		"alpha NaN":          {func(p *Policy) { p.Alpha = math.NaN() }, "alpha is NaN"},
		"horizon infinite":   {func(p *Policy) { p.Horizon = math.Inf(1) }, "horizon is +Inf"},
		"margin NaN":         {func(p *Policy) { p.Metrics[0].Ratio = math.NaN() }, "ratio margin is NaN"},
		"difference negated": {func(p *Policy) { p.Metrics[0].Difference = -1 }, "difference margin is -1"},
		"share of alpha 2":   {func(p *Policy) { p.Metrics[0].Share = 2 }, "share of alpha is 2"},
		"the same name":      {func(p *Policy) { p.Metrics = append(p.Metrics, p.Metrics[0]) }, "two metrics are named"},
		"limit infinite":     {func(p *Policy) { p.Metrics[0].Limit = math.Inf(1) }, "limit is +Inf"},
	} {
		p := errorsOnly(0)
		c.change(&p)
		if _, err := New(p, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one that says %q", name, err, c.want)
		}
	}
}

// TestABillionInABatch: every kind takes counts of 10^9, at any share; numbers
// stay numbers, and versions that did alike are never failed by it.
func TestABillionInABatch(t *testing.T) {
	const n = 1_000_000_000
	for _, s := range scenarios {
		for _, share := range []float64{0, 1e-9, 0.5, 1} {
			run := newRun(t, s.policy(), nil)
			side := Side{N: n, Bad: n / 100, Bins: []BinCount{{500, n - 1}, {700, 1}}, Value: 100, Classes: []int64{n, n / 2, 1}}
			if s.metric.LimitBelow && s.metric.Kind == Gauge {
				side.Value = 40
			}
			for i := range 20 {
				b := Batch{At: float64(i), Share: share, Canary: side, Stable: side}
				if s.metric.Kind == ShareCheck {
					share = 0.5
					b.Share = share
				}
				if share == 1e-9 { // as many as the share says, or the share itself is wrong
					b.Canary = Side{N: 1, Bins: []BinCount{{500, 1}}, Value: side.Value, Classes: []int64{1}}
					if s.metric.Kind == Agreement {
						b.Canary = side
					}
				}
				if err := run.Update(0, b); err != nil {
					t.Fatalf("%s: %v", s.name, err)
				}
			}
			rep := run.Report(0)
			if _, err := json.Marshal(rep); err != nil {
				t.Errorf("%s at share %v: %v", s.name, share, err)
			}
			if rep.Verdict == Fail || rep.Reason == "" {
				t.Errorf("%s at share %v: %s (%s), though both versions did alike", s.name, share, rep.Verdict, rep.Reason)
			}
		}
	}
}
