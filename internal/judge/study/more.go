package study

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/haldane-project/haldane/internal/judge"
)

// Incident counts false rollbacks when both versions get ten times worse for
// five minutes: 0.5 % errors, then 5 %, then 0.5 % again.
func Incident(seed uint64, share, alpha float64, runs int) Null {
	const calm, bad = 0.005, 0.05
	alarm := make([]bool, runs)
	eachRun(seed, runs, func(i int, r *rand.Rand) {
		run, err := judge.New(policy(alpha), errorHistory(r, calm))
		must(err)
		at := 0.0
		for _, part := range []struct{ rate, seconds float64 }{{calm, 600}, {bad, 300}, {calm, 900}} {
			stream(r, truth{part.rate, part.rate, share}, run, at, part.seconds, func(float64) bool { return run.Failed() })
			at += part.seconds
		}
		alarm[i] = run.Failed()
	})
	return Null{Rate: calm, Share: share, Alpha: alpha, Runs: runs, Alarms: count(alarm)}
}

// Ramp counts false rollbacks along 1, 5, 10, 25 and 50 % while the error rate
// of both versions drifts from 0.3 to 0.9 %. Pooling the steps would see the
// canary's late share of the bad time (Simpson's paradox).
func Ramp(seed uint64, alpha float64, runs int) Null {
	alarm := make([]bool, runs)
	eachRun(seed, runs, func(i int, r *rand.Rand) {
		run, err := judge.New(policy(alpha), errorHistory(r, 0.003))
		must(err)
		const pieces = 30
		for k := range pieces {
			rate := 0.003 + 0.006*float64(k)/pieces
			share := []float64{0.01, 0.05, 0.1, 0.25, 0.5}[k*5/pieces]
			stream(r, truth{rate, rate, share}, run, Release*float64(k)/pieces, Release/pieces, func(float64) bool { return run.Failed() })
		}
		alarm[i] = run.Failed()
	})
	return Null{Rate: 0.003, Alpha: alpha, Runs: runs, Alarms: count(alarm)}
}

// Late measures the canary requests from the onset of a regression after a
// quarter of an hour that was good.
func Late(seed uint64, stable, canary, share, alpha float64, runs int) Cell {
	const good = 900
	c := Cell{Stable: stable, Canary: canary, Share: share, Alpha: alpha, Runs: runs}
	c.Limit = judge.LimitOf(stable, canary, share, alpha).Canary
	took, found := make([]float64, runs), make([]bool, runs)
	eachRun(seed, runs, func(i int, r *rand.Rand) {
		run, err := judge.New(policy(alpha), errorHistory(r, stable))
		must(err)
		stream(r, truth{stable, stable, share}, run, 0, good, func(float64) bool { return run.Failed() })
		took[i] = stream(r, truth{stable, canary, share}, run, good, 900, func(float64) bool {
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
}

// Promote measures a margin: at most ratio times stable's errors.
func Promote(seed uint64, rate, share, ratio float64, runs, wrongRuns int) Proof {
	p := Proof{Rate: rate, Share: share, Ratio: ratio, Runs: runs, WrongRuns: wrongRuns}
	pol := policy(0.01)
	pol.Metrics[0].Ratio, pol.Metrics[0].Required = ratio, true
	proven := func(r *rand.Rand, canary, seconds float64) float64 {
		run, err := judge.New(pol, errorHistory(r, rate))
		must(err)
		at := math.Inf(1)
		n := stream(r, truth{rate, canary, share}, run, 0, seconds, func(c float64) bool {
			if run.Report(0).Verdict == judge.Pass {
				at = c / share / PerSecond
				return true
			}
			return run.Failed()
		})
		_ = n
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
	eachRun(seed+1, wrongRuns, func(i int, r *rand.Rand) { wrong[i] = !math.IsInf(proven(r, ratio*rate, 300), 1) })
	p.Wrong = count(wrong)
	return p
}
