package prometheus

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
)

// placeboAlarm plays five minutes of pods that count 50 requests a poll each, and fail
// so much more often than all do; it reports a false alarm.
func placeboAlarm(t *testing.T, r *rand.Rand, fails []float64) bool {
	t.Helper()
	run, err := judge.New(judge.Policy{Alpha: 0.05, AlphaPromote: 0.05, Horizon: 1800, Looseness: []float64{1},
		Metrics: []judge.Metric{{Name: "errors", Kind: judge.Proportion, Share: 1, Limit: math.NaN()}}}, []judge.History{{N: 3000, Bad: 60}})
	if err != nil {
		t.Fatal(err)
	}
	metrics := []release.Metric{{Name: "errors", Kind: release.Errors}}
	f := newFlow(requestsFlow, nil, time.Unix(0, 0))
	f.metrics, f.state.Began = []int{0}, true
	for poll := range 300 {
		both := 0.01 * (1.5 + math.Sin(float64(poll)/20)) // what all share
		for i, more := range fails {
			one := count{N: 50}
			for range one.N {
				if r.Float64() < both+more {
					one.Bad++
				}
			}
			f.state.Halves.add(map[string]string{"job": "pods", "instance": fmt.Sprintf("10.0.0.%d:80", i)}, one)
		}
		got, err := f.placebo(float64(poll), metrics)
		if err != nil {
			t.Fatal(err)
		}
		if b, ok := got[0]; ok {
			if b.Canary.N+b.Stable.N != int64(50*len(fails)) || len(fails)%2 == 0 && b.Canary.N != b.Stable.N {
				t.Fatalf("of %d instances came %+v", len(fails), b)
			}
			if err := run.Update(0, b); err != nil {
				t.Fatal(err)
			}
		} else if len(fails) > 1 {
			t.Fatalf("poll %d: two halves are not compared", poll)
		}
	}
	return run.Failed()
}

// TestPlaceboOfInstances: of alike instances no more than alpha are a false alarm,
// whatever all share; one of four that fails thrice as often is found, where it is
// in the half that stands for the canary, and one instance is compared with none.
func TestPlaceboOfInstances(t *testing.T) {
	const runs = 100
	r := rand.New(rand.NewPCG(91, 1))
	for _, c := range []struct {
		fails       []float64
		least, most int
	}{
		{make([]float64, 2), 0, 9}, {make([]float64, 5), 0, 9}, {[]float64{0, 0.04, 0, 0}, runs - 5, runs}, {make([]float64, 1), 0, 0}, // 5 %, and two standard errors
	} {
		alarms := 0
		for range runs {
			if placeboAlarm(t, r, c.fails) {
				alarms++
			}
		}
		t.Logf("%v: %d alarms in %d runs", c.fails, alarms, runs)
		if alarms < c.least || alarms > c.most {
			t.Errorf("%v: %d alarms in %d runs, expected %d to %d", c.fails, alarms, runs, c.least, c.most)
		}
	}
}
