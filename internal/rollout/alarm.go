package rollout

import (
	"fmt"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
)

// alarms can end or pause a run in every phase in which its version may have
// traffic. They come before the plan, and a pause holds none of them up.
var alarms = []struct {
	name  string
	check func(*decider) bool // true: the run's phase changed
}{
	{"verdict", (*decider).verdictFailed},
	{"instances", (*decider).instancesLost},
	{"spec", (*decider).specMoved},
	{"backing", (*decider).riseUnbacked},
	{"pause", (*decider).judgeAsksPause},
}

func (d *decider) alarmed() bool {
	for _, a := range alarms {
		if a.check(d) {
			return true
		}
	}
	return false
}

func (d *decider) verdictFailed() bool {
	e := d.evidence()
	if d.run().From == nil || e.Report.Verdict != judge.Fail {
		return false
	}
	why := e.Report.Reason
	if why == "" {
		why = "the evidence says that it is worse"
	}
	d.rollBack(RolledBack, CauseVerdict, why, "")
	return true
}

// maxRestarts bounds how often the loss of both versions' instances is not held
// against the canary.
const maxRestarts = 10

// instancesLost takes the traffic off a canary that has no instance left. Some
// that are left keep the share: it does not rise, and when they stay too few
// for the time that instances may take to get ready the run goes back
// (capacity.go). A stable version without instances sends nothing to the
// canary by itself: only the router's own fallback does. When both versions
// have none, the machine or the runtime was restarted: the run prepares anew
// and its share begins from the first step.
func (d *decider) instancesLost() bool {
	r := d.run()
	if r.From == nil || r.Phase == Preparing || d.in.FleetStale || d.ready(r.To.ID) > 0 {
		return false
	}
	s := d.step()
	if s.Weight == 0 && s.Mirror == 0 && len(s.Matches) == 0 {
		return false // nothing is lost; capacity.go has the deadline
	}
	if d.ready(r.From.ID) == 0 && d.stableReplicas() > 0 && r.Restarts < maxRestarts {
		why := "no instance of either version is ready"
		d.event("RunRestarted", fmt.Sprintf("%s: %s; its share begins anew once they are", r.To.Name, why), true)
		r.Restarts++
		d.enter(Preparing, 0, why)
		return true
	}
	why := fmt.Sprintf("none of its instances is ready while it has %s of the traffic", percent(s.Weight))
	if e := d.group(r.To.ID).Error; e != "" {
		why += ": " + e
	}
	d.rollBack(RolledBack, CauseDied, why, "")
	return true
}

// riseUnbacked puts off a share that was decided but is not in force, when what
// it was decided on no longer holds: the controller or the router was away in
// between. Otherwise the split would rise on the word of an earlier hour.
func (d *decider) riseUnbacked() bool {
	r := d.run()
	if r.From == nil || r.Phase == Preparing || d.inForce() || !d.in.Split.Known && !r.Entered.IsZero() {
		return false
	}
	why := d.unbacked()
	if why == "" {
		return false
	}
	d.event("StepPutOff", fmt.Sprintf("%s of the traffic to %s was not in force yet: %s", percent(d.step().Weight), r.To.Name, why), true)
	back, vouched := r.Back, r.Vouched
	if back < 0 || r.Phase == Baking {
		d.enter(Preparing, 0, why)
		return true
	}
	d.enterStep(back)
	r.Back, r.Skip = -1, vouched
	return true
}

// unbacked says what the step's share lacks: instances that are ready and, but
// for the first rise and for one that a person answers for, fresh evidence.
func (d *decider) unbacked() string {
	r := d.run()
	need := d.needOf(d.step())
	if !d.hasReady(r.To.ID, need) {
		return d.waitsForInstances(r.To.ID, need)
	}
	if r.Phase == Baking || r.Back < 0 || r.Vouched || r.Extra {
		return ""
	}
	if was := r.Plan.Steps[r.Back]; was.Weight == 0 && was.Require == release.None {
		return ""
	}
	e := d.evidence()
	age := d.now.Sub(e.Newest)
	if e.Missing == "" && age <= freshFor && age >= -freshFor {
		return ""
	}
	return "there is no fresh evidence"
}

// specMoved ends a run that the spec no longer wants. A run that a person asked
// for (back to an earlier version) goes on: its end comes first, since the
// version that it takes the traffic from must not get it back.
func (d *decider) specMoved() bool {
	r := d.run()
	want := d.in.Release.Version
	if want.ID == r.To.ID || want.ID == "" {
		return false
	}
	if r.From == nil {
		if r.Phase != Preparing {
			return false // it begins to serve; the next run compares with it
		}
		d.rollBack(Superseded, CauseSuperseded, fmt.Sprintf("the spec wants %s now", want.Name), "")
		return true
	}
	if r.Extra {
		return false
	}
	if want.ID == r.From.ID {
		d.rollBack(Aborted, CausePerson, fmt.Sprintf("the spec went back to %s", want.Name), "")
	} else {
		d.rollBack(Superseded, CauseSuperseded, fmt.Sprintf("the spec wants %s now", want.Name), "")
	}
	return true
}

// judgeAsksPause waits for a person when a finding is to be looked at.
func (d *decider) judgeAsksPause() bool {
	r := d.run()
	if p := d.evidence().Report.Pause; p != "" && r.Paused == nil && !r.Overruled && !r.Skip {
		d.pause(p, false)
	}
	return false
}
