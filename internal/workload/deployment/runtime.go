// Package deployment is the workload.Runtime of Kubernetes: versions are pod
// templates of a user's Deployment. The new one runs in a second Deployment with
// the identical template and is adopted at promotion, so that no pod is
// restarted. It knows Deployments, ReplicaSets and pods, and no routes, no
// weights and no verdicts.
//
// The user's Deployment is paused from the write that changes its template (the
// admission policy in package deploy) until its pods are those that are wanted;
// then it is an ordinary Deployment again. Where no version served before, the new
// one has nothing to run beside, and rolls out by itself.
//
// Read this file first, then state.go (what is), plan.go (what is to be done)
// and observe.go (what pods say).
package deployment

import (
	"context"
	"errors"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/workload"
)

// Options of a Runtime.
type Options struct {
	// PauseAtRest keeps the user's Deployment paused between runs too. It is for
	// clusters without the admission policy, where nothing else keeps a changed
	// template from rolling out by itself.
	PauseAtRest bool
}

// Runtime runs the versions of Deployments.
type Runtime struct {
	client  *cluster.Client
	changes *workload.Changes
	options Options

	mu    sync.Mutex
	freed map[string]bool              // releases whose Deployment was given back to its user
	ended map[string]types.UID         // second Deployments that were deleted, by release
	alone map[string]release.VersionID // the versions that are wanted with no other, by release
}

var _ workload.Runtime = (*Runtime)(nil)

// New returns a Runtime. Whoever watches the cluster marks in changes the
// releases whose Deployments, ReplicaSets or pods changed.
func New(c *cluster.Client, changes *workload.Changes, o Options) *Runtime {
	return &Runtime{client: c, changes: changes, options: o, freed: map[string]bool{}, ended: map[string]types.UID{}, alone: map[string]release.VersionID{}}
}

// Changed implements workload.Runtime.
func (r *Runtime) Changed() <-chan string { return r.changes.C() }

// Apply implements workload.Runtime. The number of instances of the version that
// the user's Deployment runs is the user's (or the autoscaler's), whatever the
// group says; no group at all gives the Deployment back to its user.
func (r *Runtime) Apply(ctx context.Context, rel release.Release, want []rollout.Group) error {
	if err := foreign(rel, want); err != nil {
		return err
	}
	if rel.Version.Workload.Deployment == nil {
		return nil
	}
	s, err := r.read(ctx, rel)
	if err != nil || s.user == nil {
		if s != nil && len(want) == 0 {
			r.free(rel.Name)
			return r.dropCanary(ctx, rel.Name, s)
		}
		if err != nil {
			return err
		}
		return fmt.Errorf("there is no Deployment %s: create it, or name another in spec.workload.deployment.name", s.key)
	}
	if len(want) == 0 {
		return r.giveBack(ctx, rel, s)
	}
	r.take(rel.Name, want)
	var errs []error
	for _, act := range plan(s, want, r.options) {
		if err := r.do(ctx, rel, s, act); err != nil {
			errs = append(errs, fmt.Errorf("%s of Deployment %s: %w", act.what, s.key, err))
			break // what follows relies on it
		}
	}
	return errors.Join(errs...)
}

func foreign(rel release.Release, want []rollout.Group) error {
	for _, g := range want {
		if g.Version.Workload.Deployment == nil {
			return fmt.Errorf("version %s of release %s is not a Deployment: this runtime runs the templates of Deployments only", g.Version.Name, rel.Name)
		}
	}
	return nil
}

// giveBack makes the user's Deployment what it would be without Haldane.
func (r *Runtime) giveBack(ctx context.Context, rel release.Release, s *state) error {
	if err := r.dropCanary(ctx, rel.Name, s); err != nil {
		return err
	}
	part := without(s.user)
	// That of the template stays: taking it off would make the pods anew.
	part["metadata"].(map[string]any)["annotations"].(map[string]any)[cluster.ContentAnnotation] = nil
	if err := r.patch(ctx, s.user, part); err != nil {
		return fmt.Errorf("give Deployment %s back: %w", s.key, err)
	}
	r.free(rel.Name)
	return nil
}

// free notes that nothing of a release is kept here any more, and asks for
// another look, since no change of the cluster might bring one.
func (r *Runtime) free(name string) {
	r.mu.Lock()
	was := r.freed[name]
	r.freed[name] = true
	delete(r.alone, name)
	r.mu.Unlock()
	if !was {
		r.changes.Mark(name)
	}
}

func (r *Runtime) take(name string, want []rollout.Group) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.freed, name)
	if len(want) == 1 {
		r.alone[name] = want[0].Version.ID
	} else {
		delete(r.alone, name)
	}
}

// isAlone reports whether a version is wanted with no other.
func (r *Runtime) isAlone(name string, v release.VersionID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.alone[name] == v
}

func (r *Runtime) isFree(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.freed[name]
}

// key is the user's Deployment of a release.
func key(rel release.Release) types.NamespacedName {
	return types.NamespacedName{Namespace: cluster.Key(rel.Name).Namespace, Name: rel.Version.Workload.Deployment.Name}
}

func gone(err error) bool { return apierrors.IsNotFound(err) }
