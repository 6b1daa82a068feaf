package rollout

import (
	"fmt"
	"slices"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// gatesSaidYes: every person and webhook of the step has said yes. A yes is
// remembered in the run, so that nobody is asked twice.
func (d *decider) gatesSaidYes() (bool, string) {
	r, reason := d.run(), ""
	for _, g := range d.step().Gates {
		if g.Kind == release.GateWindow || slices.Contains(r.Passed, g.Name) {
			continue
		}
		a := d.answer(g)
		if a.Yes {
			r.Passed = append(r.Passed, g.Name)
			d.event("Approved", fmt.Sprintf("gate %s of step %d said yes", g.Name, r.Step+1), false)
			continue
		}
		why := d.unanswered(g, a)
		if reason == "" {
			reason = why
		}
	}
	return reason == "", reason
}

func (d *decider) unanswered(g release.Gate, a GateAnswer) string {
	r := d.run()
	if g.Kind == release.GatePerson {
		d.note("AwaitingApproval", fmt.Sprintf("step %d of %d is done: %s waits for a person to say promote", r.Step+1, len(r.Plan.Steps), g.Name), false)
		return fmt.Sprintf("gate %s waits for a person to say promote", g.Name)
	}
	d.ask = append(d.ask, g)
	if a.Gate == "" {
		return fmt.Sprintf("gate %s has not answered yet", g.Name)
	}
	d.note("GateClosed", fmt.Sprintf("gate %s of step %d said no: %s", g.Name, r.Step+1, a.Reason), true)
	return fmt.Sprintf("gate %s said no: %s", g.Name, a.Reason)
}

// answer is what a gate of the step that the input speaks of said.
func (d *decider) answer(g release.Gate) GateAnswer {
	if d.blind {
		return GateAnswer{}
	}
	for _, a := range d.in.Gates {
		if a.Gate == g.Name {
			return a
		}
	}
	return GateAnswer{}
}

// windowOpen: every window of the step is open now. It is not remembered.
func (d *decider) windowOpen() (bool, string) {
	for _, g := range d.step().Gates {
		if g.Kind != release.GateWindow || g.Window == nil {
			continue
		}
		open, next, err := windowAt(*g.Window, d.now)
		switch {
		case err != nil:
			return false, fmt.Sprintf("gate %s can not be read: %v", g.Name, err)
		case !open && next.IsZero():
			return false, fmt.Sprintf("gate %s never opens", g.Name)
		case !open:
			d.wakeAt(next)
			return false, fmt.Sprintf("gate %s opens on %s", g.Name, next.Format("Mon 2 Jan at 15:04 MST"))
		}
	}
	return true, ""
}

// windowAt reports whether a weekly window is open and, when it is not, when it
// opens next (zero: not within eight days). A window whose end is not after its
// begin reaches into the next day; its days are those on which it begins.
func windowAt(w release.Window, now time.Time) (open bool, next time.Time, err error) {
	zone, err := time.LoadLocation(w.Zone)
	if err != nil {
		return false, time.Time{}, err
	}
	from, err := time.Parse("15:04", w.From)
	if err != nil {
		return false, time.Time{}, err
	}
	to, err := time.Parse("15:04", w.To)
	if err != nil {
		return false, time.Time{}, err
	}
	local := now.In(zone)
	for i := -1; i <= 8; i++ {
		begin := time.Date(local.Year(), local.Month(), local.Day()+i, from.Hour(), from.Minute(), 0, 0, zone)
		end := time.Date(local.Year(), local.Month(), local.Day()+i, to.Hour(), to.Minute(), 0, 0, zone)
		if !end.After(begin) {
			end = end.AddDate(0, 0, 1)
		}
		switch {
		case len(w.Days) > 0 && !slices.Contains(w.Days, begin.Weekday()):
		case !now.Before(begin) && now.Before(end):
			return true, time.Time{}, nil
		case begin.After(now):
			return false, begin, nil
		}
	}
	return false, time.Time{}, nil
}
