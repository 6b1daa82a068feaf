package judge

import (
	"fmt"
	"math"
)

func (g *histogram) check(*Batch) error { return nil }

func (g *histogram) evidence() float64 { return g.logM }

func (g *histogram) proof(looseness int) (float64, bool) {
	if len(g.margins) == 0 {
		return 0, false
	}
	return g.margins[looseness].log(), g.proven[looseness]
}

func (g *histogram) sides() (int64, int64) { return g.canary.total(), g.stable.total() }

// shown are the quantiles that a report gives beside that of the margin.
var shown = []float64{0.5, 0.9, 0.99}

func (g *histogram) report(m Metric, looseness int, r *MetricReport) {
	r.Unit = m.unit()
	g.guard.warn(r)
	arms := map[float64][2][]segment{}
	for _, q := range append([]float64{g.quantile}, shown...) {
		arms[q] = [2][]segment{g.arm(&g.canary, q), g.arm(&g.stable, q)}
	}
	r.Canary = g.side(&g.canary, func(q float64) []segment { return arms[q][0] })
	r.Stable = g.side(&g.stable, func(q float64) []segment { return arms[q][1] })
	if r.Canary.N == 0 || r.Stable.N == 0 {
		return
	}
	own := g.compare(arms[g.quantile], g.quantile)
	r.Ratio, r.Diff = own.Ratio, own.Diff
	for _, q := range shown {
		r.Quantiles = append(r.Quantiles, g.compare(arms[q], q))
	}
	if len(g.margins) == 0 || g.baseN == 0 {
		return
	}
	r.Coarse = g.coarse(g.shifts[looseness])
	w := g.canaryShare()
	rate := g.proofRate(w, g.shifts[looseness])
	r.MoreRequests = moreCanary(g.bar-g.margins[looseness].log(), rate, w)
}

// coarse says that no bound of the histogram lies within the margin beyond the
// one below which stable's quantile is: what is worse by the margin and what is
// not are then counted in one bucket.
func (g *histogram) coarse(shift int) string {
	i := 0
	for i < len(g.bounds) && int(binUnder(g.kind, g.bounds[i])) < g.at {
		i++
	}
	switch {
	case len(g.bounds) == 0:
		return ""
	case i+1 >= len(g.bounds):
		return fmt.Sprintf("nothing is told apart beyond %s by the histogram that it comes from", amount(g.bounds[len(g.bounds)-1], displayUnit(g.kind)))
	case int(binUnder(g.kind, g.bounds[i+1])) <= g.at+shift:
		return ""
	}
	return fmt.Sprintf("nothing is told apart between %s and %s by the histogram that it comes from",
		amount(g.bounds[i], displayUnit(g.kind)), amount(g.bounds[i+1], displayUnit(g.kind)))
}

// canaryShare is the share to forecast with.
func (g *histogram) canaryShare() float64 { return shareOr(g.share, g) }

// proofRate is the growth of the quantile proof for each value of both
// versions, when the canary's distribution is stable's.
func (g *histogram) proofRate(w float64, shift int) float64 {
	c := min(g.above, g.baseAbove(min(scaleBins-2, g.at+shift)))
	m := w*c + (1-w)*g.above
	return w*kl(c, m) + (1-w)*kl(g.above, m)
}

// arm is the evidence about a quantile of one version; nil without values.
func (g *histogram) arm(t *tally, q float64) []segment {
	return armOf(0, g.cells(t), q, max(1, g.clump.effect))
}

func (g *histogram) cells(t *tally) []cell {
	var out []cell
	for bin, n := range t {
		if n > 0 {
			out = append(out, cell{g.lower(bin), g.upper(bin), float64(n)})
		}
	}
	return out
}

// lower and upper are the edges of what a bin's values can be: of the bin, or of
// the histogram's bucket that was counted in it; beyond the scale's ends anything.
func (g *histogram) lower(bin int) float64 {
	if len(g.bounds) > 0 {
		i := 0
		for i < len(g.bounds) && int(binUnder(g.kind, g.bounds[i])) < bin {
			i++
		}
		bin, _ = bucketBins(g.kind, g.bounds, i)
	}
	if bin == 0 {
		return 0
	}
	return binTop(g.kind, bin-1)
}

func (g *histogram) upper(bin int) float64 {
	if bin == scaleBins-1 {
		return math.Inf(1)
	}
	return binTop(g.kind, bin)
}

// compare sets the two versions' quantile q side by side.
func (g *histogram) compare(arms [2][]segment, q float64) QuantileReport {
	ratio, diff := compareArms(arms[0], arms[1], IntervalAlpha)
	c := BinValue(g.kind, int32(g.canary.quantileBin(q)))
	s := BinValue(g.kind, int32(g.stable.quantileBin(q)))
	ratio.Value, diff.Value = finite(c/s), finite(c-s)
	return QuantileReport{Q: q, Ratio: &ratio, Diff: &diff, LogE: clip(apart(arms[0], arms[1]))}
}

// side is one version's distribution; Value is the quantile of the margin.
func (g *histogram) side(t *tally, arm func(q float64) []segment) SideReport {
	s := SideReport{N: t.total()}
	if s.N == 0 {
		return s
	}
	s.Mean = finite(t.mean(g.kind))
	own := g.quantileOf(t, g.quantile, arm(g.quantile))
	s.Value, s.Low, s.High = finite(own.Value), own.Low, own.High
	for _, q := range shown {
		s.Quantiles = append(s.Quantiles, g.quantileOf(t, q, arm(q)))
	}
	return s
}

func (g *histogram) quantileOf(t *tally, q float64, arm []segment) Quantile {
	low, high := rangeOf(arm, IntervalAlpha)
	return Quantile{Q: q, Value: BinValue(g.kind, int32(t.quantileBin(q))), Low: finite(low), High: finite(high)}
}

// mean is the mean of the values, as far as their bins tell.
func (t *tally) mean(k Kind) float64 {
	sum, n := 0.0, 0.0
	for i, c := range t {
		if c > 0 {
			sum += float64(c) * BinValue(k, int32(i))
			n += float64(c)
		}
	}
	return sum / n
}
