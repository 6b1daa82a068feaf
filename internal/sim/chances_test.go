package sim

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
)

// policyRelease is a release with the manifest's own defaults, written out.
func policyRelease() release.Release {
	step := func(w release.Weight, r release.Requirement) release.Step {
		return release.Step{Weight: w, Capacity: w, Require: r, Looseness: 1, MinRequests: 50, Deadline: time.Hour}
	}
	return release.Release{
		Name: "hello", Replicas: 2,
		Strategy: release.Strategy{
			Kind: release.Canary, Bake: 30 * time.Second, OnInconclusive: release.PauseRun, ReadyDeadline: 2 * time.Minute,
			Steps: []release.Step{step(500, release.NoHarm), step(1000, release.NoHarm), step(5000, release.Proven)},
		},
		Analysis: release.Analysis{
			FalseRollback: 0.01, FalsePromotion: 0.05, MinRequests: 50,
			Metrics: []release.Metric{
				{Name: "errors", Kind: release.Errors, Required: true, Share: 0.5, Margin: release.Margin{Ratio: 1.5, Difference: 0.001}, Judge: release.JudgedRollBack},
				{Name: "latency", Kind: release.Latency, Required: true, Share: 0.5, Margin: release.Margin{Ratio: 1.2}, Quantile: 0.99, Judge: release.JudgedRollBack},
			},
		},
	}
}

func truth(t *testing.T, words ...string) Truth {
	t.Helper()
	out, err := ParseTruth(words)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestChances(t *testing.T) {
	tests := []struct {
		name     string
		truth    []string
		promoted func(Result) bool
	}{
		{"a good version is promoted", []string{"stable.errors=1%"}, func(r Result) bool { return r.Promoted.Share >= 0.95 && r.RolledBack.Share <= 0.05 }},
		{"five times the errors are rolled back", []string{"stable.errors=1%", "canary.errors=5%"}, func(r Result) bool { return r.RolledBack.Share == 1 && r.Hurt.P50 < 60 }},
		{"an outage costs few requests", []string{"stable.errors=1%", "canary.errors=99.9%"}, func(r Result) bool { return r.RolledBack.Share == 1 && r.Hurt.P90 <= 12 }},
		{"slow answers are rolled back", []string{"stable.latency=100ms", "canary.latency=200ms"}, func(r Result) bool { return r.RolledBack.Share == 1 }},
		{"shared drift is nobody's fault", []string{"drift=60%"}, func(r Result) bool { return r.RolledBack.Share <= 0.05 }},
		{"a late regression is found", []string{"stable.errors=1%", "canary.errors=8%", "after=20s"}, func(r Result) bool { return r.RolledBack.Share >= 0.9 }},
	}
	for _, tt := range tests {
		t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
			runs := 60
			if racing {
				runs = 12
			}
			r, err := Chances(policyRelease(), truth(t, tt.truth...), 200, runs, 1)
			if err != nil {
				t.Fatal(err)
			}
			if !tt.promoted(r) {
				t.Errorf("%+v", r)
			}
			if r.Promoted.Count+r.RolledBack.Count+r.Undecided.Count != r.Runs {
				t.Errorf("the outcomes do not sum to %d: %+v", r.Runs, r)
			}
		})
	}
}

func TestChancesAreAFunctionOfTheSeed(t *testing.T) {
	run := func(seed uint64) Result {
		r, err := Chances(policyRelease(), truth(t, "canary.errors=3%"), 100, 8, seed)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	a, b, c := run(1), run(1), run(2)
	if !reflect.DeepEqual(a, b) {
		t.Errorf("the same seed gave %+v and %+v", a, b)
	}
	if reflect.DeepEqual(a, c) {
		t.Error("another seed gave the same runs")
	}
}

func TestChancesSayWhatTheyCanNot(t *testing.T) {
	rel := policyRelease()
	rel.Analysis.Metrics = append(rel.Analysis.Metrics, release.Metric{Name: "queue", Kind: release.Gauge, Judge: release.JudgedPause, Limit: &release.Limit{Below: true, Value: 50}})
	rel.Strategy.Steps[0].Gates = []release.Gate{{Name: "owner", Kind: release.GatePerson}}
	r, err := Chances(rel, truth(t), 500, 2, 1)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(r.Assumed, "; "); !strings.Contains(got, "queue") || !strings.Contains(got, "say yes") {
		t.Errorf("assumed %q", got)
	}
	rel.Analysis.Metrics[2].Required = true
	if _, err := Chances(rel, truth(t), 500, 2, 1); err == nil || !strings.Contains(err.Error(), "queue") {
		t.Errorf("a required gauge gave %v", err)
	}
	if _, err := Chances(rel, truth(t), 0, 2, 1); err == nil {
		t.Error("no requests gave no error")
	}
}

func TestUndecidedSayWhatTheyWaitFor(t *testing.T) {
	r, err := Chances(policyRelease(), truth(t, "canary.errors=1.4%", "stable.errors=1%"), 0.5, 4, 1)
	if err != nil {
		t.Fatal(err)
	}
	if r.Undecided.Count == 0 || !strings.Contains(r.Waits, "no verdict after 1h0m0s") {
		t.Errorf("%+v", r)
	}
}

func TestParseTruth(t *testing.T) {
	got := truth(t, "canary.errors = 2%", "stable.errors=0.01", "stable.latency=80ms", "after=5m")
	if got.CanaryErrors != 0.02 || got.StableErrors != 0.01 || got.CanaryLatency != 80*time.Millisecond || got.After != 5*time.Minute {
		t.Errorf("%+v", got)
	}
	for _, bad := range []string{"canary.error=2%", "canary.errors", "canary.errors=2", "canary.errors=-1%", "stable.latency=fast", "latency.spread=0", "drift=NaN"} {
		_, err := ParseTruth([]string{bad})
		if err == nil || !strings.Contains(err.Error(), "expected") {
			t.Errorf("%s gave %v", bad, err)
		}
	}
	if _, err := ParseTruth([]string{"x=1"}); !strings.Contains(err.Error(), "canary.errors") {
		t.Errorf("an unknown key lists no known ones: %v", err)
	}
	for _, k := range TruthKeys() {
		if TruthHelp(k) == "" {
			t.Errorf("%s has no help", k)
		}
	}
}

// TestDraws: both ways to draw latencies give the distribution that is asked for.
func TestDraws(t *testing.T) {
	s := timeScale()
	for _, n := range []int64{directly, 200_000} {
		d := newDraws(7, 7)
		var below, all int64
		for all < 200_000 {
			for _, b := range d.latencies(s, n, 0.1, 0.5) {
				all += b.Count
				if judge.BinValue(judge.Latency, b.Bin) < 0.1*math.Exp(0.5) {
					below += b.Count
				}
			}
		}
		if share := float64(below) / float64(all); math.Abs(share-0.8413) > 0.01 {
			t.Errorf("%d at a time: %.4f lie below one deviation, expected 0.8413", n, share)
		}
	}
}

func BenchmarkChances(b *testing.B) {
	t, _ := ParseTruth(nil)
	for i := range b.N {
		if _, err := Chances(policyRelease(), t, 500, 10, uint64(i)); err != nil {
			b.Fatal(err)
		}
	}
}
