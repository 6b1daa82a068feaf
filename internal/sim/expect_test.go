package sim

import (
	"math"
	"os"
	"testing"

	"github.com/haldane-project/haldane/internal/release"
)

// foundBy plays a canary request by request as it were (looks every tenth of a
// second, every metric fed) through the steps of an expectation up to one.
func foundBy(t *testing.T, rel release.Release, truth Truth, rate float64, steps []StepAhead, seed, run uint64) bool {
	t.Helper()
	d := newDraws(seed, run)
	c := &course{rel: rel, truth: truth, rate: rate, draws: d, scale: timeScale()}
	if err := c.begin(); err != nil {
		t.Fatal(err)
	}
	at := 0.0
	for _, s := range steps {
		share := float64(s.Weight) / float64(release.Full)
		for ; at < s.Seconds-1e-9; at += 0.1 {
			c.at = seconds(at)
			nc, ns := d.poisson(rate*0.1*share), d.poisson(rate*0.1*(1-share))
			bad := [2]int64{d.binomial(ns, truth.StableErrors), d.binomial(nc, truth.CanaryErrors)}
			if err := c.feed(share, [2]int64{ns, nc}, bad); err != nil {
				t.Fatal(err)
			}
			if c.judge.Failed() {
				return true
			}
		}
	}
	return false
}

// TestExpectedRegressionsAreFoundNineTimesInTen: what a plan says is found with
// a chance of 90 % is, by other runs that look more often, found with that
// chance, within what the two numbers of runs allow (3.3 standard errors).
func TestExpectedRegressionsAreFoundNineTimesInTen(t *testing.T) {
	runs, from := 150, 2 // the last step only
	if os.Getenv("HALDANE_LONG") != "" {
		runs, from = 400, 0
	} else if racing {
		runs = 40
	}
	const rate = 200
	rel := policyRelease()
	e, err := Expect(rel, truth(t, "stable.errors=1%", "stable.latency=100ms"), rate, runs, 7)
	if err != nil {
		t.Fatal(err)
	}
	allowed := 3.3 * math.Sqrt(2*Power*(1-Power)/float64(runs))
	for i, s := range e.Steps {
		if i < from {
			continue
		}
		if s.Errors == nil || s.Latency == nil {
			t.Fatalf("step %d finds nothing: %+v", i+1, s)
		}
		for name, change := range map[string]func(*Truth){
			"errors":  func(t *Truth) { t.CanaryErrors = s.Errors.Value },
			"latency": func(t *Truth) { t.CanaryLatency = seconds(s.Latency.Value) },
		} {
			worse := e.Truth
			change(&worse)
			found := make([]bool, runs)
			_ = each(runs, func(run int) error {
				found[run] = foundBy(t, rel, worse, rate, e.Steps[:i+1], 1000+uint64(i), uint64(run))
				return nil
			})
			n := 0.0
			for _, f := range found {
				if f {
					n++
				}
			}
			t.Logf("step %d, %g%% by %.1f s, %.0f canary requests: errors of %.2f%%, latency %.2f times; %s found in %.1f%% of %d runs",
				i+1, float64(s.Weight)/100, s.Seconds, s.Canary, 100*s.Errors.Value, s.Latency.Ratio, name, 100*n/float64(runs), runs)
			if math.Abs(n/float64(runs)-Power) > allowed {
				t.Errorf("step %d: %s are found in %.1f%% of %d runs, want %.0f%% within %.1f points", i+1, name, 100*n/float64(runs), runs, 100*Power, 100*allowed)
			}
		}
	}
	last := e.Steps[len(e.Steps)-1]
	if first := e.Steps[0]; !(last.Errors.Value < first.Errors.Value && last.Latency.Value < first.Latency.Value && last.Seconds > first.Seconds) {
		t.Errorf("the last step finds no less than the first: %+v, %+v", first, last)
	}
	if s := e.Slower; s == nil || !(s.HurtSlower <= 1.1*s.Hurt && s.FoundSlower > s.Found) {
		t.Errorf("a slower ramp: %+v", e.Slower)
	}
}

func TestExpectationsWithoutAnswer(t *testing.T) {
	rel := policyRelease()
	e, err := Expect(rel, truth(t, "stable.errors=0%"), 100, 30, 1)
	if err != nil {
		t.Fatal(err)
	}
	if s := e.Steps[0].Errors; s == nil || s.Ratio != 0 || !(s.Value > 0 && s.Value < 0.5) {
		t.Errorf("without errors of stable a regression is found from %+v, want a share and no ratio", s)
	}
	if e.Slower != nil {
		t.Errorf("five times no errors is worth comparing: %+v", e.Slower)
	}
	rel.Strategy.Steps[2].Deadline, rel.Strategy.OnInconclusive = 1, release.PauseRun
	if e, err = Expect(rel, truth(t), 0.01, 3, 1); err != nil || len(e.Steps) != 0 || e.Waits == "" {
		t.Errorf("with hardly any traffic: %+v, %v; want no steps and what runs wait for", e, err)
	}
	if _, err := Expect(rel, truth(t), 0, 3, 1); err == nil {
		t.Error("no traffic was planned with")
	}
}
