package judge

import "math"

// level is the sequential test of an absolute limit on one rate: "at most limit
// bad ones a unit" (of a share, or of events when poisson).
type level struct {
	bets
	poisson bool
	limit   float64
	below   [5]float64 // log e-values of the proof that the rate is below the limit
	proven  bool
	bar     float64
}

var (
	levelOdds   = []float64{1.2, 1.5, 2.3, 5, 20, 200}
	levelPrior  = []float64{1, 2.5, 2, 2, 1, 1}
	levelPeriod = []float64{60, 60, 60, 20, 5, 1}
	levelBelow  = [5]float64{0.9, 0.75, 0.5, 0.2, 0.02}
)

func newLevel(limit float64, poisson bool, p Policy) *level {
	l := &level{
		bets: newBets(levelPrior, levelPeriod, startShare, p.Horizon), poisson: poisson, limit: limit,
		bar: math.Log(1 / p.AlphaPromote),
	}
	l.settle()
	return l
}

// bet takes n units with k bad ones into account.
func (l *level) bet(now, n, k float64) {
	if l == nil {
		return
	}
	l.restart(now)
	for i, psi := range levelOdds {
		l.logR[i] += l.factor(psi, n, k)
	}
	l.settle()
	for i, a := range levelBelow {
		l.below[i] += l.factor(a, n, k)
	}
	if l.proofLog() >= l.bar {
		l.proven = true
	}
}

// factor is the log likelihood ratio of psi times the limit (its odds, for a
// share) against the limit itself.
func (l *level) factor(psi, n, k float64) float64 {
	if l.poisson {
		return k*math.Log(psi) - n*l.limit*(psi-1)
	}
	th := oddsTimes(l.limit, psi)
	f := xlogy(k, th/l.limit)
	if n > k {
		f += (n - k) * math.Log1p((l.limit-th)/(1-l.limit))
	}
	return f
}

func (l *level) proofLog() float64 {
	return logSumExp(l.below[:]) - math.Log(float64(len(l.below)))
}

func (l *level) save(out []byte) []byte {
	if l == nil {
		return out
	}
	out = l.bets.save(out)
	out = appendBool(out, l.proven)
	return appendFloats(out, l.below[:])
}

func (l *level) load(d *decoder) {
	if l == nil {
		return
	}
	l.bets.load(d)
	l.proven = d.bool()
	d.floats(l.below[:])
}
