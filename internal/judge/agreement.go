package judge

import "math"

// agreement is the test of paired answers: the same request went to both
// versions and one answer was better. Side.N counts pairs, Side.Bad those that
// the side won; ties say nothing about who is better.
type agreement struct {
	coins
	deltas []float64
	logE   [][len(stakes)]float64
	proven []bool
	bar    float64

	pairs, canaryWon, stableWon int64
}

func newAgreement(m Metric, p Policy) *agreement {
	a := &agreement{coins: newCoins(p), bar: math.Log(1 / p.AlphaPromote), proven: make([]bool, len(p.Looseness))}
	for _, l := range p.Looseness {
		a.deltas = append(a.deltas, min(m.Difference*l, 0.999))
		a.logE = append(a.logE, [len(stakes)]float64{})
	}
	return a
}

func (a *agreement) check(b *Batch) error {
	if b.Canary.N != b.Stable.N || b.Canary.Bad+b.Stable.Bad > b.Canary.N {
		return errPairs
	}
	return nil
}

func (a *agreement) update(b *Batch) {
	n, worse, better := float64(b.Canary.N), float64(b.Stable.Bad), float64(b.Canary.Bad)
	a.toss(b.At, worse, better)
	for i, delta := range a.deltas {
		if delta == 0 {
			continue
		}
		for k, f := range stakes {
			lam := f / (1 - delta)
			a.logE[i][k] += worse*math.Log1p(lam*(delta-1)) + better*math.Log1p(lam*(delta+1)) + (n-worse-better)*math.Log1p(lam*delta)
		}
		a.proven[i] = a.proven[i] || a.log(i) >= a.bar
	}
	a.pairs += b.Canary.N
	a.canaryWon += b.Canary.Bad
	a.stableWon += b.Stable.Bad
}

func (a *agreement) log(i int) float64 {
	d := diffProof{logE: a.logE[i]}
	return d.log()
}

func (a *agreement) evidence() float64 { return a.logM }

func (a *agreement) proof(looseness int) (float64, bool) {
	return a.log(looseness), a.proven[looseness]
}

func (a *agreement) sides() (int64, int64) { return a.pairs, a.pairs }

func (a *agreement) report(_ Metric, looseness int, r *MetricReport) {
	r.Canary, r.Stable = rateSide(a.canaryWon, a.pairs), rateSide(a.stableWon, a.pairs)
	r.Diff = differenceOf(a.stableWon, a.pairs, a.canaryWon, a.pairs, IntervalAlpha)
	if a.pairs == 0 || a.deltas[looseness] == 0 {
		return
	}
	// If the versions win alike, as often as they were seen to differ.
	d, delta, best := float64(a.canaryWon+a.stableWon)/float64(a.pairs), a.deltas[looseness], 0.0
	for _, f := range stakes {
		lam := f / (1 - delta)
		best = max(best, d/2*(math.Log1p(lam*(delta-1))+math.Log1p(lam*(delta+1)))+(1-d)*math.Log1p(lam*delta))
	}
	r.MoreRequests = moreCanary(a.bar-a.log(looseness), best, 1)
}

func (a *agreement) save(out []byte) []byte {
	out = a.coins.save(out)
	out = appendCount(appendCount(appendCount(out, a.pairs), a.canaryWon), a.stableWon)
	for i := range a.logE {
		out = appendBool(appendFloats(out, a.logE[i][:]), a.proven[i])
	}
	return out
}

func (a *agreement) load(d *decoder) {
	a.coins.load(d)
	a.pairs, a.canaryWon, a.stableWon = d.count(), d.count(), d.count()
	for i := range a.logE {
		d.floats(a.logE[i][:])
		a.proven[i] = d.bool()
	}
}
