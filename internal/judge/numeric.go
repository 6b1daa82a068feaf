package judge

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// negligible is the difference of logs below which a term changes no float64
// sum of a few terms.
const negligible = -40.0

// logSumExp returns log(sum exp(x)) without overflow; -Inf for an empty list.
func logSumExp(xs []float64) float64 { return logSumExpWith(math.Inf(-1), xs) }

// logSumExpWith is logSumExp of x and xs.
func logSumExpWith(x float64, xs []float64) float64 {
	top, at := x, -1
	for i, x := range xs {
		if x > top {
			top, at = x, i
		}
	}
	if math.IsInf(top, 0) {
		return top
	}
	rest := 0.0
	if d := x - top; at >= 0 && d > negligible {
		rest = math.Exp(d)
	}
	for i, x := range xs {
		if d := x - top; i != at && d > negligible {
			rest += math.Exp(d)
		}
	}
	if rest == 0 {
		return top
	}
	return top + math.Log1p(rest)
}

// logAdd returns log(exp(a) + exp(b)).
func logAdd(a, b float64) float64 {
	if a < b {
		a, b = b, a
	}
	if math.IsInf(b, -1) || math.IsInf(a, 1) {
		return a
	}
	return a + math.Log1p(math.Exp(b-a))
}

// oddsTimes is the probability whose odds are psi times those of p.
func oddsTimes(p, psi float64) float64 {
	return psi * p / (1 - p + psi*p)
}

// phi is (1+x)log(1+x)-x, exact to rounding for small x too.
func phi(x float64) float64 {
	if x <= -1 {
		return 1
	}
	if math.Abs(x) >= 0.1 {
		return (1+x)*math.Log1p(x) - x
	}
	// sum over k >= 2 of (-x)^k / (k(k-1))
	sum, pow := 0.0, x*x
	for k := 2.0; k < 40; k++ {
		term := pow / (k * (k - 1))
		sum += term
		if math.Abs(term) < 1e-18*math.Abs(sum) {
			break
		}
		pow *= -x
	}
	return sum
}

// kl is the Kullback-Leibler divergence of two coins in nats, without
// cancellation when a is near b.
func kl(a, b float64) float64 {
	switch {
	case a == b:
		return 0
	case b <= 0 || b >= 1:
		if a == b {
			return 0
		}
		return math.Inf(1)
	}
	return b*phi((a-b)/b) + (1-b)*phi((b-a)/(1-b))
}

// xlogy is x log y with 0 log 0 = 0.
func xlogy(x, y float64) float64 {
	if x == 0 {
		return 0
	}
	return x * math.Log(y)
}

// betaBinomial is the log e-value of k hits in n trials against the chance p,
// with a Beta(a, b) mixture over the alternative.
func betaBinomial(k, n, p, a, b float64) float64 {
	return mathext.Lbeta(a+k, b+n-k) - mathext.Lbeta(a, b) - xlogy(k, p) - xlogy(n-k, 1-p)
}

// bisect finds where f changes sign between lo and hi, to the last bits.
func bisect(f func(float64) float64, lo, hi float64) float64 {
	flo := f(lo)
	for range 200 {
		mid := lo + (hi-lo)/2
		if mid == lo || mid == hi {
			break
		}
		if fm := f(mid); (fm < 0) == (flo < 0) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo + (hi-lo)/2
}
