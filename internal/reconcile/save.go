package reconcile

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
)

// save writes what the pass changed, in one transaction; nothing changed,
// nothing is written. What may be lost waits for what may not (Ports.Defer).
func (r *Reconciler) save(ctx context.Context, w *worker, rec store.Record, o observation, d rollout.Decision) error {
	s := store.Save{Name: rec.Name, Revision: rec.Revision, State: d.State, Judge: rec.Judge, Cursor: rec.Cursor,
		Observed: r.observed(w, o, d), Events: slices.Concat(w.untold, d.Events), Ended: d.Ended, Consumed: d.Consumed, Gone: d.Gone}
	changed := d.Gone || !sameState(rec.State, d.State, r.Defer > 0) || len(d.Events)+len(d.Consumed) > 0
	if r.Defer > 0 && bakes(rec.State, d) {
		changed = false
	}
	if err := r.addEvidence(w, rec, o, changed, &s); err != nil {
		return err
	}
	if w.session != nil {
		s.Placebo = w.session.outcome(d)
	}
	if !changed && s.Look == nil && w.waits(r.Defer, rec, s) {
		w.untold = s.Events
		return nil
	}
	if _, err := r.Store.Save(ctx, s); err != nil {
		return fmt.Errorf("save release %s: %w", w.name, err)
	}
	w.forgetUnsaved()
	if w.session != nil {
		w.session.told()
	}
	if s.Look != nil {
		w.session.record.saved()
		w.savedJudge = o.in.Now
		if s.KeepLook {
			w.keptLook = o.in.Now
		}
	}
	return nil
}

// addEvidence adds the judge's state and the look, once a second and whenever
// the run changed.
func (r *Reconciler) addEvidence(w *worker, rec store.Record, o observation, changed bool, s *store.Save) error {
	if w.session == nil || rec.State.Run == nil || w.session.run != rec.State.Run.ID {
		return nil
	}
	now := o.in.Now
	if !changed && !r.savesAt(w, now) {
		return nil
	}
	state, err := w.session.snapshot()
	if err != nil {
		return fmt.Errorf("snapshot the judge of %s: %w", w.name, err)
	}
	if s.Evidence, err = w.session.record.lines(); err != nil {
		return err
	}
	s.Judge, s.Cursor = state, w.session.cursor
	rep := o.in.Evidence.Report
	s.Look = w.session.look(rec.State.Run, rep, o.in.Split.Of(rec.State.Run.To.ID), now)
	s.KeepLook = changed || now.Sub(w.keptLook) >= r.SaveEvery || now.Before(w.keptLook)
	return nil
}

func (r *Reconciler) observed(w *worker, o observation, d rollout.Decision) store.Observed {
	out := store.Observed{At: o.in.Now, Generation: o.in.Release.Generation, Fleet: o.in.Fleet, Split: d.Split}
	if real := o.in.Split.Real; len(real) > 0 && sameSplit(o.in.Split.Split, d.Split) {
		out.Split.Shares = real
	}
	err := o.err
	if err == nil {
		err = w.lastErr
	}
	if err != nil {
		out.Reason, out.Error = r.Explain(err)
	}
	return out
}

func sameObserved(a, b store.Observed) bool {
	a.At, b.At = time.Time{}, time.Time{}
	return equalJSON(a, b)
}

// waits reports whether a save that changes nothing of weight may wait, because
// it says what is saved or has not been due for long. Until it is made, the
// passes go on from what would have been saved.
func (w *worker) waits(bound time.Duration, rec store.Record, s store.Save) bool {
	if !equalJSON(wordless(rec.State), wordless(s.State)) {
		w.unsaved, w.unsavedAt = &s.State, rec.Revision
	}
	if w.unsaved == nil && sameObserved(rec.Observed, s.Observed) {
		w.differs = time.Time{}
		return true
	}
	now := s.Observed.At
	if w.differs.IsZero() || now.Before(w.differs) {
		w.differs = now
	}
	return now.Sub(w.differs) < bound
}

// goOn puts what was not saved yet into the record that it was decided from.
func (w *worker) goOn(rec *store.Record) {
	switch {
	case w.unsaved == nil:
	case w.unsavedAt == rec.Revision:
		rec.State = *w.unsaved
	default:
		w.unsaved, w.untold = nil, nil // what differs beside them still waits, since when it does
	}
}

func (w *worker) forgetUnsaved() {
	w.unsaved, w.untold, w.differs = nil, nil, time.Time{}
}

// bakes reports whether all that happened is that the last step, which has all
// of the traffic, led to its bake: a restart finds that out anew, and the bake can
// only take longer.
func bakes(was rollout.State, d rollout.Decision) bool {
	now, x, y := d.State, was.Run, d.State.Run
	if x == nil || y == nil || x.ID != y.ID || x.Step != y.Step || x.Phase != rollout.Progressing || y.Phase != rollout.Baking || y.Paused != nil {
		return false
	}
	other := func(e rollout.Event) bool { return e.Reason != "BakeStarted" }
	was.Run, now.Run = nil, nil
	return y.Plan.Steps[y.Step].Weight == release.Full && len(d.Consumed) == 0 && !slices.ContainsFunc(d.Events, other) &&
		equalJSON(lasting(was), lasting(now))
}

// sameState compares all but the sentence that says what a run waits for: it
// may count requests, and is saved with the next look. What a crash may lose is
// left out where saves are dear.
func sameState(a, b rollout.State, dear bool) bool {
	if dear {
		return equalJSON(lasting(a), lasting(b))
	}
	return equalJSON(wordless(a), wordless(b))
}

func wordless(s rollout.State) rollout.State {
	if s.Run != nil && !s.Run.Phase.Ended() {
		r := *s.Run
		r.Why = ""
		s.Run = &r
	}
	return s
}

// lasting is a state without what a restart finds out anew: the moments from
// which holds, drains and shortages count, so that they can only take longer,
// the wish for instances ahead of the next step, and, once the new version is
// stable, that the old one's traffic has left.
func lasting(s rollout.State) rollout.State {
	s = wordless(s)
	if s.Run != nil && s.Run.Phase == rollout.Progressing {
		r := *s.Run
		r.Entered, r.Short, r.StepBase, r.Ahead = time.Time{}, time.Time{}, 0, false
		s.Run = &r
	}
	if s.Run != nil && s.Run.Phase == rollout.Finishing {
		s.Leaving = nil
	}
	s.Leaving = slices.Clone(s.Leaving)
	for i := range s.Leaving {
		s.Leaving[i].Off = time.Time{}
	}
	return s
}

// equalJSON reports whether two values are one as they are kept. That is so of
// those that are one in memory, which nearly every pass compares; others may still
// differ in no more than an empty list for none, or in how a time is held.
func equalJSON(a, b any) bool {
	if reflect.DeepEqual(a, b) {
		return true
	}
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}
