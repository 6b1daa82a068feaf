package sim

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
)

// mutants are cores with one fault each, and the law that must notice it.
var mutants = []struct {
	name   string
	law    int
	decide decide
}{
	{"loses a share", 1, func(in rollout.Input) rollout.Decision {
		d := rollout.Decide(in)
		if len(d.Split.Shares) > 1 {
			d.Split.Shares = d.Split.Shares[:1]
		}
		return d
	}},
	{"rises without instances", 2, func(in rollout.Input) rollout.Decision {
		in.FleetStale, in.Fleet = false, nil
		for _, v := range []release.VersionID{"v1", "v2", "v3", "v4"} {
			in.Fleet = append(in.Fleet, rollout.ObservedGroup{Version: v, Ready: 9, Total: 9})
		}
		return rollout.Decide(in)
	}},
	{"trusts old evidence", 2, func(in rollout.Input) rollout.Decision {
		if !in.Evidence.Newest.IsZero() && in.Evidence.Missing == "" {
			in.Evidence.Newest = in.Now
		}
		return rollout.Decide(in)
	}},
	{"goes on after a failing verdict", 3, func(in rollout.Input) rollout.Decision {
		in.Evidence.Report.Verdict = judge.Inconclusive
		return rollout.Decide(in)
	}},
	{"goes back only when stable is ready", 3, func(in rollout.Input) rollout.Decision {
		s := in.State.Stable
		if s != nil && in.Evidence.Report.Verdict == judge.Fail {
			i := slices.IndexFunc(in.Fleet, func(g rollout.ObservedGroup) bool { return g.Version == s.ID })
			if i < 0 || in.Fleet[i].Ready < in.Release.Replicas {
				in.Evidence.Report.Verdict = judge.Inconclusive
			}
		}
		return rollout.Decide(in)
	}},
	{"stops what still serves", 4, func(in rollout.Input) rollout.Decision {
		d := rollout.Decide(in)
		d.Fleet = slices.DeleteFunc(d.Fleet, func(g rollout.Group) bool {
			return slices.ContainsFunc(d.State.Leaving, func(l rollout.Leaving) bool { return l.Version.ID == g.Version.ID })
		})
		return d
	}},
	{"takes silence for health", 5, func(in rollout.Input) rollout.Decision {
		in.Evidence.Newest, in.Evidence.Missing = in.Now, ""
		in.Evidence.Report.Canary += 1000
		return rollout.Decide(in)
	}},
	{"takes no verdict for proof", 5, func(in rollout.Input) rollout.Decision {
		if in.Evidence.Report.Verdict == judge.Inconclusive {
			in.Evidence.Report.Verdict = judge.Pass
		}
		return rollout.Decide(in)
	}},
	{"tells the same thing again", 6, func(in rollout.Input) rollout.Decision {
		d := rollout.Decide(in)
		if d.State.Run != nil && d.State.Run.Phase == rollout.Progressing {
			d.Events = append(d.Events, rollout.Event{Reason: "StepStarted"})
		}
		return d
	}},
	{"never lets go of the old version", 7, func(in rollout.Input) rollout.Decision {
		in.Split.Pending = true
		return rollout.Decide(in)
	}},
	{"answers every intent twice", 7, func(in rollout.Input) rollout.Decision {
		d := rollout.Decide(in)
		d.Consumed = append(d.Consumed, d.Consumed...)
		return d
	}},
	{"does not wait until the second version's traffic is gone", 8, func(in rollout.Input) rollout.Decision {
		if s := in.State.Stable; s != nil && in.State.Run != nil && in.State.Run.Phase == rollout.RollingBack {
			in.Split = rollout.ObservedSplit{Known: true, Split: release.Split{Rest: s.ID, Shares: []release.Share{{Version: s.ID, Weight: release.Full}}}}
		}
		return rollout.Decide(in)
	}},
	{"hears no abort", 9, func(in rollout.Input) rollout.Decision {
		var aborts []rollout.IntentAnswer
		in.Intents = slices.DeleteFunc(slices.Clone(in.Intents), func(i rollout.Intent) bool {
			if i.Verb == rollout.AskAbort {
				aborts = append(aborts, rollout.IntentAnswer{ID: i.ID, Message: "no"})
			}
			return i.Verb == rollout.AskAbort
		})
		d := rollout.Decide(in)
		d.Consumed = append(d.Consumed, aborts...)
		return d
	}},
	{"rises in a pause", 9, func(in rollout.Input) rollout.Decision {
		if r := in.State.Run; r != nil && r.Paused != nil {
			awake := *r
			awake.Paused = nil
			in.State.Run = &awake
		}
		return rollout.Decide(in)
	}},
	{"keeps a spare instance at rest", 10, func(in rollout.Input) rollout.Decision {
		d := rollout.Decide(in)
		if r := d.State.Run; r != nil && r.Phase == rollout.Promoted && len(d.Fleet) == 1 {
			d.Fleet[0].Replicas++
		}
		return d
	}},
}

// TestLawsNoticeMutants shows that the laws can fail: every faulty core breaks
// the law that guards against its fault.
func TestLawsNoticeMutants(t *testing.T) {
	if racing {
		t.Skip("the same code as in TestLaws: a race would be found there")
	}
	for _, m := range mutants {
		t.Run(strings.ReplaceAll(m.name, " ", "_"), func(t *testing.T) {
			s, what := broken(3000, m.decide, m.law)
			if what == nil {
				t.Fatalf("law %d did not notice in 3000 worlds", m.law)
			}
			i := slices.IndexFunc(what, func(b string) bool { return strings.HasPrefix(b, fmt.Sprintf("law %d:", m.law)) })
			t.Logf("world %d: %s", s, what[i])
		})
	}
}
