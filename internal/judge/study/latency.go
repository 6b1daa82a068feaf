package study

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/haldane-project/haldane/internal/judge"
)

// bins is how many bins of the judge's latency scale the study uses; its step
// and start are those of judge.BinOf.
const bins = 1280

// Latencies are lognormal around 100 ms with sigma 0.5.
const (
	medianSeconds = 0.1
	sigma         = 0.5
)

var (
	logStep   = math.Log(judge.BinValue(judge.Latency, 1) / judge.BinValue(judge.Latency, 0))
	scaleZero = math.Log(judge.BinValue(judge.Latency, 0)) - logStep/2
)

// shape is a way in which the canary is slower: a part of its requests takes
// factor times as long and plus seconds more.
type shape struct {
	name               string
	part, factor, plus float64
}

// latencyShapes are the four regressions of the study.
var latencyShapes = []shape{
	{"median +10 %", 1, 1.1, 0},
	{"median +50 %", 1, 1.5, 0},
	{"2 % of requests five times slower", 0.02, 5, 0},
	{"0.5 % of requests hang for 2 s", 0.005, 1, 2},
}

// draw is the bin of one request.
func (s shape) draw(r *rand.Rand) int {
	x := math.Log(medianSeconds) + sigma*r.NormFloat64()
	if s.part == 1 || s.part > 0 && r.Float64() < s.part {
		x += math.Log(s.factor)
		if s.plus > 0 {
			x = math.Log(math.Exp(x) + s.plus)
		}
	}
	return max(0, min(bins-1, int((x-scaleZero)/logStep)))
}

// density is the chance of each bin.
func (s shape) density() []float64 {
	below := func(edge float64) float64 {
		z := func(v float64) float64 {
			if v <= 0 {
				return 0
			}
			return math.Erfc(-(math.Log(v)-math.Log(medianSeconds))/sigma/math.Sqrt2) / 2
		}
		return (1-s.part)*z(edge) + s.part*z((edge-s.plus)/s.factor)
	}
	out, last := make([]float64, bins), 0.0
	for i := range out {
		now := 1.0
		if i < bins-1 {
			now = below(math.Exp(scaleZero + logStep*float64(i+1)))
		}
		out[i], last = now-last, now
	}
	return out
}

// latencyPolicy judges latency alone.
func latencyPolicy() judge.Policy {
	p := policy()
	p.Metrics[0] = judge.Metric{Name: "latency", Kind: judge.Latency, Share: 1, Limit: math.NaN()}
	return p
}

// hundred holds the values of 100 ms by version: 0 the canary, 1 stable.
type hundred struct {
	count   [2][bins]int64
	touched [2][]int
	side    [2][]judge.BinCount
}

// fill draws requests and returns how many were the canary's.
func (h *hundred) fill(r *rand.Rand, s shape, share float64, requests int) (canary int) {
	for v := range 2 {
		for _, b := range h.touched[v] {
			h.count[v][b] = 0
		}
		h.touched[v] = h.touched[v][:0]
	}
	for range requests {
		v, of := 1, shape{}
		if r.Float64() < share {
			v, of = 0, s
			canary++
		}
		b := of.draw(r)
		if h.count[v][b] == 0 {
			h.touched[v] = append(h.touched[v], b)
		}
		h.count[v][b]++
	}
	for v := range 2 {
		slices.Sort(h.touched[v])
		h.side[v] = h.side[v][:0]
		for _, b := range h.touched[v] {
			h.side[v] = append(h.side[v], judge.BinCount{Bin: int32(b), Count: h.count[v][b]})
		}
	}
	return canary
}

// latencyHistory is stable's last minute, second by second.
func latencyHistory(r *rand.Rand) []judge.History {
	var out judge.History
	var all [bins]int64
	var h hundred
	for range 60 {
		h.fill(r, shape{}, 0, int(PerSecond))
		out.Seconds = append(out.Seconds, slices.Clone(h.side[1]))
		for _, b := range h.side[1] {
			all[b.Bin] += b.Count
		}
	}
	for i, n := range all {
		if n > 0 {
			out.Bins = append(out.Bins, judge.BinCount{Bin: int32(i), Count: n})
		}
	}
	return []judge.History{out}
}

// slower plays a release with a look every 100 ms until the canary is rolled
// back, or to the end.
func slower(r *rand.Rand, s shape, share, seconds float64) (canary float64, found bool) {
	run, err := judge.New(latencyPolicy(), latencyHistory(r))
	must(err)
	const look = 0.1
	var h hundred
	for at := look; at <= seconds && !found; at += look {
		canary += float64(h.fill(r, s, share, int(look*PerSecond)))
		must(run.Update(0, judge.Batch{At: at, Share: share, Canary: judge.Side{Bins: h.side[0]}, Stable: judge.Side{Bins: h.side[1]}}))
		found = run.Failed()
	}
	return canary, found
}

// DetectSlow measures the canary requests until a slower version is found.
func DetectSlow(seed uint64, s shape, share float64, runs int) Cell {
	c := Cell{Share: share, Runs: runs}
	c.Limit = judge.HistogramLimit(shape{}.density(), s.density(), share, alpha).Canary
	took, found := make([]float64, runs), make([]bool, runs)
	eachRun(seed, runs, func(i int, r *rand.Rand) { took[i], found[i] = slower(r, s, share, Release) })
	c.Found = count(found)
	c.Mean, c.Error = meanOf(took)
	return c
}

// SlowNull counts false rollbacks for latency over a release.
func SlowNull(seed uint64, share float64, runs int) Null {
	return nullOf("latency, w "+percent(share), seed, runs, func(r *rand.Rand) bool {
		_, alarm := slower(r, shape{}, share, Release)
		return alarm
	})
}
