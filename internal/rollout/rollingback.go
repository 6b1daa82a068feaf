package rollout

import (
	"fmt"
	"strings"
)

// rollBack takes the canary's traffic away in this very decision. Nothing is
// asked before: not whether stable is ready, not whether instances can be
// started or stopped. The canary's instances stay until its share is observed
// to be gone.
//
// A first version that was never ready has no traffic and nothing to go back
// to: its run ends, its instances are kept (start.go).
func (d *decider) rollBack(outcome Phase, cause Cause, why, by string) {
	r := d.run()
	had, waiting := d.canaryReplicas(), r.Phase == Preparing
	r.Outcome, r.Cause = outcome, cause
	d.event(endReason(outcome), d.backSentence(why), outcome != Superseded)
	d.events[len(d.events)-1].By = by
	if r.From == nil && cause == CauseNotReady {
		r.Why = why
		d.end(RolledBack)
		return
	}
	d.leave(r.To, had)
	d.enter(RollingBack, r.Step, why)
	r.Paused = nil
	if waiting {
		r.Noted = []string{"TrafficOff"} // it never had any
	}
	if outcome != Superseded && r.To.ID == d.in.Release.Version.ID {
		d.state.Rejected = r.To.ID
	}
}

func endReason(outcome Phase) string {
	switch outcome {
	case Aborted:
		return "RunAborted"
	case Superseded:
		return "RunSuperseded"
	}
	return "RunRolledBack"
}

func (d *decider) backSentence(why string) string {
	r := d.run()
	s, verb := fmt.Sprintf("%s: %s", r.To.Name, strings.TrimSuffix(why, ".")), "goes back to"
	if r.Phase == Preparing {
		verb = "stays with"
	}
	if r.From != nil {
		s += fmt.Sprintf("; all of the traffic %s %s", verb, r.From.Name)
	}
	if e := d.evidence().Report; e.Canary > 0 {
		s += fmt.Sprintf(" (%s answered %s in the run)", r.To.Name, count(int(e.Canary), "request", "requests"))
	}
	return s
}

// rollingBack ends once the canary's share is gone and its instances have
// stopped. When the spec wants a version to run, it ends as soon as the share
// is gone: the instances drain without the run.
func (d *decider) rollingBack() bool {
	r := d.run()
	if r.TrafficOff.IsZero() && d.off(r.To.ID) {
		r.TrafficOff = d.now
		d.note("TrafficOff", fmt.Sprintf("%s has no share of the traffic, %s after the decision", r.To.Name, span(d.since(&r.Since))), false)
	}
	if r.TrafficOff.IsZero() {
		return false
	}
	if d.stopped(r.To.ID) || r.Outcome == Superseded || d.wish() != nil {
		d.end(r.Outcome)
		return true
	}
	return false
}
