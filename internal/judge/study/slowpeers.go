package study

import (
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/mathext"

	"github.com/haldane-project/haldane/internal/judge"
)

// This file holds the rules by which other tools and tests judge latency,
// written from their definitions, for comparison only.

// spread counts values by bin.
type spread struct {
	by [bins]float64
	n  float64
}

func (s *spread) add(side []judge.BinCount) {
	for _, b := range side {
		s.by[b.Bin] += float64(b.Count)
		s.n += float64(b.Count)
	}
}

// quantile is the bin that holds it.
func (s *spread) quantile(q float64) int {
	sum := 0.0
	for i, n := range s.by {
		if sum += n; n > 0 && sum >= q*s.n {
			return i
		}
	}
	return bins - 1
}

// slowLook is one second of a release: 0 the canary, 1 stable.
type slowLook struct {
	second int
	minute [2]*spread // since the last full minute
	total  [2]*spread
}

// slowRule makes a watcher of latencies.
type slowRule struct {
	name, note string
	start      func() func(*slowLook) bool
}

var slowRules = []slowRule{
	{"Flagger", "p99 of the canary above 500 ms in a minute, 1 failed check", slowFlagger},
	{"Kayenta", "Mann-Whitney on the p99 of each minute, looked at each minute from the third on", slowKayenta},
	{"CDF bands", "time-uniform bands around both distributions, each at half of alpha, each second (Lindon, Sanden, Shirikian 2022; Howard, Ramdas 2022)", func() func(*slowLook) bool { return cdfBands }},
	{"two-arm quantiles", "p50, p90 and p99, each at a third of alpha, each second (Howard, Ramdas 2022)", func() func(*slowLook) bool { return twoArm }},
}

func slowFlagger() func(*slowLook) bool {
	limit := int(judge.BinOf(judge.Latency, 0.5))
	return func(l *slowLook) bool {
		return l.second%minute == 0 && l.minute[0].n > 0 && l.minute[0].quantile(0.99) > limit
	}
}

func slowKayenta() func(*slowLook) bool {
	var canary, stable []float64
	return func(l *slowLook) bool {
		if l.second%minute != 0 || l.minute[0].n == 0 || l.minute[1].n == 0 {
			return false
		}
		at := func(s *spread) float64 { return judge.BinValue(judge.Latency, int32(s.quantile(0.99))) }
		canary, stable = append(canary, at(l.minute[0])), append(stable, at(l.minute[1]))
		return len(canary) >= 3 && mannWhitneyHigh(canary, stable)
	}
}

// cdfBand is the half width around an empirical distribution of n values that
// holds at all n at once with probability 1 - alpha (Howard, Ramdas 2022,
// corollary 2).
func cdfBand(n, alpha float64) float64 {
	return 0.85 * math.Sqrt((math.Log(math.Log(math.E*n))+0.8*math.Log(1612/alpha))/n)
}

// cdfBands finds that the canary's distribution lies below stable's somewhere.
func cdfBands(l *slowLook) bool {
	c, s := l.total[0], l.total[1]
	if c.n == 0 || s.n == 0 {
		return false
	}
	both := cdfBand(c.n, alpha/2) + cdfBand(s.n, alpha/2)
	var fc, fs float64
	for i := range c.by {
		fc, fs = fc+c.by[i]/c.n, fs+s.by[i]/s.n
		if fs-fc > both {
			return true
		}
	}
	return false
}

// twoArm tests for each quantile that both versions have the same: the product
// of the two versions' beta-binomial mixtures, the least over the values that
// the quantile may have.
func twoArm(l *slowLook) bool {
	for _, q := range [3]float64{0.5, 0.9, 0.99} {
		c, s := l.total[0], l.total[1]
		if c.n == 0 || s.n == 0 {
			return false
		}
		hi, lo := c.quantile(q), s.quantile(q)
		if hi > lo && leastProduct(c, s, lo, hi, q) >= math.Log(3/alpha) {
			return true
		}
	}
	return false
}

// leastProduct is the least log e-value over the quantiles from bin lo to hi.
func leastProduct(c, s *spread, lo, hi int, q float64) float64 {
	var belowC, belowS float64
	least := math.Inf(1)
	for i := range hi + 1 {
		if i >= lo {
			// The quantile may lie anywhere in the bin.
			least = min(least, inBin(belowC, c.by[i], c.n, q)+inBin(belowS, s.by[i], s.n, q))
		}
		belowC, belowS = belowC+c.by[i], belowS+s.by[i]
	}
	return least
}

// inBin is the least log e-value against "this bin holds the q-quantile".
func inBin(below, here, n, q float64) float64 {
	// Tuned for a thousand values: a prior worth as many values as the optimal
	// mixture for that sample size (Howard and others 2021, section 3.5).
	const worth = 86.0
	k := min(max(q*n, below), below+here)
	a, b := worth*q, worth*(1-q)
	return mathext.Lbeta(a+k, b+n-k) - mathext.Lbeta(a, b) - k*math.Log(q) - (n-k)*math.Log1p(-q)
}

// SlowPeerCell is what every rule for latency did in one cell.
type SlowPeerCell struct {
	Cell
	Found []int
	Mean  []float64
}

// SlowPeers plays releases until every rule found the slower version, or to the
// end.
func SlowPeers(seed uint64, s shape, share float64, seconds, runs int) SlowPeerCell {
	p := SlowPeerCell{Cell: Cell{Share: share, Runs: runs}, Found: make([]int, len(slowRules)), Mean: make([]float64, len(slowRules))}
	p.Limit = judge.HistogramLimit(shape{}.density(), s.density(), share, alpha).Canary
	took, found := make([][]float64, runs), make([][]bool, runs)
	eachRun(seed, runs, func(i int, r *rand.Rand) { took[i], found[i] = slowPeerRun(r, s, share, seconds) })
	for i := range runs {
		for k := range slowRules {
			p.Mean[k] += took[i][k] / float64(runs)
			if found[i][k] {
				p.Found[k]++
			}
		}
	}
	return p
}

func slowPeerRun(r *rand.Rand, s shape, share float64, seconds int) (took []float64, found []bool) {
	took, found = make([]float64, len(slowRules)), make([]bool, len(slowRules))
	watch := make([]func(*slowLook) bool, len(slowRules))
	for k, rule := range slowRules {
		watch[k] = rule.start()
	}
	l := slowLook{minute: [2]*spread{{}, {}}, total: [2]*spread{{}, {}}}
	var h hundred
	for open := len(watch); l.second < seconds && open > 0; {
		l.second++
		h.fill(r, s, share, int(PerSecond))
		for v := range 2 {
			l.minute[v].add(h.side[v])
			l.total[v].add(h.side[v])
		}
		for k, w := range watch {
			if !found[k] && w(&l) {
				took[k], found[k] = l.total[0].n, true
				open--
			}
		}
		if l.second%minute == 0 {
			*l.minute[0], *l.minute[1] = spread{}, spread{}
		}
	}
	for k := range took {
		if !found[k] {
			took[k] = l.total[0].n
		}
	}
	return took, found
}
