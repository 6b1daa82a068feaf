package judge

import "math"

// Restart parameters of one alpha for a whole run: the share of every
// component that bets from the first moment; the rest is bet in equal parts
// over the horizon, so that a regression that starts late is found fast.
const startShare = 0.88

// bets is a mixture of components over their start times (Shin, Ramdas,
// Rinaldo 2023, with a proper prior on the start). logR is what is in play, u
// what is unspent; sum exp(logR) + sum u is the e-process. What is unspent
// follows from the time and the number of ramp steps alone (unspent), so that
// a snapshot holds logR and these two.
type bets struct {
	period  []float64 // seconds between restarts, by component; 0: none
	horizon float64
	last    float64 // time of the last batch
	due     float64 // before it nothing restarts
	steps   int64   // of the ramp
	logR    []float64
	u0      []float64 // unspent at the start
	u       []float64
	done    []float64 // restarts that u heeds; -1: not known
	idle    float64   // log of the sum of u
	coarse  bool      // logR is kept in single precision
	short   bool      // logR is kept with shortBits less
	logM    float64
}

func newBets(prior, period []float64, g0, horizon float64) bets {
	total := 0.0
	for _, p := range prior {
		total += p
	}
	n := len(prior)
	b := bets{period: period, horizon: horizon, logR: make([]float64, n), u0: make([]float64, n), u: make([]float64, n), done: make([]float64, n)}
	for k, p := range prior {
		b.logR[k] = math.Log(g0 * p / total)
		b.u0[k] = (1 - g0) * p / total
		b.u[k] = b.u0[k]
	}
	b.rest()
	return b
}

// stepPart is the part of a component's unspent weight that a ramp step starts.
const stepPart = 0.1

// restarts is how often a component has restarted by the last batch.
func (b *bets) restarts(k int) float64 {
	if p := b.period[k]; p > 0 {
		return max(0, math.Floor(b.last/p))
	}
	return 0
}

// unspent is a component's weight that is not in play after the last batch.
func (b *bets) unspent(k int) float64 {
	left := b.u0[k] * math.Pow(1-stepPart, float64(b.steps))
	if p := b.period[k]; p > 0 {
		left *= math.Pow(1-min(1, p/b.horizon), b.restarts(k))
	}
	return left
}

// restart moves unspent weight into play for every restart that falls between
// the last batch and now.
func (b *bets) restart(now float64) {
	b.last = now
	if now < b.due {
		return
	}
	b.due = math.Inf(1)
	for _, p := range b.period {
		if p > 0 {
			b.due = min(b.due, (math.Floor(now/p)+1)*p)
		}
	}
	b.spend()
}

// spend moves into play what is no longer unspent.
func (b *bets) spend() {
	for k, before := range b.u {
		n := b.restarts(k)
		if n == b.done[k] {
			continue
		}
		b.done[k] = n
		if after := b.unspent(k); after < before {
			b.logR[k] = logAdd(b.logR[k], math.Log(before-after))
			b.u[k] = after
		}
	}
	b.rest()
}

// step restarts a part of every component where the canary's share rises: what
// load brings out starts there.
func (b *bets) step(rises bool) {
	if rises {
		b.steps++
		for k := range b.done {
			b.done[k] = -1
		}
		b.spend()
	}
}

// coarsen keeps what is in play in single precision, rounded down: for bets by
// intervals, which are so few that this costs nothing.
func (b *bets) coarsen() {
	b.coarse = true
	roundDown(b.logR)
	b.settle()
}

// shorten keeps what is in play in five bytes each, rounded down: 28 bits behind the
// leading one, which costs a ten-thousandth of a nat in half an hour of looks
// each 100 ms.
func (b *bets) shorten() {
	b.short = true
	b.settle()
}

// settle recomputes the log e-value after the components moved.
func (b *bets) settle() {
	if b.short {
		for k, x := range b.logR {
			b.logR[k] = shortDown(x)
		}
	}
	b.logM = logSumExpWith(b.idle, b.logR)
}

// shortBits of a number are not kept.
const shortBits = 24

// shortDown is the next lower number whose last bits are 0.
func shortDown(x float64) float64 {
	bits := math.Float64bits(x)
	if x < 0 {
		bits += 1<<shortBits - 1
	}
	return math.Float64frombits(bits &^ (1<<shortBits - 1))
}

// rest recomputes what is unspent in all.
func (b *bets) rest() {
	sum := 0.0
	for _, u := range b.u {
		sum += u
	}
	b.idle = math.Log(sum)
}
