package web

import (
	"math"
	"strings"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/status"
)

// evidenceRow is one metric of a run.
type evidenceRow struct {
	Name, Kind, Verdict, Reason string
	Required                    bool
	Stable, Canary              string
	StableN, CanaryN            string
	Ratio                       string
	Strip                       *strip
	Worse, WorseAt              string  // odds and their threshold
	WorsePart                   float64 // of the threshold, 0..100
	Proof, ProofAt              string
	ProofPart                   float64
	Proven                      bool
	Margin                      string
	More                        string // what is missing to decide
	Figures                     []v1alpha1.FigureStatus
	Series                      int // number of its line in the charts
}

// The strip's own coordinates: 0..stripWidth, logarithmic, 1 where both
// versions are equal.
const stripWidth = 240.0

// ratioScale is common to all metrics of a run, so that rows can be compared.
type ratioScale struct {
	Max   float64 // the ends are 1/Max and Max
	Ticks []tick
}

type tick struct {
	X    float64
	Text string
}

// strip is a ratio with its interval on the common scale.
type strip struct {
	Equal          float64 // x of ratio 1
	Margin         float64 // x of the margin; 0: none is known
	Low, High, Dot float64
	OpenLow        bool // the interval goes on beyond the end
	OpenHigh       bool
	HasDot         bool
	Tone           string
	Text           string
}

// scaleOf finds the smallest of a few ranges that holds what is known.
func scaleOf(rep judge.Report, metrics []release.Metric) ratioScale {
	need := 1.0
	reach := func(p *float64) {
		if p != nil && *p > 0 && !math.IsInf(*p, 0) {
			need = max(need, *p, 1 / *p)
		}
	}
	for _, m := range rep.Metrics {
		if r := m.Ratio; r != nil {
			reach(r.Value)
			reach(r.Low)
			reach(r.High)
		}
		if k := marginOf(m, metrics); k > 0 {
			reach(&k)
		}
	}
	for _, c := range []struct {
		max   float64
		ticks []tick
	}{
		{2, []tick{{0.5, "½×"}, {0.7071, "0.7×"}, {1, "same"}, {1.4142, "1.4×"}, {2, "2×"}}},
		{4, []tick{{0.25, "¼×"}, {0.5, "½×"}, {1, "same"}, {2, "2×"}, {4, "4×"}}},
		{10, []tick{{0.1, "0.1×"}, {0.3162, "0.3×"}, {1, "same"}, {3.162, "3×"}, {10, "10×"}}},
	} {
		if need <= c.max*0.98 || c.max == 10 {
			s := ratioScale{Max: c.max}
			for _, t := range c.ticks {
				s.Ticks = append(s.Ticks, tick{s.x(t.X), t.Text})
			}
			return s
		}
	}
	return ratioScale{}
}

// x places a ratio, clipped to the ends.
func (s ratioScale) x(ratio float64) float64 {
	if ratio <= 0 {
		return 0
	}
	u := (math.Log(ratio)/math.Log(s.Max) + 1) / 2
	return stripWidth * min(1, max(0, u))
}

func (s ratioScale) beyond(ratio float64) bool { return ratio > s.Max || ratio < 1/s.Max }

// marginOf is the tolerated ratio of a metric: the larger of its ratio and its
// difference seen from stable's figure; 0: not known.
func marginOf(m judge.MetricReport, metrics []release.Metric) float64 {
	for _, d := range metrics {
		if d.Name != m.Name {
			continue
		}
		k := d.Margin.Ratio
		if d.Margin.Difference > 0 && m.Stable.Value != nil && *m.Stable.Value > 0 {
			k = max(k, 1 + d.Margin.Difference / *m.Stable.Value)
		}
		return k
	}
	return 0
}

func evidenceRows(rep judge.Report, metrics []release.Metric, scale ratioScale) []evidenceRow {
	var out []evidenceRow
	for i, m := range rep.Metrics {
		r := evidenceRow{
			Name: m.Name, Kind: string(m.Kind), Verdict: string(m.Verdict), Reason: sentence(strings.TrimPrefix(m.Reason, m.Name+": ")), Required: m.Required,
			Stable: status.Figure(m, m.Stable), Canary: status.Figure(m, m.Canary),
			StableN: count(m.Stable.N), CanaryN: count(m.Canary.N),
			Ratio: status.Interval(m.Ratio), Margin: m.Margin, Series: i % series,
			Worse: status.Odds(m.LogE), WorseAt: status.Odds(m.Threshold), WorsePart: part(m.LogE, m.Threshold),
			Proof: status.Odds(m.LogProof), ProofAt: status.Odds(m.ProofThreshold), ProofPart: part(m.LogProof, m.ProofThreshold),
			Proven: m.ProofThreshold > 0 && m.LogProof >= m.ProofThreshold,
		}
		if m.Ratio != nil {
			r.Strip = newStrip(m, scale, marginOf(m, metrics))
		}
		if more := status.Remaining(m); more != "" && !r.Proven {
			r.More = more + " to go"
		}
		r.Figures = status.Comparisons(m)
		out = append(out, r)
	}
	return out
}

// part is how far evidence has come towards its threshold, in percent.
func part(have, need float64) float64 {
	if need <= 0 || have <= 0 || math.IsNaN(have) {
		return 0
	}
	return 100 * min(1, have/need)
}

func newStrip(m judge.MetricReport, scale ratioScale, margin float64) *strip {
	st := &strip{Equal: scale.x(1), Low: 0, High: stripWidth, OpenLow: true, OpenHigh: true,
		Tone: lookOf(string(m.Verdict)).Tone, Text: status.Interval(m.Ratio)}
	if margin > 1 {
		st.Margin = scale.x(margin)
	}
	if p := m.Ratio.Low; p != nil && *p > 0 {
		st.Low, st.OpenLow = scale.x(*p), scale.beyond(*p)
	}
	if p := m.Ratio.High; p != nil {
		st.High, st.OpenHigh = scale.x(*p), scale.beyond(*p)
	}
	if p := m.Ratio.Value; p != nil {
		st.Dot, st.HasDot = scale.x(*p), true
	}
	return st
}
