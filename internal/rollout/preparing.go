package rollout

import "fmt"

// preparing waits for the instances that the first step needs. Nothing else is
// asked before the first rise from no traffic. The deadline counts from the
// start and not from the last instance that flapped.
func (d *decider) preparing() bool {
	r := d.run()
	first := d.first()
	need := d.needOf(r.Plan.Steps[first])
	if r.Paused == nil && d.hasReady(r.To.ID, need) {
		d.enterStep(first)
		return true
	}
	if g := d.group(r.To.ID); !d.in.FleetStale && g.Blocked && g.Ready == 0 {
		return d.notReady(need, g.Error)
	}
	if r.Plan.ReadyDeadline > 0 && r.Paused == nil && d.over(&r.Since, r.Plan.ReadyDeadline) {
		if r.From == nil && d.ready(r.To.ID) > 0 {
			d.enterStep(first) // some instance is better than nothing that serves
			return true
		}
		return d.notReady(need, d.group(r.To.ID).Error)
	}
	d.wait(rulePaused, rule{name: "capacity", check: func(d *decider) (bool, string) {
		return false, d.waitsForInstances(r.To.ID, need)
	}})
	return false
}

// first is the step that the run begins with.
func (d *decider) first() int {
	if d.run().SkipAll {
		return len(d.run().Plan.Steps) - 1
	}
	return 0
}

// notReady ends a run whose instances did not come.
func (d *decider) notReady(need int, cause string) bool {
	r := d.run()
	why := fmt.Sprintf("%d of %s ready after %s", d.ready(r.To.ID), count(need, "instance was", "instances were"), span(d.now.Sub(r.Since)))
	if cause != "" {
		why += ": " + cause
	}
	d.rollBack(RolledBack, CauseNotReady, why, "")
	return true
}

// enterStep begins a step of the plan. Everything that must hold before a rise
// was checked by the caller.
func (d *decider) enterStep(i int) {
	r := d.run()
	back, vouched := -1, r.Skip || r.SkipAll
	if r.Phase == Progressing {
		back = r.Step
	}
	d.enter(Progressing, i, "the router is told of the step's split")
	r.Back, r.Vouched = back, vouched
	s := d.step()
	msg := fmt.Sprintf("step %d of %d: %s of the traffic to %s", i+1, len(r.Plan.Steps), percent(s.Weight), r.To.Name)
	if s.Mirror > 0 {
		msg += fmt.Sprintf(", %s copied", percent(s.Mirror))
	}
	if n := len(s.Matches); n > 0 {
		msg += fmt.Sprintf(", and what %s", count(n, "rule matches", "rules match"))
	}
	if n := d.evidence().Report.Canary; n > 0 {
		msg += fmt.Sprintf(" (%s of its requests seen so far)", thousands(n))
	}
	d.event("StepStarted", msg, false)
}
