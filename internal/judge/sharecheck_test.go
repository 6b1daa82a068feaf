package judge

import (
	"math/rand/v2"
	"testing"
)

// dealer is a proxy that deals requests out by turns: each version gains its
// weight in credit with every request, and who has most is asked (smooth weighted
// round robin).
type dealer struct{ canary, stable float64 }

func (d *dealer) deal(w float64) (canary bool) {
	d.canary, d.stable = d.canary+w, d.stable+1-w
	if d.canary > d.stable {
		d.canary--
		return true
	}
	d.stable--
	return false
}

// checked plays so many batches of a router with several proxies, whose odds to
// send a request to the canary are off by a factor, and reports an alarm.
func checked(t *testing.T, r *rand.Rand, proxies int, turns bool, w, factor float64, batches int) bool {
	t.Helper()
	run := newRun(t, Policy{Alpha: 0.01, AlphaPromote: 0.05, Horizon: 1800, Metrics: []Metric{
		{Name: "share", Kind: ShareCheck, Pause: true, Limit: nan()}}}, nil)
	real := factor * w / (factor*w + 1 - w)
	dealers := make([]dealer, proxies)
	for i := range batches {
		b := Batch{At: float64(i), Share: w, Slack: 1.1}
		for range 50 {
			canary := r.Float64() < real
			if turns {
				canary = dealers[r.IntN(proxies)].deal(real)
			}
			if canary {
				b.Canary.N++
			} else {
				b.Stable.N++
			}
		}
		if err := run.Update(0, b); err != nil {
			t.Fatal(err)
		}
		if run.metrics[0].evidence() >= guardBar {
			return true
		}
	}
	return false
}

// TestRoutersAreTakenAsTheyAre: a router that draws at random, one that deals out by
// turns in each of many proxies, and one whose odds are off by what is tolerated are
// no alarm; one that sends half as many, or half as many again, is found.
func TestRoutersAreTakenAsTheyAre(t *testing.T) {
	const runs = 40
	r := rand.New(rand.NewPCG(77, 1))
	for _, c := range []struct {
		what    string
		proxies int
		turns   bool
		factor  float64
		wrong   bool
	}{
		{"at random", 1, false, 1, false}, {"at random, 9 % more", 1, false, 1.09, false}, {"at random, 8 % less", 1, false, 1 / 1.09, false},
		{"by turns in 1", 1, true, 1, false}, {"by turns in 20", 20, true, 1, false},
		{"half as many again", 1, false, 1.5, true}, {"half as many", 1, false, 0.5, true}, {"by turns in 20, half as many", 20, true, 0.5, true},
	} {
		for _, w := range []float64{0.01, 0.05, 0.1, 0.5} {
			alarms := 0
			for range runs {
				if checked(t, r, c.proxies, c.turns, w, c.factor, 800) {
					alarms++
				}
			}
			if !c.wrong && alarms > 1 || c.wrong && alarms < runs { // at 0.1 % two of 40 come with a chance of 0.1 %
				t.Errorf("%s, w %v: %d of %d runs have an alarm", c.what, w, alarms, runs)
			}
		}
	}
}
