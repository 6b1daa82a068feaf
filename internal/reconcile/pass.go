package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/haldane-project/haldane/internal/notify"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
	"github.com/haldane-project/haldane/internal/traffic"
)

// lookEvery is how often a judged run is looked at without an event. What the
// reader tells of brings a look at once, and where time alone makes evidence the
// reader says when to look again (metric.Reading.Again).
const lookEvery = time.Second

// drainEvery is how often requests are counted that a version which has lost its
// traffic still answers: nobody tells of the last one.
const drainEvery = 250 * time.Millisecond

// Pass makes one pass of a release and says when to make the next one; the
// zero time means when something happens. It is for callers that bring their
// own loop; they must not make two passes of one release at a time.
func (r *Reconciler) Pass(ctx context.Context, name string) (wake time.Time, gone bool, err error) {
	r.mu.Lock()
	w, ok := r.workers[name]
	if !ok {
		w = r.newWorker(name)
		r.workers[name] = w
	}
	r.mu.Unlock()
	wake, gone, err = r.pass(ctx, w)
	if gone {
		w.closeSession()
		r.forget(w)
	}
	return wake, gone, err
}

func (r *Reconciler) pass(ctx context.Context, w *worker) (wake time.Time, gone bool, err error) {
	wake, gone, err = r.once(ctx, w)
	if r.Passed != nil {
		r.Passed(w.session != nil, err)
	}
	return wake, gone, err
}

func (r *Reconciler) once(ctx context.Context, w *worker) (wake time.Time, gone bool, err error) {
	w.settled = nil
	rec, err := r.Store.Get(ctx, w.name)
	if errors.Is(err, store.ErrNotFound) {
		return time.Time{}, true, nil
	}
	if err != nil {
		return time.Time{}, false, fmt.Errorf("read release %s: %w", w.name, err)
	}
	w.goOn(&rec)
	rel, err := r.parse(w, rec)
	if err == nil && r.Resolve != nil {
		rel, err = r.Resolve(ctx, rel)
	}
	if err != nil {
		return time.Time{}, false, fmt.Errorf("release %s: %w", w.name, err)
	}
	o := r.observe(ctx, w, rec, rel)
	d := rollout.Decide(o.in)
	d.Events = append(d.Events, w.session.events(o.in.Now)...)
	acted, err := r.act(ctx, w, rec, o, d)
	if w.moves++; !acted {
		w.moves = 0
	}
	err = errors.Join(o.err, err)
	mended := w.lastErr != nil && err == nil
	w.lastErr = err
	w.keep(o, d, acted || mended, err)
	if r.Seen != nil {
		r.Seen(rel, d.State, w.fleet.Backends, d.Gone)
	}
	if d.Gone && err == nil {
		return time.Time{}, true, nil
	}
	return r.wake(w, d, o, acted || mended), false, err
}

// wake is the time of the next pass: at once after something was changed, so
// that what is now in force is observed, and after trouble ended, so that it is
// not told any more.
func (r *Reconciler) wake(w *worker, d rollout.Decision, o observation, acted bool) time.Time {
	if acted {
		return o.in.Now
	}
	wake := d.Wake
	if o.in.Split.Pending {
		wake = sooner(wake, o.in.Split.Settles)
	}
	if !w.differs.IsZero() {
		wake = sooner(wake, w.differs.Add(r.Defer))
	}
	if d.Judge {
		wake = sooner(wake, o.in.Now.Add(lookEvery))
	}
	if d.Judge && w.session != nil {
		wake = sooner(wake, w.session.again)
	}
	if drains(d.State, o.in.Split) {
		wake = sooner(wake, o.in.Now.Add(drainEvery))
	}
	return wake
}

// sooner is the earlier of two times; the zero time is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// drains reports whether a version that is leaving still answers requests.
func drains(st rollout.State, o rollout.ObservedSplit) bool {
	return slices.ContainsFunc(st.Leaving, func(l rollout.Leaving) bool {
		return slices.ContainsFunc(o.InFlight, func(f rollout.InFlight) bool { return f.Version == l.Version.ID && f.Count > 0 })
	})
}

// act makes the decision true. It reports whether it changed the traffic.
func (r *Reconciler) act(ctx context.Context, w *worker, rec store.Record, o observation, d rollout.Decision) (bool, error) {
	target := traffic.Target{Release: o.in.Release, Split: d.Split, Backends: w.fleet.Backends, Alone: alone(d, o.in.Fleet)}
	var errs []error
	moved := !o.in.Split.Known || !sameSplit(o.in.Split.Split, d.Split)
	early := moved && takesAway(o.in.Split.Split, d.Split)
	if early {
		errs = append(errs, r.route(ctx, rec, target, d))
	}
	saveErr := r.save(ctx, w, rec, o, d)
	if errors.Is(saveErr, store.ErrConflict) {
		return true, nil // the record moved: look again at once
	}
	errs = append(errs, saveErr)
	if saveErr == nil || !rises(rec, o.in.Split.Split, d.Split) {
		if !early {
			errs = append(errs, r.route(ctx, rec, target, d))
		}
	}
	if saveErr == nil || sameState(rec.State, d.State, false) {
		if err := r.Runtime.Apply(ctx, o.in.Release, startable(d.Fleet, o.in)); err != nil {
			errs = append(errs, fmt.Errorf("apply the instances of %s: %w", w.name, err))
		}
	}
	if saveErr == nil {
		r.ask(ctx, w, d.State.Run, d.Ask)
		r.notify(ctx, w, o, d.Events)
	}
	return moved && !d.Gone, errors.Join(errs...)
}

// alone reports whether no second version has instances or is to have any.
func alone(d rollout.Decision, fleet []rollout.ObservedGroup) bool {
	if len(d.Fleet) > 1 {
		return false
	}
	for _, g := range fleet {
		if g.Total > 0 && (len(d.Fleet) == 0 || g.Version != d.Fleet[0].Version.ID) {
			return false
		}
	}
	return true
}

// startable leaves out versions that have no instance yet while requests could
// reach any instance: the router must part the versions first.
func startable(want []rollout.Group, in rollout.Input) []rollout.Group {
	if !in.Split.Open || in.FleetStale {
		return want
	}
	var has []rollout.Group
	for _, g := range want {
		if slices.ContainsFunc(in.Fleet, func(o rollout.ObservedGroup) bool { return o.Version == g.Version.ID && o.Total > 0 }) {
			has = append(has, g)
		}
	}
	if len(has) == 0 {
		return want // the first version parts nothing
	}
	return has
}

// route applies the split, or takes the routing of a deleted release away.
func (r *Reconciler) route(ctx context.Context, rec store.Record, t traffic.Target, d rollout.Decision) error {
	var err error
	if rec.Deleting && len(d.Split.Shares) == 0 {
		err = r.Router.Remove(ctx, t.Release)
	} else {
		err = r.Router.Apply(ctx, t)
	}
	if err != nil {
		return fmt.Errorf("route the traffic of %s: %w", rec.Name, err)
	}
	return nil
}

func (r *Reconciler) notify(ctx context.Context, w *worker, o observation, events []rollout.Event) {
	if len(events) == 0 {
		return
	}
	n := notify.Notice{Release: w.name, Events: events}
	if rep := o.in.Evidence.Report; w.session != nil && rep.Verdict != "" {
		n.Report = &rep
	}
	for _, s := range r.Sinks {
		if err := s.Notify(ctx, n); err != nil {
			r.Log.Warn("a notification was not delivered", "release", w.name, "error", err)
		}
	}
}

func sameSplit(a, b release.Split) bool { return equalJSON(a, b) }

// takesAway reports whether some version that is not to take the rest loses share.
func takesAway(now, want release.Split) bool {
	for _, s := range now.Shares {
		if s.Version != want.Rest && want.Of(s.Version) < s.Weight {
			return true
		}
	}
	return now.Mirror != nil && want.Mirror == nil || len(want.Matched) < len(now.Matched)
}

// rises reports whether a version that is not yet stable would get more.
func rises(rec store.Record, now, want release.Split) bool {
	for _, s := range want.Shares {
		if rec.State.Stable != nil && s.Version == rec.State.Stable.ID {
			continue
		}
		if s.Weight > now.Of(s.Version) {
			return true
		}
	}
	return false
}
