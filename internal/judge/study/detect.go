package study

import (
	"math"
	"math/rand/v2"

	"github.com/haldane-project/haldane/internal/judge"
)

// Cell is one row of the study of error rates.
type Cell struct {
	Stable, Canary, Share float64
	Alpha                 float64
	Runs, Found           int
	Mean, Error           float64 // canary requests to the finding, and its standard error
	Limit                 float64 // canary requests that no test can beat
}

// Ratio is the mean over the limit.
func (c Cell) Ratio() float64 { return c.Mean / c.Limit }

// stream plays requests in routing mode and looks after every error and after
// every successes in between. look returns true to stop.
func stream(r *rand.Rand, t truth, run *judge.Run, from, seconds float64, look func(canary float64) bool) (canary float64) {
	m := t.share*t.canary + (1-t.share)*t.stable
	requests := 0.0
	const step = 20000 // successes without an error are judged at least this often
	for requests < seconds*PerSecond {
		gap := geometric(r, m)
		rest := math.Floor(seconds*PerSecond - requests)
		bad := gap < step && gap < rest
		gap = min(gap, step, max(rest, 1))
		ok := binomial(r, gap, t.share*(1-t.canary)/(1-m))
		requests += gap
		canary += ok
		at := from + requests/PerSecond
		must(run.Update(0, judge.Batch{At: at, Share: t.share, Canary: judge.Side{N: int64(ok)}, Stable: judge.Side{N: int64(gap - ok)}}))
		if bad {
			requests++
			b := judge.Batch{At: at, Share: t.share, Stable: judge.Side{N: 1, Bad: 1}}
			if r.Float64() < t.share*t.canary/m {
				canary++
				b.Canary, b.Stable = b.Stable, judge.Side{}
			}
			must(run.Update(0, b))
		}
		if look(canary) {
			return canary
		}
	}
	return canary
}

func must(err error) {
	if err != nil {
		panic("study: " + err.Error())
	}
}

// Detect measures the canary requests until a regression is found.
func Detect(seed uint64, stable, canary, share, alpha float64, runs int) Cell {
	c := Cell{Stable: stable, Canary: canary, Share: share, Alpha: alpha, Runs: runs}
	c.Limit = judge.LimitOf(stable, canary, share, alpha).Canary
	took, found := make([]float64, runs), make([]bool, runs)
	longest := 20*c.Limit/share/PerSecond + 60
	eachRun(seed, runs, func(i int, r *rand.Rand) {
		run, err := judge.New(policy(alpha), errorHistory(r, stable))
		must(err)
		took[i] = stream(r, truth{stable, canary, share}, run, 0, longest, func(float64) bool {
			found[i] = run.Failed()
			return found[i]
		})
	})
	for _, f := range found {
		if f {
			c.Found++
		}
	}
	c.Mean, c.Error = meanOf(took)
	return c
}

func meanOf(xs []float64) (mean, err float64) {
	for _, x := range xs {
		mean += x / float64(len(xs))
	}
	for _, x := range xs {
		err += (x - mean) * (x - mean)
	}
	return mean, math.Sqrt(err) / float64(len(xs))
}

// Null is a row of false rollbacks.
type Null struct {
	Rate, Share  float64
	Alpha        float64
	Runs, Alarms int
}

// Part is the share of runs with a false rollback.
func (n Null) Part() float64 { return float64(n.Alarms) / float64(n.Runs) }

// NullRuns counts false rollbacks of a good version over a release of half an
// hour, looking after every error.
func NullRuns(seed uint64, rate, share, alpha float64, runs int) Null {
	alarm := make([]bool, runs)
	eachRun(seed, runs, func(i int, r *rand.Rand) {
		run, err := judge.New(policy(alpha), errorHistory(r, rate))
		must(err)
		stream(r, truth{rate, rate, share}, run, 0, Release, func(float64) bool {
			alarm[i] = run.Failed()
			return alarm[i]
		})
	})
	return Null{Rate: rate, Share: share, Alpha: alpha, Runs: runs, Alarms: count(alarm)}
}

func count(xs []bool) (n int) {
	for _, x := range xs {
		if x {
			n++
		}
	}
	return n
}
