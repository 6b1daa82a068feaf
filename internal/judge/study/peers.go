package study

import (
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/mathext"
)

// This file holds the rules by which other tools and tests judge error rates,
// written from their definitions, for comparison only.

// tally is what was seen of both versions.
type tally struct{ nc, ec, ns, es float64 }

func (t *tally) add(x tally) {
	t.nc, t.ec, t.ns, t.es = t.nc+x.nc, t.ec+x.ec, t.ns+x.ns, t.es+x.es
}

// look is one second of a release as a rule sees it.
type look struct {
	second int   // from 1
	now    tally // of this second
	total  tally
}

// watcher reports whether the canary is to be rolled back.
type watcher func(look) bool

// rule makes a watcher for a release with the canary's share w; worse is the
// regression that a test of fixed size is planned for.
type rule struct {
	name, note string
	start      func(w, stable, worse float64) watcher
}

const minute = 60

// rules of other tools, in the order of the tables.
var rules = []rule{
	{"Flagger, 1 failed check", "success of the canary below 99 % in a minute", flagger(1)},
	{"Flagger, 5 failed checks", "the same, five times in all", flagger(5)},
	{"Argo Rollouts", "its documented condition: success below 95 % in 5 minutes, more than 3 times", argo},
	{"Kayenta", "Mann-Whitney on the values of each minute, 98 % interval, tolerance 0.25, looked at each minute from the third on; a score of 0 fails", kayenta},
	{"repeated z-test", "two rates, one-sided 1 %, looked at each second", repeatedZ},
	{"mSPRT", "normal mixture of 1 percentage point, looked at each second (Johari, Koomen, Pekelis, Walsh 2022)", mSPRT},
	{"fixed sample", "one z-test at 1 %, as large as finds the true regression with 90 %", fixedSample},
	{"Beta(1, 1) on the share of errors", "Lindon, Malek 2022, only worse counts, looked at each second", lindonMalek},
}

// flagger fails a check when less than 99 % of the canary's requests of a
// minute succeeded, and rolls back at so many failed checks, counted in all.
func flagger(threshold int) func(float64, float64, float64) watcher {
	return func(float64, float64, float64) watcher {
		failed, window := 0, tally{}
		return func(l look) bool {
			window.add(l.now)
			if l.second%minute == 0 {
				if window.nc > 0 && window.ec/window.nc > 0.01 {
					failed++
				}
				window = tally{}
			}
			return failed >= threshold
		}
	}
}

func argo(float64, float64, float64) watcher {
	failed, window := 0, tally{}
	const interval, limit = 5 * minute, 3
	return func(l look) bool {
		window.add(l.now)
		if l.second%interval == 0 {
			if window.nc > 0 && window.ec/window.nc > 0.05 {
				failed++
			}
			window = tally{}
		}
		return failed > limit
	}
}

func kayenta(float64, float64, float64) watcher {
	var canary, stable []float64
	window := tally{}
	return func(l look) bool {
		window.add(l.now)
		if l.second%minute != 0 {
			return false
		}
		if window.nc > 0 && window.ns > 0 {
			canary, stable = append(canary, window.ec/window.nc), append(stable, window.es/window.ns)
		}
		window = tally{}
		return len(canary) >= 3 && mannWhitneyHigh(canary, stable)
	}
}

// mannWhitneyHigh reports whether the 98 % interval of the shift between two
// samples (Hodges, Lehmann 1963, normal approximation) lies above a quarter of
// its estimate.
func mannWhitneyHigh(canary, stable []float64) bool {
	diffs := make([]float64, 0, len(canary)*len(stable))
	for _, c := range canary {
		for _, s := range stable {
			diffs = append(diffs, c-s)
		}
	}
	slices.Sort(diffs)
	n, m := float64(len(canary)), float64(len(stable))
	const z = 2.3263 // 1 % on either side
	low := int(math.Floor(n*m/2 - z*math.Sqrt(n*m*(n+m+1)/12)))
	mid := diffs[len(diffs)/2]
	return diffs[max(0, low)] > 0.25*math.Abs(mid)
}

// zOf is the normal statistic of two rates, pooled.
func zOf(t tally) float64 {
	m := (t.ec + t.es) / (t.nc + t.ns)
	if t.nc == 0 || t.ns == 0 || m <= 0 || m >= 1 {
		return 0
	}
	return (t.ec/t.nc - t.es/t.ns) / math.Sqrt(m*(1-m)*(1/t.nc+1/t.ns))
}

const onePercent = 2.3263 // normal quantile

func repeatedZ(float64, float64, float64) watcher {
	return func(l look) bool { return zOf(l.total) > onePercent }
}

func mSPRT(float64, float64, float64) watcher {
	const tau2 = 0.01 * 0.01
	return func(l look) bool {
		t := l.total
		if t.nc == 0 || t.ns == 0 {
			return false
		}
		c, s := t.ec/t.nc, t.es/t.ns
		v := c*(1-c)/t.nc + s*(1-s)/t.ns
		if v == 0 || c <= s {
			return false
		}
		d := c - s
		return 0.5*math.Log(v/(v+tau2))+tau2*d*d/(2*v*(v+tau2)) >= math.Log(1/alpha)
	}
}

// fixedSize is the requests of both versions after which one z-test finds the
// regression with 90 %.
func fixedSize(w, stable, worse float64) float64 {
	const power = 1.2816
	m := w*worse + (1-w)*stable
	null := onePercent * math.Sqrt(m*(1-m)*(1/w+1/(1-w)))
	alt := power * math.Sqrt(worse*(1-worse)/w+stable*(1-stable)/(1-w))
	x := (null + alt) / (worse - stable)
	return x * x
}

func fixedSample(w, stable, worse float64) watcher {
	size, done := fixedSize(w, stable, worse), false
	return func(l look) bool {
		if done || l.total.nc+l.total.ns < size {
			return false
		}
		done = true
		return zOf(l.total) > onePercent
	}
}

func lindonMalek(w, _, _ float64) watcher {
	return func(l look) bool {
		c, s := l.total.ec, l.total.es
		if c == 0 || c/(c+s) <= w {
			return false
		}
		return mathext.Lbeta(1+c, 1+s)-c*math.Log(w)-s*math.Log1p(-w) >= math.Log(1/alpha)
	}
}

// second draws one second of a release.
func second(r *rand.Rand, t truth) (x tally) {
	x.nc = binomial(r, PerSecond, t.share)
	x.ns = PerSecond - x.nc
	x.ec, x.es = binomial(r, x.nc, t.canary), binomial(r, x.ns, t.stable)
	return x
}

// PeerCell is what every rule did in one cell, in the order of rules.
type PeerCell struct {
	Cell
	Found []int
	Mean  []float64 // canary requests to the finding, or to the end where there was none
}

// Peers plays releases of the cell until every rule found the regression, or to
// the end.
func Peers(seed uint64, t truth, seconds, runs int) PeerCell {
	p := PeerCell{Cell: newCell(t, runs), Found: make([]int, len(rules)), Mean: make([]float64, len(rules))}
	type result struct {
		found bool
		took  float64
	}
	results := make([][]result, runs)
	eachRun(seed, runs, func(i int, r *rand.Rand) {
		results[i] = make([]result, len(rules))
		watch := make([]watcher, len(rules))
		for k, rule := range rules {
			watch[k] = rule.start(t.share, t.stable, planned(t))
		}
		l, open := look{}, len(rules)
		for l.second < seconds && open > 0 {
			l.second++
			l.now = second(r, t)
			l.total.add(l.now)
			for k, w := range watch {
				if !results[i][k].found && w(l) {
					results[i][k] = result{true, l.total.nc}
					open--
				}
			}
		}
		for k := range results[i] {
			if !results[i][k].found {
				results[i][k].took = l.total.nc
			}
		}
	})
	for _, row := range results {
		for k, x := range row {
			p.Mean[k] += x.took / float64(runs)
			if x.found {
				p.Found[k]++
			}
		}
	}
	return p
}

// planned is the regression that a test of fixed size looks for: the true one,
// or twice stable's rate where there is none.
func planned(t truth) float64 {
	if t.canary > t.stable {
		return t.canary
	}
	return min(1, 2*t.stable)
}
