package judge

import "math"

// excess is how often the canary's values may lie above one of stable's quantiles.
type excess struct {
	quantile, psi float64 // psi multiplies the odds of stable's
	prior, period float64
}

// excesses are the components of latency and amounts that look at one quantile
// each; they follow those of shapes.
var excesses = [...]excess{
	{quantile: 0.9, psi: 2, prior: 0.5, period: 60}, {quantile: 0.99, psi: 2.5, prior: 0.7, period: 60},
	{quantile: 0.999, psi: 12, prior: 0.7, period: 60},
	{quantile: 1, psi: 500, prior: 0.7, period: 60}, // what stable never did: hangs
}

// exceedance is the bet on an excess: a value tells nothing but whether it lies
// above the quantile.
type exceedance struct {
	at           int        // bin of the quantile
	odds         [2]float64 // that a value below it, above it, is the canary's
	share        float64    // of norm and served
	norm, served [2]float64 // as those of a histogram
}

// set takes the quantile and its odds from what was learnt of stable.
func (x *exceedance) set(l *learned, e excess) {
	x.at = l.base.quantileBin(e.quantile)
	th := l.baseAbove(x.at)
	c := oddsTimes(th, e.psi)
	x.odds, x.share = [2]float64{(1 - c) / (1 - th), c / th}, 0
}

// gain is the log factor of a batch.
func (x *exceedance) gain(b *Batch, n counts, tolerate int) float64 {
	if x.share != n.w {
		x.share = n.w
		for i, odds := range x.odds {
			x.norm[i] = math.Log1p(n.w * (odds - 1))
			x.served[i] = math.Log(odds) - x.norm[i]
		}
	}
	canary, stable := above(b.Canary.Bins, x.at+tolerate), above(b.Stable.Bins, x.at)
	return (n.nc-canary)*x.served[0] + canary*x.served[1] - (n.ns-stable)*x.norm[0] - stable*x.norm[1]
}

// above counts the values above a bin.
func above(bins []BinCount, at int) float64 {
	n := int64(0)
	for i := len(bins) - 1; i >= 0 && int(bins[i].Bin) > at; i-- {
		n += bins[i].Count
	}
	return float64(n)
}
