package reconcile

import (
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
)

// TestCountsAreHeldAgainstASteadyShareOnly: nothing that was counted while another
// share was in force, or may have been, or while something else than the share
// sent requests to the canary.
func TestCountsAreHeldAgainstASteadyShareOnly(t *testing.T) {
	begin := time.Unix(10_000, 0)
	after := func(s float64) time.Time { return begin.Add(time.Duration(s * float64(time.Second))) }
	split := release.Split{Rest: "v1", Shares: []release.Share{{Version: "v1", Weight: 9000}, {Version: "v2", Weight: 1000}}}
	other := release.Split{Rest: "v1", Shares: []release.Share{{Version: "v1", Weight: 5000}, {Version: "v2", Weight: 5000}}}
	run := &rollout.Run{Started: begin, To: release.Version{ID: "v2"}}
	counted := func(from float64) []metric.Counted {
		return []metric.Counted{{From: after(from), To: after(from + 1), Canary: 10, Stable: 90}}
	}
	held := func(analysis release.Analysis, from float64, looks ...rollout.ObservedSplit) int {
		var s steady
		run.Analysis = analysis
		in := &rollout.Input{State: rollout.State{Run: run}}
		for i, o := range looks { // ten seconds apart
			in.Now, in.Split = after(float64(10*i)), o
			s.observe(in)
		}
		return len(s.batches(counted(from), run, in.Now))
	}
	steady, now := rollout.ObservedSplit{Known: true, Split: split}, rollout.ObservedSplit{Known: true, Split: other}
	mirrored, matched := split, split
	mirrored.Mirror = &release.Mirror{Version: "v2", Share: 100}
	matched.Matched = []release.Matched{{Version: "v2"}}
	bursts := release.Analysis{Metrics: []release.Metric{{Name: "errors", Bursts: time.Second}}}
	for name, c := range map[string]struct {
		analysis release.Analysis
		from     float64
		looks    []rollout.ObservedSplit
		want     int
	}{
		"a steady share":             {from: 15, looks: []rollout.ObservedSplit{steady, steady, steady}, want: 1},
		"too early":                  {from: 9, looks: []rollout.ObservedSplit{steady, steady, steady}},
		"another share came":         {from: 15, looks: []rollout.ObservedSplit{steady, steady, now}},
		"not in force yet":           {from: 15, looks: []rollout.ObservedSplit{steady, {Known: true, Pending: true, Split: split}, steady}},
		"the router was not asked":   {from: 15, looks: []rollout.ObservedSplit{steady, {Split: split}, steady}},
		"pods decide":                {from: 15, looks: []rollout.ObservedSplit{{Known: true, Split: split, Real: other.Shares}}},
		"nothing parts the versions": {from: 15, looks: []rollout.ObservedSplit{{Known: true, Split: split, Open: true}}},
		"copies":                     {from: 15, looks: []rollout.ObservedSplit{{Known: true, Split: mirrored}}},
		"requests that match":        {from: 15, looks: []rollout.ObservedSplit{{Known: true, Split: matched}}},
		"users keep their version":   {analysis: release.Analysis{PerUser: true}, from: 15, looks: []rollout.ObservedSplit{steady, steady, steady}},
		"failures come in bursts":    {analysis: bursts, from: 15, looks: []rollout.ObservedSplit{steady, steady, steady}},
	} {
		if got := held(c.analysis, c.from, c.looks...); got != c.want {
			t.Errorf("%s: %d batches, want %d", name, got, c.want)
		}
	}
}
