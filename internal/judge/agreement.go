package judge

import "math"

// agreement is the test of paired answers: the same request went to both
// versions and one answer was better. Side.N counts pairs, Side.Bad those that
// the side won; ties say nothing about who is better.
type agreement struct {
	coins
	deltas []float64
	pays   [][len(stakes)][3]float64 // log factors of a pair that the canary lost, won, tied, by looseness
	proven []bool
	bar    float64

	pairs, canaryWon, stableWon int64
}

func newAgreement(m Metric, p Policy) *agreement {
	a := &agreement{coins: newCoins(p), bar: math.Log(1 / p.AlphaPromote), proven: make([]bool, len(p.Looseness))}
	for _, l := range p.Looseness {
		delta := min(m.Difference*l, 0.999)
		var pays [len(stakes)][3]float64
		for k, f := range stakes {
			lam := f / (1 - delta)
			pays[k] = [3]float64{math.Log1p(lam * (delta - 1)), math.Log1p(lam * (delta + 1)), math.Log1p(lam * delta)}
		}
		a.deltas, a.pays = append(a.deltas, delta), append(a.pays, pays)
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
	a.toss(b.At, float64(b.Stable.Bad), float64(b.Canary.Bad))
	a.pairs += b.Canary.N
	a.canaryWon += b.Canary.Bad
	a.stableWon += b.Stable.Bad
	for i := range a.deltas {
		a.proven[i] = a.proven[i] || a.log(i) >= a.bar
	}
}

// log is the evidence of a proof. Nothing restarts, so that it follows from the
// counts.
func (a *agreement) log(i int) float64 {
	if a.deltas[i] == 0 {
		return 0
	}
	var d diffProof
	worse, better := float64(a.stableWon), float64(a.canaryWon)
	for k, pay := range a.pays[i] {
		d.logE[k] = worse*pay[0] + better*pay[1] + (float64(a.pairs)-worse-better)*pay[2]
	}
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
	return appendBools(out, a.proven)
}

func (a *agreement) load(d *decoder) {
	a.coins.load(d)
	a.pairs, a.canaryWon, a.stableWon = d.count(), d.count(), d.count()
	d.bools(a.proven)
}
