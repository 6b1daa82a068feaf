package rollout

import (
	"fmt"

	"github.com/haldane-project/haldane/internal/judge"
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

// instancesLost takes the traffic off a canary that has no instance left. Some
// that are left keep the share: it does not rise, and when they stay too few
// for the time that instances may take to get ready the run goes back
// (capacity.go). A stable version without instances sends nothing to the
// canary by itself: only the router's own fallback does.
func (d *decider) instancesLost() bool {
	r := d.run()
	if r.From == nil || r.Phase == Preparing || d.in.FleetStale || d.ready(r.To.ID) > 0 {
		return false
	}
	if s := d.step(); s.Weight == 0 && s.Mirror == 0 && len(s.Matches) == 0 {
		return false // nothing is lost; capacity.go has the deadline
	}
	why := fmt.Sprintf("none of its instances is ready while it has %s of the traffic", percent(d.step().Weight))
	if e := d.group(r.To.ID).Error; e != "" {
		why += ": " + e
	}
	d.rollBack(RolledBack, CauseDied, why, "")
	return true
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
