package status

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/judge"
)

// Bounds is a side's figure with its always-valid interval: "0.41% [0.35%, 0.48%]".
func Bounds(m judge.MetricReport, s judge.SideReport) string {
	return between(m, s.Value, s.Low, s.High)
}

// Difference is the canary's figure less stable's, with its always-valid
// interval, in the metric's unit: "+12 ms [+4.0 ms, +21 ms]"; empty: not known.
func Difference(m judge.MetricReport) string { return difference(m, m.Diff) }

func difference(m judge.MetricReport, d *judge.Interval) string {
	if d == nil || d.Value == nil {
		return ""
	}
	end := func(x *float64, open string) string {
		if x == nil {
			return open
		}
		return signed(m, *x)
	}
	return fmt.Sprintf("%s [%s, %s]", signed(m, *d.Value), end(d.Low, "-∞"), end(d.High, "+∞"))
}

func signed(m judge.MetricReport, x float64) string {
	sign := "+"
	if x < 0 {
		sign = "-"
	}
	return sign + figure(m, math.Abs(x))
}

// figure writes a number of a metric in its unit.
func figure(m judge.MetricReport, x float64) string {
	switch {
	case m.Unit == "s":
		return Seconds(x)
	case m.Kind == judge.Proportion || m.Kind == judge.Agreement || m.Kind == judge.ShareCheck || m.Kind == judge.Category || m.Kind == judge.Drift:
		return Share(x)
	case m.Unit == "B":
		return Bytes(x)
	}
	return strings.TrimSpace(number(x) + " " + m.Unit)
}

func between(m judge.MetricReport, value, low, high *float64) string {
	if value == nil {
		return "no data"
	}
	end := func(x *float64, open string) string {
		switch {
		case x == nil:
			return open
		case *x < 0:
			return "-" + figure(m, -*x)
		}
		return figure(m, *x)
	}
	if low == nil && high == nil {
		return end(value, "")
	}
	least := "0"
	if m.Kind == judge.Gauge {
		least = "-∞"
	}
	return fmt.Sprintf("%s [%s, %s]", end(value, ""), end(low, least), end(high, "∞"))
}

// Comparisons are all figures of a metric: its own, and the quantiles of a
// distribution.
func Comparisons(m judge.MetricReport) []v1alpha1.FigureStatus {
	out := []v1alpha1.FigureStatus{{Name: m.Name, Stable: Bounds(m, m.Stable), Canary: Bounds(m, m.Canary), Ratio: Interval(m.Ratio), Difference: Difference(m)}}
	for i, q := range m.Quantiles {
		if i >= len(m.Stable.Quantiles) || i >= len(m.Canary.Quantiles) {
			break
		}
		s, c := m.Stable.Quantiles[i], m.Canary.Quantiles[i]
		out = append(out, v1alpha1.FigureStatus{
			Name:   fmt.Sprintf("%s p%g", m.Name, 100*q.Q),
			Stable: between(m, &s.Value, s.Low, s.High), Canary: between(m, &c.Value, c.Low, c.High),
			Ratio: Interval(q.Ratio), Difference: difference(m, q.Diff),
		})
	}
	return out
}

// Remaining is what a metric's proof still needs: "about 3100 requests, 2 min";
// empty: nothing, or it cannot be said.
func Remaining(m judge.MetricReport) string {
	if m.MoreRequests == nil || *m.MoreRequests < 1 || *m.MoreRequests > 1e12 {
		return ""
	}
	what := "requests"
	switch m.Kind {
	case judge.Gauge:
		what = "samples"
	case judge.Agreement:
		what = "pairs"
	}
	text := fmt.Sprintf("about %d %s", int64(*m.MoreRequests), what)
	if s := m.MoreSeconds; s != nil && *s < 1e9 {
		text += ", " + Duration(time.Duration(max(1, *s)*float64(time.Second)))
	}
	return text
}
