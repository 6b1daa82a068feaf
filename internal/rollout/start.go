package rollout

import (
	"fmt"

	"github.com/haldane-project/haldane/internal/release"
)

// idle begins a run when the spec wants a version that does not serve.
//
// The first version ever has nothing to be compared with: it gets all of the
// traffic once it is ready. When it does not get ready in time its run ends as
// rolled back, but its instances are kept, since nothing better serves; they
// begin a run anew as soon as one of them is ready.
func (d *decider) idle() bool {
	want := d.wish()
	if want == nil || d.kept() != nil && d.ready(want.ID) == 0 {
		return false
	}
	plan := d.in.Release.Strategy.Compile(d.in.Release.Analysis, d.in.Release.Replicas)
	direct := d.state.Stable == nil || d.servedJustBefore(*want)
	if direct {
		plan = d.direct()
	}
	d.begin(*want, plan, direct)
	return true
}

// servedJustBefore reports whether a version is the one before stable, and was
// so until less than the rollback window ago.
func (d *decider) servedJustBefore(v release.Version) bool {
	r, window := d.run(), d.in.Release.Strategy.RollbackWindow
	return r != nil && r.Phase == Promoted && r.From != nil && r.From.ID == v.ID && d.since(&r.Ended) < window
}

// kept is the first version whose run ended because it was never ready, while
// the spec still wants it.
func (d *decider) kept() *release.Version {
	r := d.run()
	if d.state.Stable != nil || r == nil || r.From != nil || r.Phase != RolledBack || r.Cause != CauseNotReady || r.To.ID != d.in.Release.Version.ID {
		return nil
	}
	return &r.To
}

// direct is the plan of a run that needs no evidence: all of the traffic once
// the capacity for it is ready.
func (d *decider) direct() release.Plan {
	s := d.in.Release.Strategy
	return release.Plan{
		Kind: s.Kind, Steps: []release.Step{release.FullStep()}, Bake: s.Bake,
		OnInconclusive: s.OnInconclusive, ReadyDeadline: s.ReadyDeadline,
	}
}

// begin starts a run from stable.
func (d *decider) begin(to release.Version, plan release.Plan, extra bool) {
	if was := d.in.State.Run; was != nil && !was.Phase.Ended() {
		d.ended = append(d.ended, *d.run())
	}
	d.state.RunSeq++
	d.state.Run = &Run{
		ID:   fmt.Sprintf("%s-%d", d.in.Release.Name, d.state.RunSeq),
		From: d.state.Stable, To: to, Plan: plan, Started: d.now, Extra: extra,
		Analysis: d.in.Release.Analysis,
	}
	d.stay(to.ID)
	d.enter(Preparing, 0, d.waitsForInstances(to.ID, d.needOf(plan.Steps[0])))
	d.event("RunStarted", d.startSentence(), false)
	d.events[len(d.events)-1].By = d.by
	d.by = ""
}

func (d *decider) startSentence() string {
	r := d.run()
	if r.From == nil {
		return fmt.Sprintf("%s starts as the first version: it gets all of the traffic once %s ready", r.To.Name, count(d.needOf(r.Plan.Steps[0]), "instance is", "instances are"))
	}
	weights := ""
	for i, s := range r.Plan.Steps {
		if i > 0 {
			weights += ", "
		}
		weights += percent(s.Weight)
	}
	return fmt.Sprintf("%s is to replace %s in %s: %s", r.To.Name, r.From.Name, count(len(r.Plan.Steps), "step", "steps"), weights)
}
