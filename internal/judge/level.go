package judge

import "math"

// level is the sequential test of an absolute limit on one rate: "at most limit
// bad ones a unit" (of a share, or of events when poisson).
type level struct {
	bets
	poisson bool
	limit   float64
	n, k    float64    // units and bad ones so far
	below   [5]float64 // log e-values of the proof that the rate is below the limit
	proven  bool
	bar     float64
	clump   *clumps // how far units come in clumps; nil: each is one event
	second  float64 // that is open, and what was earned in it
	open    [2]earned
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
	l.shorten()
	return l
}

// bet takes n units with k bad ones into account.
func (l *level) bet(now, n, k float64) {
	if l == nil {
		return
	}
	l.restart(now)
	if second := math.Floor(now); l.clump != nil && second != l.second {
		l.second = second
		l.open[0].clear()
		l.open[1].clear()
	}
	l.earn(0, l.logR, levelOdds, n, k)
	l.settle()
	if l.clump != nil {
		l.earn(1, l.below[:], levelBelow[:], n, k)
	} else { // nothing restarts, so that the proof follows from the counts
		l.n, l.k = l.n+n, l.k+k
		l.prove()
	}
	if l.proofLog() >= l.bar {
		l.proven = true
	}
}

// earn adds the factors of bets on multiples of the limit; of units that may come
// in clumps, as far as those let.
func (l *level) earn(open int, logE, multiples []float64, n, k float64) {
	if l.clump == nil {
		for i, psi := range multiples {
			logE[i] += l.factor(psi, n, k)
		}
		return
	}
	for i, psi := range multiples {
		l.open[open].gain[i] += l.factor(psi, n, k)
	}
	l.open[open].count(l.clump, logE)
}

func (l *level) prove() {
	for i, psi := range levelBelow {
		l.below[i] = l.factor(psi, l.n, l.k)
	}
}

// heed makes the bets heed clumps, which another process keeps and brings up to
// date before each bet.
func (l *level) heed(c *clumps) *level {
	l.clump = c
	l.open = [2]earned{newEarned(len(levelOdds)), newEarned(len(levelBelow))}
	return l
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
	out = appendBool(l.bets.saveOdds(out), l.proven)
	if l.clump == nil {
		return appendNumber(appendNumber(out, l.n), l.k)
	}
	out = appendFloats(out, l.below[:])
	return appendFloats(appendFloats(appendNumber(out, l.second), l.open[0].gain), l.open[1].gain)
}

func (l *level) load(d *decoder) {
	if l == nil {
		return
	}
	l.bets.loadOdds(d, d.at)
	l.proven = d.bool()
	if l.clump == nil {
		l.n, l.k = d.number(), d.number()
		l.prove()
		return
	}
	d.floats(l.below[:])
	l.second = d.number()
	l.open[0].load(d, l.clump)
	l.open[1].load(d, l.clump)
}
