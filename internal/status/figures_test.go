package status

import (
	"slices"
	"testing"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/judge"
)

func TestFiguresWithTheirIntervals(t *testing.T) {
	p := func(x float64) *float64 { return &x }
	side := func(v, low, high float64) judge.SideReport {
		return judge.SideReport{N: 100, Value: p(v), Low: p(low), High: p(high), Quantiles: []judge.Quantile{{Q: 0.99, Value: 3 * v, Low: p(2 * v)}}}
	}
	interval := func(v, low, high float64) *judge.Interval {
		return &judge.Interval{Value: p(v), Low: p(low), High: p(high)}
	}
	latency := judge.MetricReport{
		Name: "latency", Kind: judge.Latency, Unit: "s", Stable: side(0.08, 0.07, 0.09), Canary: side(0.1, 0.09, 0.11),
		Ratio: interval(1.25, 1, 1.57), Diff: interval(0.02, -0.001, 0.04), MoreRequests: p(310), MoreSeconds: p(62),
		Quantiles: []judge.QuantileReport{{Q: 0.99, Ratio: &judge.Interval{Value: p(1.25)}, Diff: &judge.Interval{Value: p(0.06), Low: p(-0.01)}}},
	}
	want := []v1alpha1.FigureStatus{
		{Name: "latency", Stable: "80 ms [70 ms, 90 ms]", Canary: "100 ms [90 ms, 110 ms]", Ratio: "1.25 [1.00, 1.57]", Difference: "+20 ms [-1.0 ms, +40 ms]"},
		{Name: "latency p99", Stable: "240 ms [160 ms, ∞]", Canary: "300 ms [200 ms, ∞]", Ratio: "1.25 [0, ∞]", Difference: "+60 ms [-10 ms, +∞]"},
	}
	if got := Comparisons(latency); !slices.Equal(got, want) {
		t.Errorf("latency is shown as\n%q, want\n%q", got, want)
	}
	if got := Remaining(latency); got != "about 310 requests, 1 min 2 s" {
		t.Errorf("what is left is %q", got)
	}
	gauge := judge.MetricReport{Name: "queue", Kind: judge.Gauge, Stable: judge.SideReport{Value: p(-3), High: p(1)}, MoreRequests: p(12)}
	want = []v1alpha1.FigureStatus{{Name: "queue", Stable: "-3.0 [-∞, 1.0]", Canary: "no data", Ratio: "", Difference: ""}}
	if got := Comparisons(gauge); !slices.Equal(got, want) || Remaining(gauge) != "about 12 samples" {
		t.Errorf("a gauge is shown as %q, %q left; want %q", got, Remaining(gauge), want)
	}
	errors := judge.MetricReport{Name: "errors", Kind: judge.Proportion, Diff: interval(-0.004, -0.01, 0.002)}
	if got := Difference(errors); got != "-0.40% [-1.0%, +0.20%]" {
		t.Errorf("a difference of errors is %q", got)
	}
}
