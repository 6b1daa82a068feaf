package rollout

import (
	"fmt"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// progressing stays in a step until every rule (rules.go) allows to leave it.
func (d *decider) progressing() bool {
	r := d.run()
	d.observeStep()
	if d.deadlinePassed() {
		return true
	}
	if blocked := d.wait(stepRules...); blocked != "" {
		r.Ahead = r.Ahead || blocked == "capacity"
		d.watchCapacity()
		return !d.active() || r.Phase != Progressing
	}
	if d.last() {
		return d.leaveLast()
	}
	d.enterStep(d.next())
	return true
}

// observeStep notes when the step's split was first seen in force: the hold
// and the step's requests count from then.
func (d *decider) observeStep() {
	r := d.run()
	if n := d.evidence().Report.Canary; n < r.StepBase {
		r.StepBase = n // the judge began anew
	}
	if !r.Entered.IsZero() {
		d.since(&r.Entered)
		return
	}
	if d.inForce() {
		r.Entered = d.now
		r.StepBase = d.evidence().Report.Canary
	}
}

func (d *decider) last() bool { return d.run().Step >= len(d.run().Plan.Steps)-1 }

// next is the step after this one.
func (d *decider) next() int {
	if d.run().SkipAll {
		return len(d.run().Plan.Steps) - 1
	}
	return min(d.run().Step+1, len(d.run().Plan.Steps)-1)
}

func (d *decider) nextStep() release.Step { return d.run().Plan.Steps[d.next()] }

// rises reports whether leaving the step raises the canary's share.
func (d *decider) rises() bool { return d.nextStep().Weight > d.step().Weight }

// deadlinePassed ends a step that had its time: by a pause, or by the way back.
// A step that waits for a person, a webhook, a window or instances is not
// ended: its verdict is there, and instances have a deadline of their own.
func (d *decider) deadlinePassed() bool {
	r := d.run()
	limit := d.step().Deadline
	if limit <= 0 || r.Paused != nil || !d.over(&r.Since, limit) {
		return false
	}
	name, reason := d.blockedBy(evidenceRules)
	if name == "" {
		return false
	}
	why := fmt.Sprintf("no verdict after %s in the step: %s", span(limit), reason)
	if r.Plan.OnInconclusive == release.RollBackRun {
		d.rollBack(RolledBack, CauseDeadline, why, "")
		return true
	}
	d.event("Inconclusive", why, true)
	d.pause(why, false)
	return false
}

// leaveLast has all of the traffic on the new version: the old one is kept for
// the time of the bake. The first version has no old one.
func (d *decider) leaveLast() bool {
	r := d.run()
	if r.From == nil {
		d.promote()
		d.promoted()
		return true
	}
	d.enter(Baking, r.Step, "")
	r.Entered, r.SkipAll = d.now, false
	if r.Plan.Bake > 0 {
		d.event("BakeStarted", fmt.Sprintf("all of the traffic goes to %s; %s is kept ready for %s", r.To.Name, r.From.Name, span(r.Plan.Bake)), false)
	}
	return true
}

// pause makes the run wait, because a person asked or because a rule did.
func (d *decider) pause(reason string, person bool) {
	d.run().Paused = &Pause{Since: d.now, Reason: reason, Person: person}
	d.event("RunPaused", reason, !person)
}

// resume lets the run go on; its deadlines begin anew.
func (d *decider) resume() {
	r := d.run()
	r.Paused, r.Overruled = nil, true
	r.Since, r.Short = d.now, time.Time{}
}
