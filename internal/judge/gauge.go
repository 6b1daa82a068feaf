package judge

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// gauge is the test of a level sampled in time. Samples of one process are not
// independent, so the bet is on a coin: did the canary's distance to its
// margin turn up more often than down, after the part that the last sample
// explains (AR(1), fitted on stable's history) is taken away?
type gauge struct {
	coins
	phi    float64
	fail   distance // the margin as declared: nearer does not fail the run
	proofs []gaugeProof
	bar    float64

	canary, stable trail
	diff           trail // canary - stable
	ratio          ratios
}

// distance is how far the canary is beyond its margin, over time.
type distance struct {
	m     Metric
	loose float64
	last  float64
	known bool
}

// coins is a mixture of bets on a coin's bias to "worse", with restarts.
type coins struct{ bets }

var (
	coinBias   = []float64{0.6, 0.75, 0.9, 0.99}
	coinPrior  = []float64{1, 1, 1, 1.5}
	coinPeriod = []float64{60, 60, 60, 60}
)

func newCoins(p Policy) coins {
	c := coins{newBets(coinPrior, coinPeriod, startShare, p.Horizon)}
	c.settle()
	return c
}

// toss bets on worse and better tosses.
func (c *coins) toss(now, worse, better float64) {
	c.restart(now)
	for k, th := range coinBias {
		c.logR[k] += worse*math.Log(2*th) + better*math.Log(2*(1-th))
	}
	c.settle()
}

// gaugeProof is a mixture of bets on the coin's bias to "better", which follows
// from how the coin fell.
type gaugeProof struct {
	distance
	worse, better float64
	proven        bool
}

func (p *gaugeProof) log() float64 {
	logE := p.each()
	return logSumExp(logE[:]) - math.Log(float64(len(logE)))
}

// each is what the bets have earned.
func (p *gaugeProof) each() (logE [4]float64) {
	for k, th := range coinBias {
		logE[k] = p.better*math.Log(2*th) + p.worse*math.Log(2*(1-th))
	}
	return logE
}

// most is what the best of them has earned.
func (p *gaugeProof) most() float64 {
	logE := p.each()
	return slices.Max(logE[:])
}

func newGauge(m Metric, p Policy, h History) *gauge {
	g := &gauge{
		coins: newCoins(p), phi: autocorrelation(h.Values), fail: distance{m: m, loose: 1},
		bar: math.Log(1 / p.AlphaPromote),
	}
	for _, l := range p.Looseness {
		g.proofs = append(g.proofs, gaugeProof{distance: distance{m: m, loose: l}})
	}
	return g
}

// autocorrelation is the lag-1 correlation of samples, 0.9 where there are too
// few to tell: load changes slowly.
func autocorrelation(xs []float64) float64 {
	if len(xs) < 12 {
		return 0.9
	}
	mean := 0.0
	for _, x := range xs {
		mean += x / float64(len(xs))
	}
	num, den := 0.0, 0.0
	for i, x := range xs {
		den += (x - mean) * (x - mean)
		if i > 0 {
			num += (x - mean) * (xs[i-1] - mean)
		}
	}
	if den == 0 {
		return 0
	}
	return max(0, min(0.99, num/den))
}

// maxGauge bounds samples, so that sums stay finite.
const maxGauge = 1e100

func (g *gauge) check(b *Batch) error {
	for _, v := range [2]float64{b.Canary.Value, b.Stable.Value} {
		if math.Abs(v) > maxGauge {
			return fmt.Errorf("judge: the gauge is %v, expected a number of at most %v, or NaN when it is not known", v, maxGauge)
		}
		if v < 0 && g.fail.m.Ratio > 0 {
			return errors.New("judge: the gauge is below 0, where a ratio means nothing; expected a difference margin for such a gauge")
		}
	}
	return nil
}

// of is how far beyond the margin the canary is: above 0 is worse than allowed.
func (d *distance) of(canary, stable float64) float64 {
	rho, delta := 1+(d.m.Ratio-1)*d.loose, d.m.Difference*d.loose
	if d.m.Ratio == 0 {
		rho = 1
	}
	if d.m.Harm == Fewer {
		return min(stable/rho, stable-delta) - canary
	}
	return canary - max(stable*rho, stable+delta)
}

// step takes a sample and tells how the coin fell; a tie is not worse. Both are
// 0 for the first sample.
func (d *distance) step(phi, canary, stable float64) (worse, better float64) {
	now := d.of(canary, stable)
	if d.known {
		better = 1
		if now-phi*d.last > 0 {
			worse, better = 1, 0
		}
	}
	d.last, d.known = now, true
	return worse, better
}

func (g *gauge) update(b *Batch) {
	c, s := b.Canary.Value, b.Stable.Value
	g.ratio.add(g.phi, c, s, &g.canary, &g.stable)
	g.canary.add(g.phi, c)
	g.stable.add(g.phi, s)
	g.diff.add(g.phi, c-s)
	if math.IsNaN(c) || math.IsNaN(s) {
		g.fail.known = false
		for i := range g.proofs {
			g.proofs[i].known = false
		}
		g.restart(b.At)
		g.settle()
		return
	}
	worse, better := g.fail.step(g.phi, c, s)
	g.toss(b.At, worse, better)
	for i := range g.proofs {
		p := &g.proofs[i]
		worse, better := p.step(g.phi, c, s)
		p.worse, p.better = p.worse+worse, p.better+better
		p.proven = p.proven || p.log() >= g.bar
	}
}

func (g *gauge) evidence() float64 { return g.logM }

func (g *gauge) proof(looseness int) (float64, bool) {
	return g.proofs[looseness].log(), g.proofs[looseness].proven
}

func (g *gauge) sides() (int64, int64) { return g.canary.n, g.stable.n }

func (g *gauge) report(m Metric, looseness int, r *MetricReport) {
	r.Unit = m.unit()
	r.Canary, r.Stable = g.canary.side(), g.stable.side()
	if g.canary.n == 0 || g.stable.n == 0 {
		return
	}
	if m.Ratio > 0 { // of levels above 0; elsewhere a ratio means nothing
		r.Ratio = g.ratio.interval(*r.Canary.Value / *r.Stable.Value, IntervalAlpha)
	}
	low, high := g.diff.interval(IntervalAlpha)
	r.Diff = &Interval{Value: finite(*r.Canary.Value - *r.Stable.Value), Low: finite(low), High: finite(high)}
	p := &g.proofs[looseness]
	r.MoreRequests = moreCanary(g.bar-p.log(), p.most()/float64(g.canary.n), 1)
}

func (g *gauge) save(out []byte) []byte {
	out = g.coins.save(out)
	out = appendFloat(out, g.phi)
	out = g.ratio.counts.save(g.diff.save(g.stable.save(g.canary.save(out))))
	for i := range g.proofs {
		p := &g.proofs[i]
		out = appendBool(appendCount(appendCount(out, int64(p.worse)), int64(p.better)), p.proven)
	}
	return out
}

func (g *gauge) load(d *decoder) {
	g.coins.load(d)
	g.phi = d.float()
	g.canary.load(d)
	g.stable.load(d)
	g.diff.load(d)
	g.ratio.counts.load(d)
	if g.fail.known = g.canary.known && g.stable.known; g.fail.known {
		g.fail.last = g.fail.of(g.canary.last, g.stable.last)
	}
	for i := range g.proofs {
		p := &g.proofs[i]
		p.worse, p.better, p.proven = float64(d.count()), float64(d.count()), d.bool()
		if p.known = g.fail.known; p.known {
			p.last = p.of(g.canary.last, g.stable.last)
		}
	}
}
