package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/internal/release"
)

// Sets are the ReplicaSets of a release's two Deployments.
type Sets struct {
	Deployment *appsv1.Deployment  // the user's
	List       []appsv1.ReplicaSet // the cache's own, only to be read
}

// Sets reads those of a release from the cache.
func (c *Client) Sets(ctx context.Context, rel release.Release) (Sets, error) {
	w := rel.Version.Workload.Deployment
	if w == nil {
		return Sets{}, fmt.Errorf("the workload of release %s is no Deployment: expected spec.workload.deployment", rel.Name)
	}
	key := types.NamespacedName{Namespace: Key(rel.Name).Namespace, Name: w.Name}
	var d appsv1.Deployment
	if err := c.Get(ctx, key, &d); err != nil {
		if apierrors.IsNotFound(err) {
			return Sets{}, fmt.Errorf("Deployment %s does not exist: create it, or name another one in spec.workload.deployment", key)
		}
		return Sets{}, fmt.Errorf("read Deployment %s: %w", key, err)
	}
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return Sets{}, fmt.Errorf("the selector of Deployment %s: %w", key, err)
	}
	var list appsv1.ReplicaSetList
	if err := c.List(ctx, &list, client.InNamespace(key.Namespace), client.MatchingLabelsSelector{Selector: selector}, client.UnsafeDisableDeepCopy); err != nil {
		return Sets{}, fmt.Errorf("list the ReplicaSets of Deployment %s: %w", key, err)
	}
	return Sets{Deployment: &d, List: list.Items}, nil
}

// Hash is the pod-template-hash of a version's pods; empty: it has none yet.
// Where several ReplicaSets are of one version, the one with most pods counts.
func (x Sets) Hash(v release.VersionID) string {
	best := int32(-1)
	var hash string
	for _, rs := range x.List {
		n := rs.Status.ReadyReplicas*1000 + rs.Status.Replicas
		if n > best && TemplateID(rs.Spec.Template) == v {
			best, hash = n, rs.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
		}
	}
	return hash
}

// Ready counts the ready pods of each version that has any.
func (x Sets) Ready() map[release.VersionID]int32 {
	out := map[release.VersionID]int32{}
	for _, rs := range x.List {
		if n := rs.Status.ReadyReplicas; n > 0 {
			out[TemplateID(rs.Spec.Template)] += n
		}
	}
	return out
}

// Others reports whether any other version than v has pods or is to have.
func (x Sets) Others(v release.VersionID) bool {
	return slices.ContainsFunc(x.List, func(rs appsv1.ReplicaSet) bool {
		return (rs.Status.Replicas > 0 || rs.Spec.Replicas != nil && *rs.Spec.Replicas > 0) && TemplateID(rs.Spec.Template) != v
	})
}

// Of is the ReplicaSet that a pod of that name comes from; nil: none of these.
func (x Sets) Of(pod string) *appsv1.ReplicaSet {
	i := slices.IndexFunc(x.List, func(rs appsv1.ReplicaSet) bool { return strings.HasPrefix(pod, rs.Name+"-") })
	if i < 0 {
		return nil
	}
	return &x.List[i]
}
