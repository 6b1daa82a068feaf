package status

import (
	"math"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
)

func TestFigures(t *testing.T) {
	p := func(x float64) *float64 { return &x }
	for _, c := range []struct{ got, want string }{
		{Percent(0), "0%"}, {Percent(1), "0.01%"}, {Percent(50), "0.5%"}, {Percent(1000), "10%"}, {Percent(release.Full), "100%"},
		{Share(0), "0%"}, {Share(0.0041), "0.41%"}, {Share(0.00001), "0.0010%"}, {Share(0.01), "1.0%"}, {Share(0.123), "12.3%"},
		{Share(0.9994), "99.9%"}, {Share(0.9999), "100%"}, {Share(1), "100%"},
		{Seconds(0), "0 s"}, {Seconds(-1), "0 s"}, {Seconds(0.00012), "120 µs"}, {Seconds(0.084), "84 ms"}, {Seconds(0.2), "200 ms"}, {Seconds(1.23), "1.2 s"}, {Seconds(75), "75 s"},
		{Odds(math.NaN()), "none"}, {Odds(-3), "none"}, {Odds(0), "none"}, {Odds(math.Log(1.5)), "1 : 1.5"}, {Odds(math.Log(99)), "1 : 99"},
		{Odds(math.Log(4321)), "1 : 4300"}, {Odds(math.Log(123456)), "1 : 120000"}, {Odds(1000), "over 1 : 10^9"}, {Odds(math.Inf(1)), "over 1 : 10^9"},
		{Duration(0), "0 s"}, {Duration(200 * time.Millisecond), "200 ms"}, {Duration(time.Microsecond), "1 ms"}, {Duration(59 * time.Second), "59 s"},
		{Duration(time.Minute), "1 min"}, {Duration(192 * time.Second), "3 min 12 s"}, {Duration(90 * time.Minute), "1 h 30 min"},
		{Duration(59*time.Minute + 59*time.Second + 600*time.Millisecond), "1 h 0 min"}, {Duration(50 * time.Hour), "50 h 0 min"},
		{Ago(noon, noon.Add(-90*time.Second)), "1 min 30 s ago"}, {Ago(noon, noon.Add(time.Hour)), "0 s ago"}, {Ago(noon, noon.Add(-300*time.Millisecond)), "0 s ago"},
		{Interval(nil), ""}, {Interval(&judge.Interval{}), ""},
		{Interval(&judge.Interval{Value: p(4.6), Low: p(2.8), High: p(7.7)}), "4.60 [2.80, 7.70]"},
		{Interval(&judge.Interval{Value: p(1.02)}), "1.02 [0, ∞]"}, {Interval(&judge.Interval{Value: p(0.012), Low: p(0), High: p(140)}), "0.012 [0, 140]"},
		{Figure(judge.MetricReport{}, judge.SideReport{N: 3}), "no data"},
		{Figure(judge.MetricReport{Kind: judge.Proportion}, judge.SideReport{N: 28114, Value: p(0.0041)}), "0.41% of 28114"},
		{Figure(judge.MetricReport{Kind: judge.Latency, Unit: "s"}, judge.SideReport{N: 2000, Value: p(0.0845)}), "84.5 ms of 2000"},
		{Figure(judge.MetricReport{Kind: judge.Gauge}, judge.SideReport{N: 9, Value: p(12.34)}), "12.3"},
		{Figure(judge.MetricReport{Kind: judge.Gauge, Unit: "B"}, judge.SideReport{N: 9, Value: p(49_283_072)}), "47 MiB"},
		{Figure(judge.MetricReport{Kind: judge.Gauge, Unit: "cores"}, judge.SideReport{N: 9, Value: p(0.31)}), "0.31 cores"},
		{Figure(judge.MetricReport{Kind: judge.Rate, Unit: "per unit"}, judge.SideReport{N: 9, Value: p(0.31)}), "0.31 per unit"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, expected %q", c.got, c.want)
		}
	}
}

func TestPlanSentences(t *testing.T) {
	hold := release.Step{Weight: 500, Capacity: 500, Hold: 3 * time.Minute, MinRequests: 1, Require: release.NoHarm, Mirror: 100,
		Matches: []release.Match{{Path: "/beta"}}, Gates: []release.Gate{{Name: "qa", Kind: release.GatePerson}}}
	proof := release.Step{Weight: 5000, Capacity: 5000, MinRequests: 100, Require: release.Proven}
	rel := release.Release{Name: "hello", Version: v2, Replicas: 4,
		Strategy: release.Strategy{Kind: release.Canary, Steps: []release.Step{hold, proof}, Bake: 500 * time.Millisecond},
		Analysis: release.Analysis{FalseRollback: 0.01, Metrics: []release.Metric{{Name: "errors"}, {Name: "latency"}}}}
	v3 := release.Version{ID: "3333333333", Name: "v3"}
	run := func(to release.Version, phase rollout.Phase) *rollout.State {
		return &rollout.State{Stable: &v1, Run: &rollout.Run{To: to, Phase: phase}}
	}
	steps := []string{
		"A run from v1 to v2 would start.",
		"Step 1 of 3: 5% of the traffic, 1 of 4 instances, a copy of 1% of the requests, and the requests that match 1 rule, left when at least 3 min passed, at least 1 request was answered, nothing speaks against it, gate qa says yes.",
		"Step 2 of 3: 50% of the traffic, 2 of 4 instances, left when at least 100 requests were answered, every required metric is proven to be within its margin.",
		"Step 3 of 3: 100% of the traffic, 4 of 4 instances.",
		"Then v1 is kept ready for 500 ms, for an instant way back.",
		"Judged by errors, latency at every moment: a version that is no worse is rolled back with a chance of at most 1.0% in the whole run.",
	}
	one := rel
	one.Replicas, one.Version = 1, v1
	back := rel
	back.Version = v1
	rejected := run(v2, rollout.RolledBack)
	rejected.Rejected = v2.ID
	for name, c := range map[string]struct {
		rel  release.Release
		st   *rollout.State
		want []string
	}{
		"first":      {one, nil, []string{"v1 would start as the first version with 1 instance and serve all of the traffic once ready; there is nothing to compare it with."}},
		"change":     {rel, &rollout.State{Stable: &v1}, steps},
		"same":       {back, run(v1, rollout.Promoted), []string{"v1 serves already: no run would start."}},
		"back":       {back, run(v2, rollout.Progressing), []string{"The run to v2 would be aborted: v1 is what serves."}},
		"under way":  {rel, run(v2, rollout.Progressing), []string{"The run to v2 goes on with the plan that it began with; a changed strategy or analysis holds from the next run on."}},
		"third":      {rel, run(v3, rollout.Baking), append([]string{"The run to v3 would end first: its traffic goes back to v1."}, steps...)},
		"rejected":   {rel, rejected, []string{"v2 was rolled back before: it would not start again by itself; ask with `haldane retry`."}},
		"no metrics": {func() release.Release { r := rel; r.Analysis.Metrics = nil; return r }(), &rollout.State{Stable: &v1}, append(append([]string{}, steps[:5]...), "No metric is declared: nothing is judged.")},
	} {
		got := Plan(c.rel, c.st)
		for i := range max(len(got), len(c.want)) {
			switch {
			case i >= len(got):
				t.Errorf("%s: missing %q", name, c.want[i])
			case i >= len(c.want):
				t.Errorf("%s: superfluous %q", name, got[i])
			case got[i] != c.want[i]:
				t.Errorf("%s:\n%s\nexpected\n%s", name, got[i], c.want[i])
			case wellFormed(got[i]) != nil:
				t.Errorf("%s: %q: %v", name, got[i], wellFormed(got[i]))
			}
		}
	}
}
