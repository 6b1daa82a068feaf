// Package switchboard is one workload.Runtime made of several, one for each kind
// of workload, so that a release may move from processes to endpoints in a run.
// It knows the kinds and none of the adapters. runtime.go is all of it.
package switchboard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/workload"
)

var _ workload.Runtime = (*Runtime)(nil)

// The kinds of workload, as in a manifest.
const (
	Process    = "process"
	Endpoints  = "endpoints"
	Deployment = "deployment"
)

// Runtime passes every group to the runtime of its kind.
type Runtime struct {
	kinds    []string // sorted
	runtimes map[string]workload.Runtime
	changes  *workload.Changes
	stop     chan struct{}
	merges   sync.WaitGroup
}

// New joins the runtimes, by kind. They stay the caller's to close, after this one.
func New(runtimes map[string]workload.Runtime) *Runtime {
	r := &Runtime{runtimes: runtimes, changes: workload.NewChanges(), stop: make(chan struct{})}
	for kind, one := range runtimes {
		r.kinds = append(r.kinds, kind)
		r.merges.Go(func() { r.merge(one.Changed()) })
	}
	slices.Sort(r.kinds)
	return r
}

// Close ends the delivery of changes.
func (r *Runtime) Close(context.Context) error {
	close(r.stop)
	r.merges.Wait()
	r.changes.Close()
	return nil
}

func (r *Runtime) merge(names <-chan string) {
	for {
		select {
		case name := <-names:
			r.changes.Mark(name)
		case <-r.stop:
			return
		}
	}
}

// Changed delivers the names that any of the runtimes delivers.
func (r *Runtime) Changed() <-chan string { return r.changes.C() }

// Apply gives every runtime its groups, and none to those that have none, so
// that they stop what they ran of the release.
func (r *Runtime) Apply(ctx context.Context, rel release.Release, want []rollout.Group) error {
	parts := map[string][]rollout.Group{}
	var errs []error
	for _, g := range want {
		kind := kindOf(g.Version.Workload)
		if r.runtimes[kind] == nil {
			errs = append(errs, fmt.Errorf("version %s of release %s is of kind %q: this Haldane runs %s", g.Version.Name, rel.Name, kind, strings.Join(r.kinds, ", ")))
			continue
		}
		parts[kind] = append(parts[kind], g)
	}
	for _, kind := range r.kinds {
		errs = append(errs, r.runtimes[kind].Apply(ctx, rel, parts[kind]))
	}
	return errors.Join(errs...)
}

// Observe joins what the runtimes observe. It fails as a whole when one fails:
// half of a fleet would look like lost instances.
func (r *Runtime) Observe(ctx context.Context, rel release.Release) (workload.Fleet, error) {
	var all workload.Fleet
	for _, kind := range r.kinds {
		fleet, err := r.runtimes[kind].Observe(ctx, rel)
		if err != nil {
			return workload.Fleet{}, fmt.Errorf("observing the %s instances of release %s: %w", kind, rel.Name, err)
		}
		all.Groups = append(all.Groups, fleet.Groups...)
		all.Backends = append(all.Backends, fleet.Backends...)
	}
	slices.SortFunc(all.Groups, func(a, b rollout.ObservedGroup) int {
		return strings.Compare(string(a.Version), string(b.Version))
	})
	slices.SortFunc(all.Backends, func(a, b release.Backend) int {
		return strings.Compare(string(a.Version), string(b.Version))
	})
	return all, nil
}

func kindOf(w release.Workload) string {
	switch {
	case w.Process != nil:
		return Process
	case w.Endpoints != nil:
		return Endpoints
	case w.Deployment != nil:
		return Deployment
	}
	return "none"
}
