// Package study measures the judge: false rollbacks, requests to a finding
// against the limit that no test can beat, promotion times, and the same for
// the rules of other tools, which are written again here for this comparison
// only. Everything is drawn from seeds, so a study can be repeated.
//
// It must not be imported by anything that runs releases. Read study.go first.
package study

import (
	"math"
	"math/rand/v2"
	"runtime"
	"sync"

	"github.com/haldane-project/haldane/internal/judge"
)

// PerSecond is the traffic of every simulated release, both versions together.
const PerSecond = 1000.0

// Release is the length of a simulated release in seconds.
const Release = 1800.0

func seeded(seed, stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }

// binomial draws exactly while the mean is small and by the normal law above.
func binomial(r *rand.Rand, n, p float64) float64 {
	switch {
	case n <= 0 || p <= 0:
		return 0
	case p >= 1:
		return n
	case p > 0.5:
		return n - binomial(r, n, 1-p)
	}
	mean := n * p
	if mean > 50 {
		x := math.Round(mean + math.Sqrt(mean*(1-p))*r.NormFloat64())
		return min(n, max(0, x))
	}
	// Inversion: walk the probabilities from 0 up.
	u, k := r.Float64(), 0.0
	prob := math.Exp(n * math.Log1p(-p))
	odds := p / (1 - p)
	for u > prob && k < n {
		u -= prob
		prob *= odds * (n - k) / (k + 1)
		k++
		if prob < 1e-300 {
			break
		}
	}
	return k
}

// geometric draws how many tries fail before the first that succeeds.
func geometric(r *rand.Rand, p float64) float64 {
	if p >= 1 {
		return 0
	}
	return math.Floor(math.Log(1-r.Float64()) / math.Log1p(-p))
}

// truth is how the two versions behave.
type truth struct{ stable, canary, share float64 }

// alpha is the promised chance of a false rollback.
const alpha = 0.01

// policy judges errors alone with the whole of alpha.
func policy() judge.Policy {
	return judge.Policy{
		Alpha: alpha, AlphaPromote: 0.05, Horizon: Release, Looseness: []float64{1},
		Metrics: []judge.Metric{{Name: "errors", Kind: judge.Proportion, Share: 1, Limit: math.NaN()}},
	}
}

// errorHistory is stable's last minute before the run.
func errorHistory(r *rand.Rand, rate float64) []judge.History {
	n := 60 * PerSecond
	return []judge.History{{N: int64(n), Bad: int64(binomial(r, n, rate))}}
}

// eachRun runs f for runs numbered from 0 on all processors. f gets a source of
// its own, so the result does not depend on how many there are.
func eachRun(seed uint64, runs int, f func(run int, r *rand.Rand)) {
	var wait sync.WaitGroup
	next := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for i := range next {
				f(i, seeded(seed, uint64(i)))
			}
		})
	}
	for i := range runs {
		next <- i
	}
	close(next)
	wait.Wait()
}
