package judge

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// This file holds closed-form mixtures. Sources: Howard, Ramdas, McAuliffe,
// Sekhon 2021 (s is the sum, v the intrinsic time); Howard, Ramdas 2022 for
// quantiles; Johari and others 2022 for the normal mSPRT.

// betaOneSided is the log e-value of c canary events against s of stable's
// when a share w is expected: a Beta(a, b) mixture over shares above w.
func betaOneSided(c, s, w, a, b float64) float64 {
	return mathext.Lbeta(a+c, b+s) - mathext.Lbeta(a, b) +
		math.Log(upperBeta(a+c, b+s, w)) - math.Log(upperBeta(a, b, w)) -
		xlogy(c, w) - xlogy(s, 1-w)
}

// upperBeta is the mass of Beta(a, b) above x, never 0.
func upperBeta(a, b, x float64) float64 {
	return max(mathext.RegIncBeta(b, a, 1-x), math.SmallestNonzeroFloat64)
}

// coinOneSided is the log e-value of worse against better pairs: a mixture
// over coins above one half.
func coinOneSided(worse, better, a, b float64) float64 {
	return betaOneSided(worse, better, 0.5, a, b)
}

// dirichletMultinomial is the log e-value of class counts x against the
// distribution p, with a Dirichlet(alpha) mixture.
func dirichletMultinomial(x, p, alpha []float64) float64 {
	lg := func(v float64) float64 { l, _ := math.Lgamma(v); return l }
	out, n, total := 0.0, 0.0, 0.0
	for i := range x {
		out += lg(alpha[i]+x[i]) - lg(alpha[i]) - xlogy(x[i], p[i])
		n += x[i]
		total += alpha[i]
	}
	return out + lg(total) - lg(total+n)
}

// bestRho tunes a mixture for the intrinsic time v.
func bestRho(v, alpha float64) float64 {
	l := 2 * math.Log(1/alpha)
	return v / (l + math.Log1p(l))
}

func normalTwoSided(s, v, rho float64) float64 {
	return 0.5*math.Log(rho/(v+rho)) + s*s/(2*(v+rho))
}

func normalOneSided(s, v, rho float64) float64 {
	z := s / math.Sqrt(v+rho)
	return 0.5*math.Log(4*rho/(v+rho)) + z*z/2 + math.Log(math.Erfc(-z/math.Sqrt2)/2)
}

// gammaExponential mixes sub-exponential bets of scale c.
func gammaExponential(s, v, rho, c float64) float64 {
	c2 := c * c
	lead := func(a, x float64) float64 {
		l, _ := math.Lgamma(a)
		return l + math.Log(mathext.GammaIncReg(a, x)) - a*math.Log(x)
	}
	return lead((v+rho)/c2, (c*s+v+rho)/c2) - lead(rho/c2, rho/c2) + (c*s+v)/c2
}

// gammaPoisson mixes sub-Poisson bets of scale c.
func gammaPoisson(s, v, rho, c float64) float64 {
	c2 := c * c
	lead := func(a, x float64) float64 {
		l, _ := math.Lgamma(a)
		return l + math.Log(mathext.GammaIncRegComp(a, x)) - a*math.Log(x)
	}
	return lead((c*s+v+rho)/c2, (v+rho)/c2) - lead(rho/c2, rho/c2) + v/c2
}

// betaBinomialMixture mixes sub-Bernoulli bets with range (-g, h).
func betaBinomialMixture(s, v, g, h, r float64, oneSided bool) float64 {
	up, down := (s+v/h)/(g+h), (v/g-s)/(g+h)
	a, b := r/(h*(g+h)), r/(g*(g+h))
	out := mathext.Lbeta(a+up, b+down) - mathext.Lbeta(a, b) - up*math.Log(g/(g+h)) - down*math.Log(h/(g+h))
	if oneSided {
		p := g / (g + h)
		out += math.Log(upperBeta(a+up, b+down, p)) - math.Log(upperBeta(a, b, p))
	}
	return out
}

// boundOf is the smallest sum at which a mixture's e-value reaches 1/alpha.
func boundOf(logE func(s float64) float64, alpha, scale float64) float64 {
	bar := math.Log(1 / alpha)
	hi := scale
	for logE(hi) < bar && hi < 1e300 {
		hi *= 2
	}
	return bisect(func(s float64) float64 { return logE(s) - bar }, 0, hi)
}

// polyStitching is the stitched boundary of a sub-gamma process of scale c.
func polyStitching(v, alpha, vMin, c, s, eta float64) float64 {
	v = max(v, vMin)
	l := s*math.Log(math.Log(eta*v/vMin)) + math.Log(mathext.Zeta(s, 1)/(alpha*math.Pow(math.Log(eta), s)))
	k1 := (math.Pow(eta, 0.25) + math.Pow(eta, -0.25)) / math.Sqrt2
	k2 := (math.Sqrt(eta) + 1) / 2
	return math.Sqrt(k1*k1*v*l+k2*k2*c*c*l*l) + k2*c*l
}

// empiricalBand is the time-uniform distance between the empirical and the true
// distribution after t values, valid from tMin on, and its constant.
func empiricalBand(t, alpha, tMin, a float64) (bound, c float64) {
	c = bisect(func(c float64) float64 { return alpha - bandMiss(a, c) }, 0.1, 100)
	return a * math.Sqrt((math.Log(math.Log(math.E*t/tMin))+c)/t), c
}

// bandMiss is the chance that the band with constant c ever misses: the
// smallest bound over the spacing eta of the epochs.
func bandMiss(a, c float64) float64 {
	at := func(eta float64) float64 {
		x := a - math.Sqrt(2*(eta-1)/c)
		gamma := 2 / eta * x * x
		if x <= 0 || gamma <= 1 {
			return math.Inf(1)
		}
		return 4 * math.Exp(-gamma*c) * (1 + 1/((gamma-1)*math.Log(eta)))
	}
	const grid = 2000
	top := 2 * a * a
	best, arg := math.Inf(1), 1.0
	for i := 1; i < grid; i++ {
		eta := 1 + (top-1)*float64(i)/grid
		if f := at(eta); f < best {
			best, arg = f, eta
		}
	}
	step := (top - 1) / grid
	return min(best, at(golden(at, max(1+1e-12, arg-step), arg+step)))
}

// golden finds the minimum of a function with one valley.
func golden(f func(float64) float64, lo, hi float64) float64 {
	ratio := (math.Sqrt(5) - 1) / 2
	a, b := hi-ratio*(hi-lo), lo+ratio*(hi-lo)
	fa, fb := f(a), f(b)
	for range 90 {
		if fa <= fb {
			hi, b, fb = b, a, fa
			a = hi - ratio*(hi-lo)
			fa = f(a)
		} else {
			lo, a, fa = a, b, fb
			b = lo + ratio*(hi-lo)
			fb = f(b)
		}
	}
	return (lo + hi) / 2
}

// normalMSPRT is the log e-value of a difference of two rates under a normal
// mixture with variance tau2. Its guarantee is asymptotic only.
func normalMSPRT(pc, nc, ps, ns, tau2 float64) float64 {
	v := pc*(1-pc)/nc + ps*(1-ps)/ns
	d := pc - ps
	return 0.5*math.Log(v/(v+tau2)) + tau2*d*d/(2*v*(v+tau2))
}

// twoArmQuantile is the log e-value against "both arms have the same
// p-quantile": the least, over the common quantile, of the two arms' products.
// The arms are sorted; t is the sample size it is tuned for.
func twoArmQuantile(p, t, alpha float64, arm1, arm2 []float64) float64 {
	v := t * p * (1 - p)
	r := bestRho(v, alpha) - p*(1-p)
	least := math.Inf(1)
	for _, arm := range [2][]float64{arm1, arm2} {
		for _, x := range arm {
			least = min(least, armAt(x, p, r, arm1)+armAt(x, p, r, arm2))
		}
	}
	return least
}

// armAt is the least log e-value of one arm over the counts that "x is the
// quantile" allows: values below x up to values at or below x.
func armAt(x, p, r float64, arm []float64) float64 {
	n := float64(len(arm))
	logE := func(k float64) float64 {
		return betaBinomialMixture(k-p*n, n*p*(1-p), p, 1-p, r, false)
	}
	lo, hi := float64(below(arm, x, false)), float64(below(arm, x, true))
	if lo == hi {
		return logE(lo)
	}
	return min(logE(lo), logE(hi), logE(golden(logE, lo, hi)))
}

// below counts the values of a sorted list that are less than x, or equal too.
func below(sorted []float64, x float64, equal bool) int {
	lo, hi := 0, len(sorted)
	for lo < hi {
		mid := (lo + hi) / 2
		if sorted[mid] < x || equal && sorted[mid] == x {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}
