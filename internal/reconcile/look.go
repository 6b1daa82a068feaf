package reconcile

import (
	"context"
	"time"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
)

// settled is a pass that changed nothing: what it observed holds until something
// is told or its time has come, so that evidence alone can be decided on with it.
type settled struct {
	in    rollout.Input // with the state that was decided, which is in force
	split release.Split
	fleet []rollout.Group
}

// keep remembers a pass that changed nothing and could do all that it wanted.
func (w *worker) keep(o observation, d rollout.Decision, acted bool, err error) {
	if err != nil || acted || w.session == nil || o.in.FleetStale || len(o.in.Intents)+len(d.Events)+len(d.Consumed) > 0 ||
		!sameState(o.in.State, d.State, false) {
		return
	}
	w.settled = &settled{in: o.in, split: d.Split, fleet: d.Fleet}
	w.settled.in.State = d.State
}

// look takes in the evidence that woke it and decides on it with what the pass
// before observed. Where the decision is the same there is nothing to do, and due
// is when the next pass is to be made (zero: when something happens); otherwise,
// and wherever more than evidence may have changed, it is for a pass to observe
// everything anew. It writes nothing and moves no traffic.
func (r *Reconciler) look(ctx context.Context, w *worker) (due time.Time, same bool) {
	was := w.settled
	if was == nil || w.session == nil || len(w.dirty) > 0 {
		return time.Time{}, false
	}
	o := observation{in: was.in}
	o.in.Now = r.Now()
	if r.savesAt(w, o.in.Now) {
		return time.Time{}, false
	}
	if err := w.session.read(ctx, &o.in); err != nil {
		w.session.refused = err // for the pass to tell
		return time.Time{}, false
	}
	o.in.Evidence = w.session.evidence(o.in.State.Run)
	d := rollout.Decide(o.in)
	if len(w.session.events(o.in.Now)) > 0 || !was.still(d) {
		return time.Time{}, false
	}
	return r.wake(w, d, o, false), true
}

// still reports whether a decision changes nothing and tells nothing either.
func (s *settled) still(d rollout.Decision) bool {
	return len(d.Events)+len(d.Consumed)+len(d.Ask) == 0 && !d.Gone &&
		sameState(s.in.State, d.State, false) && sameSplit(s.split, d.Split) && equalJSON(s.fleet, d.Fleet)
}

// savesAt reports whether the judge's state is to be saved again.
func (r *Reconciler) savesAt(w *worker, now time.Time) bool {
	return now.Sub(w.savedJudge) >= r.SaveEvery || now.Before(w.savedJudge)
}
