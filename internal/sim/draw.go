package sim

import (
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/haldane-project/haldane/internal/judge"
)

// draws makes the requests of a simulated run.
type draws struct {
	src *rand.PCG
	rng *rand.Rand
	acc []int64 // by bin, reused
}

func newDraws(seed, run uint64) *draws {
	src := rand.NewPCG(seed, run)
	return &draws{src: src, rng: rand.New(src)}
}

func (d *draws) poisson(mean float64) int64 {
	if mean <= 0 {
		return 0
	}
	return int64(distuv.Poisson{Lambda: mean, Src: d.src}.Rand())
}

func (d *draws) binomial(n int64, p float64) int64 {
	switch {
	case n == 0 || p <= 0:
		return 0
	case p >= 1:
		return n
	}
	return int64(distuv.Binomial{N: float64(n), P: p, Src: d.src}.Rand())
}

// logScale is a judge's scale of bins: bin i begins at low*e^(i*step).
type logScale struct {
	kind      judge.Kind
	low, step float64 // logarithms
}

// timeScale is the scale of requests' times.
func timeScale() logScale {
	const k = judge.Latency
	a, b := math.Log(judge.BinValue(k, 0)), math.Log(judge.BinValue(k, 1))
	return logScale{kind: k, low: a - (b-a)/2, step: b - a}
}

// directly is the number of values up to which each is drawn by itself.
const directly = 400

// latencies draws n values of a lognormal distribution, counted by bin.
func (d *draws) latencies(s logScale, n int64, median, sigma float64) []judge.BinCount {
	if n == 0 {
		return nil
	}
	mu := math.Log(median)
	last := int(judge.BinOf(s.kind, math.Inf(1)))
	clamp := func(x float64) int { return min(max(int(math.Floor((x-s.low)/s.step)), 0), last) }
	first, end := clamp(mu-7*sigma), clamp(mu+7*sigma)
	d.acc = slices.Grow(d.acc[:0], end-first+1)[:end-first+1]
	clear(d.acc)
	if n <= directly {
		for range n {
			d.acc[min(max(clamp(mu+sigma*d.rng.NormFloat64()), first), end)-first]++
		}
	} else {
		d.multinomial(s, n, mu, sigma, first)
	}
	var out []judge.BinCount
	for i, c := range d.acc {
		if c > 0 {
			out = append(out, judge.BinCount{Bin: int32(first + i), Count: c})
		}
	}
	return out
}

// multinomial draws the bins one after another, each from what is left.
func (d *draws) multinomial(s logScale, n int64, mu, sigma float64, first int) {
	left, below := n, 0.0
	for i := range d.acc {
		if left == 0 {
			return
		}
		top := (s.low + float64(first+i+1)*s.step - mu) / sigma
		upTo := math.Erfc(-top/math.Sqrt2) / 2
		if i == len(d.acc)-1 {
			d.acc[i] = left
			return
		}
		c := d.binomial(left, min(1, (upTo-below)/(1-below)))
		d.acc[i], left, below = c, left-c, upTo
	}
}
