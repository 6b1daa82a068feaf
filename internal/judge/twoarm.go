package judge

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// quantileTuned is the number of values at which the intervals of quantiles are
// tightest.
const quantileTuned = 1000

// segment is a range of values (left, right] and the least evidence, in nats,
// against "the quantile lies there".
type segment struct{ left, right, logE float64 }

// cell is a range of values (left, right] that n were counted in.
type cell struct{ left, right, n float64 }

// armOf is the evidence about one quantile of one version: for every value x,
// the values at or below it are coins with a chance of at least q, those below
// it with a chance of at most q, if x is the quantile (Howard, Ramdas 2022).
// Values of one cell are taken for ties; cells are in order, above start.
// discount is the design effect: a power below 1 keeps an e-value one.
func armOf(start float64, cells []cell, q, discount float64) []segment {
	n := 0.0
	for _, c := range cells {
		n += c.n
	}
	if n == 0 {
		return nil
	}
	r := bestRho(quantileTuned*q*(1-q), IntervalAlpha) - q*(1-q)
	a, b := r/(1-q), r/q
	norm := mathext.Lbeta(a, b)
	at := func(k float64) float64 {
		return (mathext.Lbeta(a+k, b+n-k) - norm - xlogy(k, q) - xlogy(n-k, 1-q)) / discount
	}
	least := golden(at, max(0, q*n-1), min(n, q*n+1)) // the count that speaks least
	logE := func(lo, hi float64) float64 { return at(min(max(least, lo), hi)) }
	out := make([]segment, 0, 2*len(cells)+1)
	sum, left := 0.0, start
	for _, c := range cells {
		if c.left > left {
			out = append(out, segment{left, c.left, logE(sum, sum)})
		}
		out = append(out, segment{max(left, c.left), c.right, logE(sum, sum+c.n)})
		sum, left = sum+c.n, c.right
	}
	if !math.IsInf(left, 1) {
		out = append(out, segment{left, math.Inf(1), logE(sum, sum)})
	}
	return out
}

// rangeOf is the range of what is not refuted.
func rangeOf(arm []segment, alpha float64) (low, high float64) {
	kept := within(arm, math.Log(1/alpha))
	if len(kept) == 0 {
		return math.Inf(-1), math.Inf(1)
	}
	return kept[0].left, kept[len(kept)-1].right
}

func within(arm []segment, bar float64) []segment {
	var kept []segment
	for _, s := range arm {
		if s.logE < bar {
			kept = append(kept, s)
		}
	}
	return kept
}

// apart is the evidence that the two versions' quantiles differ: the least
// evidence against both over every value that could be the quantile of both.
func apart(canary, stable []segment) float64 {
	least := math.Inf(1)
	for i, j := 0, 0; i < len(canary) && j < len(stable); {
		least = min(least, canary[i].logE+stable[j].logE)
		c, s := canary[i].right, stable[j].right
		if c <= s {
			i++
		}
		if s <= c {
			j++
		}
	}
	return least
}

// compareArms is the ratio and the difference of the two quantiles over all
// pairs of values that the product of both arms' e-values does not refute.
func compareArms(canary, stable []segment, alpha float64) (ratio, diff Interval) {
	bar := math.Log(1 / alpha)
	lowR, highR, lowD, highD := math.Inf(1), 0.0, math.Inf(1), math.Inf(-1)
	stable = within(stable, bar)
	for _, c := range within(canary, bar) {
		for _, s := range stable {
			if c.logE+s.logE >= bar {
				continue
			}
			lowR, lowD = min(lowR, c.left/s.right), min(lowD, c.left-s.right)
			highD = max(highD, c.right-s.left)
			if s.left == 0 {
				highR = math.Inf(1)
			} else {
				highR = max(highR, c.right/s.left)
			}
		}
	}
	return Interval{Low: finite(lowR), High: finite(highR)}, Interval{Low: finite(lowD), High: finite(highD)}
}
