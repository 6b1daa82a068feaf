package reconcile

import (
	"context"
	"errors"
	"fmt"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
)

// observation is the input of a decision, and what could not be observed.
type observation struct {
	in  rollout.Input
	err error
}

// observe gathers everything once. What can not be reached is said in err and
// marked in the input; it never holds the pass up.
func (r *Reconciler) observe(ctx context.Context, w *worker, rec store.Record, rel release.Release) observation {
	o := observation{in: rollout.Input{Now: r.Now(), Release: rel, State: rec.State, Deleted: rec.Deleting}}
	var errs []error
	split, err := r.Router.Observe(ctx, rel)
	if err != nil {
		errs = append(errs, fmt.Errorf("ask the router for the split: %w", err))
		split = rollout.ObservedSplit{Split: rec.Observed.Split}
	}
	o.in.Split = split
	fleet, err := r.Runtime.Observe(ctx, rel)
	if err != nil {
		errs = append(errs, fmt.Errorf("ask for the instances: %w", err))
		o.in.FleetStale = true
	} else {
		w.fleet = fleet
	}
	o.in.Fleet = w.fleet.Groups
	if o.in.Intents, err = r.Store.Intents(ctx, rec.Name); err != nil {
		errs = append(errs, fmt.Errorf("read the open intents: %w", err))
	}
	o.in.Gates = w.gateAnswers(rec.State.Run)
	if err := r.gather(ctx, w, rec, &o.in); err != nil {
		errs = append(errs, err)
	}
	o.err = errors.Join(errs...)
	return o
}

// gather reads the evidence of the current run.
func (r *Reconciler) gather(ctx context.Context, w *worker, rec store.Record, in *rollout.Input) error {
	s, err := r.openSession(ctx, w, rec, in)
	if s == nil || err != nil {
		if err != nil {
			in.Evidence.Missing = err.Error()
		}
		return err
	}
	if err = s.read(ctx, in); err == nil {
		err = s.refused
	}
	s.refused = nil
	in.Evidence = s.evidence(rec.State.Run)
	return err
}
