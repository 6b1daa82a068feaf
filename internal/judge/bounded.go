package judge

import "math"

// boundedStakes are parts of the largest possible stake, for means that differ
// from the tested one by much or by little.
var boundedStakes = [10]float64{0.9, 0.5, 0.25, 0.12, 0.06, 0.03, 0.015, 0.007, 0.003, 0.0015}

// boundedMean is the always-valid interval of the mean of the values cut at top:
// the means against which no mixture of bets on the values ever won 2/alpha, one
// for each side (Waudby-Smith, Ramdas 2024, with stakes that do not change, so
// that counts by bin suffice). before are values to leave out: those that top
// was chosen by.
func boundedMean(k Kind, t, before *tally, top, alpha float64) (low, high float64) {
	var ys, ns []float64
	sum, n := 0.0, 0.0
	for i, c := range t {
		if c -= before[i]; c > 0 {
			y := min(BinValue(k, int32(i))/top, 1)
			ys, ns = append(ys, y), append(ns, float64(c))
			sum, n = sum+y*float64(c), n+float64(c)
		}
	}
	if n == 0 {
		return 0, top
	}
	bar := math.Log(2/alpha) + math.Log(float64(len(boundedStakes)))
	won := func(gain func(y float64) float64) float64 {
		var logs [len(boundedStakes)]float64
		for j, f := range boundedStakes {
			for i, y := range ys {
				logs[j] += ns[i] * math.Log1p(f*gain(y))
			}
		}
		return logSumExp(logs[:]) - bar
	}
	mid := min(max(sum/n, 1e-12), 1-1e-12)
	low = edge(func(m float64) float64 { return won(func(y float64) float64 { return y/m - 1 }) }, mid, 0)
	high = edge(func(m float64) float64 { return won(func(y float64) float64 { return (m - y) / (1 - m) }) }, mid, 1)
	return low * top, high * top
}

// edge finds where f, which grows from in towards out, becomes 0, on the outer
// side and to a four thousandth of the way; out where it stays below.
func edge(f func(float64) float64, in, out float64) float64 {
	width, last := out-in, in
	for part := 1.0 / 4096; ; part *= 4 {
		next := in + width*min(part, 1-1e-9)
		if f(next) >= 0 {
			return refine(f, last, next)
		}
		if part >= 1 {
			return out
		}
		last = next
	}
}

// refine halves the range in which f changes sign.
func refine(f func(float64) float64, in, out float64) float64 {
	for range 12 {
		if mid := (in + out) / 2; f(mid) >= 0 {
			out = mid
		} else {
			in = mid
		}
	}
	return out
}
