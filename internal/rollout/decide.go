package rollout

import (
	"slices"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// Decide says what is wanted, given what was observed. It is total (any input
// gives a decision), deterministic, and reaches its fixed point in one call:
// deciding again on the same observations with the state that it returned
// changes nothing and tells nothing.
//
// The order is that of the laws: what a deletion asks, then what people ask
// (abort before pause before promote), then what is alarming (alarm.go), then
// the plan, one file per phase.
func Decide(in Input) Decision {
	d := &decider{in: in, now: in.Now, state: cloneState(in.State)}
	if in.Deleted {
		d.refuseAll("the release is being deleted")
		return d.deleting()
	}
	if d.state.Rejected != in.Release.Version.ID {
		d.state.Rejected = "" // the spec says something else now
	}
	d.answerIntents()
	for d.phase() {
	}
	return d.decision()
}

// decider is one decision in the making. Its methods are the only ones that
// change its state; they return true when a phase or step was entered, so that
// what follows is looked at in the same call.
type decider struct {
	in       Input
	now      time.Time
	state    State
	consumed []IntentAnswer
	events   []Event
	ended    []Run // in this call, and followed by another
	ask      []release.Gate
	wake     time.Time
	by       string // who asked for the run that starts now
	blind    bool   // a step was entered in this call: the gates' answers speak of the one before
}

func (d *decider) run() *Run { return d.state.Run }

// active reports whether a run is under way.
func (d *decider) active() bool { return d.run() != nil && !d.run().Phase.Ended() }

// phase lets the run's phase look at what was observed; true: look again.
func (d *decider) phase() bool {
	d.settleLeaving()
	if !d.active() {
		return d.idle()
	}
	switch d.run().Phase {
	case Preparing:
		return d.alarmed() || d.preparing()
	case Progressing:
		return d.alarmed() || d.progressing()
	case Baking:
		return d.alarmed() || d.baking()
	case Finishing:
		return d.finishing()
	default:
		return d.rollingBack()
	}
}

// decision reads what is wanted off the state.
func (d *decider) decision() Decision {
	split := d.split()
	d.trackPeak(split)
	return Decision{
		State:    d.state,
		Split:    split,
		Fleet:    d.fleet(),
		Consumed: d.consumed,
		Events:   d.events,
		Ended:    d.ended,
		Ask:      d.ask,
		Judge:    d.judged(),
		Wake:     d.wake,
	}
}

// judged reports whether the canary has requests that can be compared.
func (d *decider) judged() bool {
	r := d.run()
	if !d.active() || r.From == nil || r.Extra {
		return false
	}
	switch r.Phase {
	case Progressing:
		s := d.step()
		return s.Weight > 0 || s.Mirror > 0 || len(s.Matches) > 0
	case Baking:
		return true
	}
	return false
}

// step is the run's current step.
func (d *decider) step() release.Step { return d.run().Plan.Steps[d.run().Step] }

// mend makes a state that another version of the program kept one that can be
// decided on: a plan has steps, a run is in one of them and in a known phase.
func (s *State) mend() {
	r := s.Run
	if len(r.Plan.Steps) == 0 {
		r.Plan.Steps = []release.Step{release.FullStep()}
	}
	last := len(r.Plan.Steps) - 1
	r.Step, r.Back = min(max(r.Step, 0), last), min(r.Back, last)
	if !r.Outcome.Ended() {
		r.Outcome = Aborted
		if r.Phase != RollingBack {
			r.Outcome = ""
		}
	}
	switch r.Phase {
	case Preparing, Progressing, Finishing, RollingBack, Promoted, RolledBack, Aborted, Superseded:
	case Baking:
		if r.From == nil {
			r.Phase = Progressing
		}
	default:
		r.Phase, r.Step = Preparing, 0
	}
}

// evidence is the judge's word on the run that the input speaks of. A run that
// needs none, or that began in this call, has none.
func (d *decider) evidence() Evidence {
	if was := d.in.State.Run; d.run().Extra || was == nil || was.ID != d.run().ID {
		return Evidence{}
	}
	return d.in.Evidence
}

// wish is the version that the spec wants and stable is not, unless it was rejected.
func (d *decider) wish() *release.Version {
	v := &d.in.Release.Version
	if v.ID == "" || v.ID == d.state.Rejected || d.state.Stable != nil && v.ID == d.state.Stable.ID {
		return nil
	}
	return v
}

// wakeAt asks to look again at a time, the earliest of all that are asked for.
func (d *decider) wakeAt(t time.Time) {
	if t.After(d.now) && (d.wake.IsZero() || t.Before(d.wake)) {
		d.wake = t
	}
}

// since returns how long ago a time was; a clock that went back makes it zero
// and moves the time, so that nothing ends sooner than was seen to pass. A clock
// that leaps forward can not be told from time that passed.
func (d *decider) since(t *time.Time) time.Duration {
	if d.now.Before(*t) {
		*t = d.now
	}
	return d.now.Sub(*t)
}

// over reports whether a span that began at t has passed, and asks to be woken when it will.
func (d *decider) over(t *time.Time, span time.Duration) bool {
	if d.since(t) >= span {
		return true
	}
	d.wakeAt(t.Add(span))
	return false
}

func (d *decider) event(reason, message string, warning bool) {
	e := Event{At: d.now, Reason: reason, Message: message, Warning: warning}
	if d.run() != nil {
		e.Run = d.run().ID
	}
	d.events = append(d.events, e)
}

// note tells something once in a step.
func (d *decider) note(reason, message string, warning bool) {
	if r := d.run(); !slices.Contains(r.Noted, reason) {
		r.Noted = append(r.Noted, reason)
		d.event(reason, message, warning)
	}
}

// enter begins a phase or step.
func (d *decider) enter(p Phase, step int, why string) {
	r := d.run()
	r.Phase, r.Step, r.Why = p, step, why
	r.Since, r.Entered, r.Short = d.now, time.Time{}, time.Time{}
	r.Ahead, r.Skip, r.Overruled = false, false, false
	r.Passed, r.Noted = nil, nil
	r.StepBase = d.evidence().Report.Canary
	d.blind = true
}

// end ends the run.
func (d *decider) end(p Phase) {
	r := d.run()
	r.Phase, r.Ended, r.Paused = p, d.now, nil
}

func cloneState(s State) State {
	if s.Run != nil {
		r := *s.Run
		r.Passed, r.Noted = slices.Clone(r.Passed), slices.Clone(r.Noted)
		if r.Paused != nil {
			p := *r.Paused
			r.Paused = &p
		}
		s.Run = &r
		s.mend()
	}
	s.Earlier, s.Leaving = slices.Clone(s.Earlier), slices.Clone(s.Leaving)
	return s
}
