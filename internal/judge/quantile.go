package judge

import "math"

func (g *histogram) check(*Batch) error { return nil }

func (g *histogram) evidence() float64 { return g.logM }

func (g *histogram) proof(looseness int) (float64, bool) {
	if len(g.margins) == 0 {
		return 0, false
	}
	return g.margins[looseness].log(), g.proven[looseness]
}

func (g *histogram) sides() (int64, int64) { return g.canary.total(), g.stable.total() }

func (g *histogram) report(m Metric, looseness int, r *MetricReport) {
	if m.Kind == Latency {
		r.Unit = "s"
	}
	g.guard.warn(r)
	r.Canary = g.side(&g.canary)
	r.Stable = g.side(&g.stable)
	if r.Canary.N == 0 || r.Stable.N == 0 {
		return
	}
	lc, hc := g.quantileInterval(&g.canary, IntervalAlpha/2)
	ls, hs := g.quantileInterval(&g.stable, IntervalAlpha/2)
	c, s := *r.Canary.Value, *r.Stable.Value
	r.Ratio = &Interval{Value: finite(c / s), Low: finite(lc / hs), High: finite(hc / ls)}
	r.Diff = &Interval{Value: finite(c - s), Low: finite(lc - hs), High: finite(hc - ls)}
	if len(g.margins) == 0 || g.baseN == 0 {
		return
	}
	w := g.share
	if w == 0 {
		w = float64(r.Canary.N) / float64(r.Canary.N+r.Stable.N)
	}
	rate := g.proofRate(w, g.shifts[looseness])
	r.MoreRequests = moreCanary(g.bar-g.margins[looseness].log(), rate, w)
}

// proofRate is the growth of the quantile proof for each value of both
// versions, when the canary's distribution is stable's.
func (g *histogram) proofRate(w float64, shift int) float64 {
	c := min(g.above, g.baseAbove(min(scaleBins-2, g.at+shift)))
	m := w*c + (1-w)*g.above
	return w*kl(c, m) + (1-w)*kl(g.above, m)
}

// side is one version's distribution; Value is the quantile of the margin.
func (g *histogram) side(t *tally) SideReport {
	s := SideReport{N: t.total()}
	if s.N == 0 {
		return s
	}
	sum := 0.0
	for i, c := range t {
		if c > 0 {
			sum += float64(c) * BinValue(g.kind, int32(i))
		}
	}
	s.Mean = finite(sum / float64(s.N))
	s.Value = finite(BinValue(g.kind, int32(t.quantileBin(g.quantile))))
	low, high := g.quantileInterval(t, IntervalAlpha)
	s.Low, s.High = finite(low), finite(high)
	for _, q := range []float64{0.5, 0.9, 0.99} {
		s.Quantiles = append(s.Quantiles, Quantile{Q: q, Value: BinValue(g.kind, int32(t.quantileBin(q)))})
	}
	return s
}

// quantileInterval is the always-valid interval of the margin's quantile: the
// bins at which "this is the quantile" was never refuted (a beta-binomial
// mixture for each). An open end is 0 or +Inf.
func (g *histogram) quantileInterval(t *tally, alpha float64) (low, high float64) {
	n, bar := float64(t.total()), math.Log(1/alpha)
	q := g.quantile
	refuted := func(below float64) bool {
		return betaBinomial(below, n, q, 0.5, 0.5) >= bar
	}
	low, high = 0, math.Inf(1)
	below := 0.0
	for i, c := range t {
		below += float64(c)
		if c == 0 {
			continue
		}
		if below < q*n && refuted(below) {
			low = binTop(g.kind, i)
		}
		if below > q*n && refuted(below) {
			return low, binTop(g.kind, i)
		}
	}
	return low, high
}
