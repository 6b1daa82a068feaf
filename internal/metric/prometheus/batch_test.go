package prometheus

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
)

// slowTraffic is a world of few requests, whose counters are read ten times a second.
type slowTraffic struct {
	rate, share    float64 // requests a second; the canary's part
	stable, canary float64 // their error rates
}

// found is how many requests of the canary, and seconds, a run takes until the
// canary is failed, on average over runs; not found in ten minutes counts as such.
// enough is the rule of when a batch ends.
func (w slowTraffic) found(t *testing.T, runs int, enough func(n int64, seconds float64) bool) (requests, seconds, failed float64) {
	t.Helper()
	for seed := range uint64(runs) {
		rnd := rand.New(rand.NewPCG(seed, 11))
		run, err := judge.New(judge.Policy{Alpha: 0.01, AlphaPromote: 0.05, Horizon: 1800, Looseness: []float64{1},
			Metrics: []judge.Metric{{Name: "errors", Kind: judge.Proportion, Share: 1, Limit: math.NaN()}}},
			[]judge.History{{N: 2000, Bad: int64(2000 * w.stable)}})
		if err != nil {
			t.Fatal(err)
		}
		var held [2]count
		ended := 0.0
		for tick := range 6000 {
			at := float64(tick) / 10
			for range int(w.rate/10 + rnd.Float64()) {
				who, p := stable, w.stable
				if rnd.Float64() < w.share {
					who, p = canary, w.canary
					requests += 1 / float64(runs)
				}
				held[who].N++
				if rnd.Float64() < p {
					held[who].Bad++
				}
			}
			if held[0].N > 0 && held[1].N > 0 && enough(held[0].N+held[1].N, at-ended) {
				s, _ := sideOf(release.Errors, held[stable])
				c, _ := sideOf(release.Errors, held[canary])
				if err := run.Update(0, judge.Batch{At: at, Stable: s, Canary: c}); err != nil {
					t.Fatal(err)
				}
				held, ended = [2]count{}, at
			}
			if run.Report(0).Verdict == judge.Fail {
				failed += 1 / float64(runs)
				break
			}
			seconds += 0.1 / float64(runs)
		}
	}
	return requests, seconds, failed
}

// TestBatchesWaitForNoMore: a batch ends as soon as both versions have a request.
// To wait for a hundred, or for five seconds, would find no small regression
// much sooner, and an outage later.
func TestBatchesWaitForNoMore(t *testing.T) {
	atOnce := func(int64, float64) bool { return true }
	waiting := func(n int64, seconds float64) bool { return n >= 100 || seconds >= 5 }
	for _, w := range []slowTraffic{
		{rate: 20, share: 0.5, stable: 0.01, canary: 1}, {rate: 20, share: 0.1, stable: 0.01, canary: 1},
		{rate: 20, share: 0.5, stable: 0.01, canary: 0.2}, {rate: 5, share: 0.5, stable: 0.01, canary: 1},
	} {
		requests, seconds, failed := w.found(t, 40, atOnce)
		later, longer, _ := w.found(t, 40, waiting)
		t.Logf("%+v: %.1f requests of the canary, %.1f s; with longer batches %.1f, %.1f s", w, requests, seconds, later, longer)
		if failed < 0.999 || requests > 1.15*later {
			t.Errorf("%+v: %.1f requests of the canary, found in %.0f %% of the runs; with longer batches %.1f", w, requests, 100*failed, later)
		}
	}
}
