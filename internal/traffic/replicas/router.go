// Package replicas is the traffic.Router of a cluster without a router: the
// user's Service reaches every ready pod, so that the share follows the number
// of instances. It writes nothing. It knows ReplicaSets only to tell whether a
// version has ready pods; how many each gets, the runtime decides.
//
// Read this file only.
package replicas

import (
	"context"
	"errors"
	"fmt"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/traffic"
)

// Router follows instances. Make it with New.
type Router struct {
	client *cluster.Client

	mu   sync.Mutex
	told map[string]release.Split // by release
}

var _ traffic.Router = (*Router)(nil)

// New makes a router.
func New(c *cluster.Client) *Router {
	return &Router{client: c, told: map[string]release.Split{}}
}

// Apply implements traffic.Router. It only remembers the split: a new process
// is told again.
func (r *Router) Apply(_ context.Context, t traffic.Target) error {
	var sum release.Weight
	for _, s := range t.Split.Shares {
		sum += s.Weight
	}
	switch {
	case len(t.Split.Shares) > 0 && sum != release.Full:
		return fmt.Errorf("the shares of the split sum to %d of %d: expected all of the traffic", sum, release.Full)
	case len(t.Split.Matched) > 0:
		return errors.New("requests can not be matched where the share follows the instances: choose a router in spec.traffic")
	case t.Split.Mirror != nil:
		return errors.New("requests can not be copied where the share follows the instances: choose a router in spec.traffic")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told[t.Release.Name] = t.Split
	return nil
}

// Observe implements traffic.Router. A split is pending while a version with a
// share has no ready pod. It is never open: a second version's instances are
// how it comes to get requests.
func (r *Router) Observe(ctx context.Context, rel release.Release) (rollout.ObservedSplit, error) {
	r.mu.Lock()
	split, ok := r.told[rel.Name]
	r.mu.Unlock()
	o := rollout.ObservedSplit{Known: true, Split: split}
	if !ok || len(split.Shares) == 0 {
		return o, nil
	}
	ready, err := r.ready(ctx, rel)
	if err != nil {
		return rollout.ObservedSplit{}, err
	}
	for _, s := range split.Shares {
		o.Pending = o.Pending || s.Weight > 0 && ready[s.Version] == 0
	}
	return o, nil
}

func (r *Router) ready(ctx context.Context, rel release.Release) (map[release.VersionID]int32, error) {
	w := rel.Version.Workload.Deployment
	if w == nil {
		return nil, fmt.Errorf("the workload of release %s is no Deployment: expected spec.workload.deployment", rel.Name)
	}
	key := types.NamespacedName{Namespace: cluster.Key(rel.Name).Namespace, Name: w.Name}
	var d appsv1.Deployment
	if err := r.client.Get(ctx, key, &d); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("Deployment %s does not exist: create it, or name another one in spec.workload.deployment", key)
		}
		return nil, fmt.Errorf("read Deployment %s: %w", key, err)
	}
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("the selector of Deployment %s: %w", key, err)
	}
	var list appsv1.ReplicaSetList
	if err := r.client.List(ctx, &list, client.InNamespace(key.Namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return nil, fmt.Errorf("list the ReplicaSets of Deployment %s: %w", key, err)
	}
	out := map[release.VersionID]int32{}
	for _, rs := range list.Items {
		out[cluster.TemplateID(rs.Spec.Template)] += rs.Status.ReadyReplicas
	}
	return out, nil
}

// Remove implements traffic.Router.
func (r *Router) Remove(_ context.Context, rel release.Release) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.told, rel.Name)
	return nil
}
