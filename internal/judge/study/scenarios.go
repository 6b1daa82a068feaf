package study

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/haldane-project/haldane/internal/judge"
)

// Incident counts false rollbacks when both versions get ten times worse for
// five minutes: 0.5 % errors, then 5 %, then 0.5 % again.
func Incident(seed uint64, share float64, runs int) Null {
	const calm, bad = 0.005, 0.05
	return nullOf("both ten times worse for five minutes, w "+percent(share), seed, runs, func(r *rand.Rand) bool {
		run, err := judge.New(policy(), errorHistory(r, calm))
		must(err)
		at := 0.0
		for _, part := range []struct{ rate, seconds float64 }{{calm, 600}, {bad, 300}, {calm, 900}} {
			stream(r, truth{part.rate, part.rate, share}, run, at, part.seconds, canaryBad, func(float64) bool { return run.Failed() })
			at += part.seconds
		}
		return run.Failed()
	})
}

// Ramp counts false rollbacks along 1, 5, 10, 25 and 50 % while the error rate
// of both versions drifts from 0.3 to 0.9 %. Pooling the steps would see the
// canary's late share of the bad time (Simpson's paradox).
func Ramp(seed uint64, runs int) Null {
	return nullOf("ramp 1 to 50 % while both drift from 0.3 to 0.9 %", seed, runs, func(r *rand.Rand) bool {
		run, err := judge.New(policy(), errorHistory(r, 0.003))
		must(err)
		const pieces = 30
		for k := range pieces {
			rate := 0.003 + 0.006*float64(k)/pieces
			share := []float64{0.01, 0.05, 0.1, 0.25, 0.5}[k*5/pieces]
			stream(r, truth{rate, rate, share}, run, Release*float64(k)/pieces, Release/pieces, canaryBad, func(float64) bool { return run.Failed() })
		}
		return run.Failed()
	})
}

// Ways of judging users who fail in bursts.
const (
	eachRequest = iota // whoever keeps them with a version: a router that says nothing of it
	byInterval         // the same, and the manifest says so
	byPlacebo          // each request is drawn by itself, as the embedded proxy does, and the placebo decides
	byUser             // users are drawn, as the embedded proxy does for sticky traffic, and count once
)

var burstWords = [...]string{
	eachRequest: "users fail in bursts of ten and keep their version, judged as if requests were independent",
	byInterval:  "users fail in bursts of ten and keep their version, judged by intervals of 1 s",
	byPlacebo:   "users fail in bursts of ten, each request drawn by itself, the placebo decides",
	byUser:      "users fail in bursts of ten and keep their version, judged by users",
}

const (
	burstSize = 10
	burstRate = 0.01 // of the requests that fail
)

// Bursts counts false rollbacks where users fail with ten requests in a row, 1 %
// of the requests in all, judged in one of the ways.
func Bursts(seed uint64, share float64, way, runs int) Null {
	p := policy()
	m := &p.Metrics[0]
	switch way {
	case byInterval:
		m.Interval, m.Clustered = 1, true
	case byPlacebo:
		m.Interval = 1
	case byUser:
		m.PerUnit = true
	}
	return nullOf(burstWords[way]+", w "+percent(share), seed, runs, func(r *rand.Rand) bool {
		run, err := judge.New(p, errorHistory(r, burstRate))
		must(err)
		placebo, err := judge.New(p, errorHistory(r, burstRate))
		must(err)
		for at := 1.0; at <= Release && !run.Failed(); at++ {
			canary, stable := burstSecond(r, way, share)
			must(run.Update(0, judge.Batch{At: at, Share: share, Canary: canary, Stable: stable}))
			if way == byPlacebo {
				label, rest := relabel(r, stable, share)
				must(placebo.Update(0, judge.Batch{At: at, Share: share, Canary: label, Stable: rest}))
				if len(run.HeedPlacebo(placebo)) > 0 {
					placebo.HeedPlacebo(placebo)
				}
			}
		}
		return run.Failed()
	})
}

// burstSecond is a second of both versions: the users of a version, or its
// requests, are drawn with its share.
func burstSecond(r *rand.Rand, way int, share float64) (canary, stable judge.Side) {
	users := binomial(r, PerSecond/burstSize, burstRate)
	good := PerSecond - burstSize*users
	size, n := float64(burstSize), users // of what is drawn
	if way == byPlacebo {
		size, n = 1, users*burstSize
	}
	bad := binomial(r, n, share)
	ok := binomial(r, good, share)
	canary = judge.Side{N: int64(ok + size*bad), Bad: int64(size * bad), Units: int64(bad), Firsts: int64(bad)}
	stable = judge.Side{N: int64(good - ok + size*(n-bad)), Bad: int64(size * (n - bad)), Units: int64(n - bad), Firsts: int64(n - bad)}
	return canary, stable
}

// relabel labels a part of stable's requests as the canary's.
func relabel(r *rand.Rand, stable judge.Side, share float64) (label, rest judge.Side) {
	bad := int64(binomial(r, float64(stable.Bad), share))
	ok := int64(binomial(r, float64(stable.N-stable.Bad), share))
	label = judge.Side{N: bad + ok, Bad: bad}
	return label, judge.Side{N: stable.N - label.N, Bad: stable.Bad - bad}
}

// pod is one instance's level, sampled each ten seconds: a level of its own and
// AR(1) noise.
type pod struct{ level, noise float64 }

const (
	podPhi   = 0.9
	podNoise = 0.05 // standard deviation over time
	podApart = 0.03 // standard deviation between pods
)

func newPod(r *rand.Rand) pod {
	return pod{level: 1 + podApart*r.NormFloat64(), noise: podNoise * r.NormFloat64()}
}

func (p *pod) sample(r *rand.Rand) float64 {
	p.noise = podPhi*p.noise + podNoise*math.Sqrt(1-podPhi*podPhi)*r.NormFloat64()
	return p.level + p.noise
}

// gauges plays one pod of the canary beside nine of stable, more times as high
// as they are meant to be (a level of its own would be the version's to a judge
// that sees one pod), and calls each with a sample of both until it returns true.
func gauges(r *rand.Rand, more float64, before, samples int, each func(canary, stable float64, history bool) bool) {
	canary, stable := newPod(r), make([]pod, 9)
	canary.level = 1
	for i := range stable {
		stable[i] = newPod(r)
	}
	for i := range before + samples {
		mean := 0.0
		for k := range stable {
			mean += stable[k].sample(r) / float64(len(stable))
		}
		if each(canary.sample(r)*more, mean, i < before) {
			return
		}
	}
}

// Gauges counts false rollbacks of a gauge that is more times as high on the
// canary where up to 1.2 times is tolerated, over half an hour.
func Gauges(seed uint64, more float64, runs int) Null {
	p := policy()
	p.Metrics[0] = judge.Metric{Name: "memory", Kind: judge.Gauge, Share: 1, Ratio: 1.2, Limit: math.NaN()}
	what := fmt.Sprintf("autocorrelated gauge of one pod, %g times as high, margin 1.2", more)
	return nullOf(what, seed, runs, func(r *rand.Rand) bool {
		const before, samples, gap = 60, 180, 10
		var history []float64
		var run *judge.Run
		at := 0.0
		gauges(r, more, before, samples, func(canary, stable float64, past bool) bool {
			if past {
				history = append(history, stable)
				return false
			}
			if run == nil {
				var err error
				run, err = judge.New(p, []judge.History{{Values: history}})
				must(err)
			}
			at += gap
			must(run.Update(0, judge.Batch{At: at, Canary: judge.Side{Value: canary}, Stable: judge.Side{Value: stable}}))
			return run.Failed()
		})
		return run.Failed()
	})
}

// GaugePeers counts the same for Kayenta's rule and for Welch's t-test at 1 %,
// both looked at after every sixth sample.
func GaugePeers(seed uint64, more float64, runs int) (kayenta, t Null) {
	high, welch := make([]bool, runs), make([]bool, runs)
	eachRun(seed, runs, func(i int, r *rand.Rand) {
		var c, s []float64
		gauges(r, more, 0, 180, func(canary, stable float64, _ bool) bool {
			c, s = append(c, canary), append(s, stable)
			if len(c)%6 == 0 {
				high[i] = high[i] || mannWhitneyHigh(c, s)
				welch[i] = welch[i] || welchOf(c, s) > onePercent
			}
			return high[i] && welch[i]
		})
	})
	what := fmt.Sprintf("autocorrelated gauge of one pod, %g times as high", more)
	return Null{What: what, Runs: runs, Alarms: count(high)}, Null{What: what, Runs: runs, Alarms: count(welch)}
}

// welchOf is the t statistic of two samples.
func welchOf(a, b []float64) float64 {
	moments := func(xs []float64) (mean, v float64) {
		mean, err := meanOf(xs)
		return mean, err * err
	}
	ma, va := moments(a)
	mb, vb := moments(b)
	return (ma - mb) / math.Sqrt(va+vb)
}

// Late measures the canary requests from the onset of a regression after a
// quarter of an hour that was good.
func Late(seed uint64, stable, canary, share float64, runs int) Cell {
	const good = 900
	c := newCell(truth{stable, canary, share}, runs)
	took, found := make([]float64, runs), make([]bool, runs)
	eachRun(seed, runs, func(i int, r *rand.Rand) {
		run, err := judge.New(policy(), errorHistory(r, stable))
		must(err)
		stream(r, truth{stable, stable, share}, run, 0, good, canaryBad, func(float64) bool { return run.Failed() })
		took[i] = stream(r, truth{stable, canary, share}, run, good, 900, canaryBad, func(float64) bool {
			found[i] = run.Failed()
			return found[i]
		})
	})
	c.Found = count(found)
	c.Mean, c.Error = meanOf(took)
	return c
}

// Proof is how long the proof takes that a good version is within a margin, and
// how often one that is exactly at the margin gets it.
type Proof struct {
	Rate, Share, Ratio float64
	Runs, Found        int
	Median             float64 // seconds
	Wrong, WrongRuns   int
	Exact              float64 // chance of a wrong proof
}

// wrongSeconds is how long a version at the margin is given to be proven good.
const wrongSeconds = 300

// Promote measures a margin: at most ratio times stable's errors.
func Promote(seed uint64, rate, share, ratio float64, runs, wrongRuns int) Proof {
	p := Proof{Rate: rate, Share: share, Ratio: ratio, Runs: runs, WrongRuns: wrongRuns}
	pol := policy()
	pol.Metrics[0].Ratio, pol.Metrics[0].Required = ratio, true
	proven := func(r *rand.Rand, canary, seconds float64) float64 {
		run, err := judge.New(pol, errorHistory(r, rate))
		must(err)
		at := math.Inf(1)
		stream(r, truth{rate, canary, share}, run, 0, seconds, anyBad, func(c float64) bool {
			if run.Proven(0) {
				at = c / share / PerSecond
				return true
			}
			return run.Failed()
		})
		return at
	}
	took := make([]float64, runs)
	eachRun(seed, runs, func(i int, r *rand.Rand) { took[i] = proven(r, rate, Release) })
	slices.Sort(took)
	p.Median = took[runs/2]
	for _, x := range took {
		if !math.IsInf(x, 1) {
			p.Found++
		}
	}
	wrong := make([]bool, wrongRuns)
	eachRun(seed+1, wrongRuns, func(i int, r *rand.Rand) { wrong[i] = !math.IsInf(proven(r, ratio*rate, wrongSeconds), 1) })
	p.Wrong = count(wrong)
	p.Exact = judge.WrongProof(share, ratio, pol.AlphaPromote, int(wrongSeconds*PerSecond*rate*(1+share*(ratio-1))))
	return p
}
