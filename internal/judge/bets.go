package judge

import "math"

// Restart parameters of one alpha for a whole run: the share of every
// component that bets from the first moment; the rest is bet in equal parts
// over the horizon, so that a regression that starts late is found fast.
const startShare = 0.8

// bets is a mixture of components over their start times (Shin, Ramdas,
// Rinaldo 2023, with a proper prior on the start). logR is what is in play, u
// what is unspent; sum exp(logR) + sum u is the e-process.
type bets struct {
	period  []float64 // seconds between restarts, by component; 0: none
	horizon float64
	last    float64 // time of the last batch
	logR    []float64
	u0      []float64 // unspent at the start
	keep    []float64 // part of it that is still unspent
	u       []float64 // u0 * keep
	logM    float64
}

func newBets(prior, period []float64, g0, horizon float64) bets {
	total := 0.0
	for _, p := range prior {
		total += p
	}
	n := len(prior)
	b := bets{
		period: period, horizon: horizon,
		logR: make([]float64, n), u0: make([]float64, n), keep: make([]float64, n), u: make([]float64, n),
	}
	for k, p := range prior {
		b.logR[k] = math.Log(g0 * p / total)
		b.u0[k] = (1 - g0) * p / total
		b.keep[k], b.u[k] = 1, b.u0[k]
	}
	return b
}

// restart moves unspent weight into play for every restart that falls between
// the last batch and now.
func (b *bets) restart(now float64) {
	if now == b.last {
		return
	}
	for k, p := range b.period {
		if p <= 0 {
			continue
		}
		n := math.Floor(now/p) - math.Floor(b.last/p)
		if n <= 0 {
			continue
		}
		eta := min(1, p/b.horizon)
		keep := 1 - eta
		if n > 1 {
			keep = math.Pow(keep, n)
		}
		b.spend(k, 1-keep)
	}
	b.last = now
}

// spend moves the part eta of a component's unspent weight into play.
func (b *bets) spend(k int, eta float64) {
	if b.u[k] <= 0 || eta <= 0 {
		return
	}
	b.logR[k] = logAdd(b.logR[k], math.Log(eta*b.u[k]))
	b.keep[k] *= 1 - eta
	b.u[k] = b.u0[k] * b.keep[k]
}

// rampStep restarts a part of every component where the canary's share rises:
// what load brings out starts there.
func (b *bets) rampStep() {
	const part = 0.1
	for k := range b.u {
		b.spend(k, part)
	}
}

// settle recomputes the log e-value after the components moved.
func (b *bets) settle() {
	unspent := 0.0
	for _, u := range b.u {
		unspent += u
	}
	b.logM = logSumExp(b.logR)
	if unspent > 0 {
		b.logM = logAdd(b.logM, math.Log(unspent))
	}
}
