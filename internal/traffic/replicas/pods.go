package replicas

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/release"
)

// sets are the ReplicaSets of a release's two Deployments.
type sets struct {
	deployment *appsv1.Deployment // the user's
	list       []appsv1.ReplicaSet
}

func (r *Router) sets(ctx context.Context, rel release.Release) (sets, error) {
	w := rel.Version.Workload.Deployment
	if w == nil {
		return sets{}, fmt.Errorf("the workload of release %s is no Deployment: expected spec.workload.deployment", rel.Name)
	}
	key := types.NamespacedName{Namespace: cluster.Key(rel.Name).Namespace, Name: w.Name}
	var d appsv1.Deployment
	if err := r.client.Get(ctx, key, &d); err != nil {
		if apierrors.IsNotFound(err) {
			return sets{}, fmt.Errorf("Deployment %s does not exist: create it, or name another one in spec.workload.deployment", key)
		}
		return sets{}, fmt.Errorf("read Deployment %s: %w", key, err)
	}
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return sets{}, fmt.Errorf("the selector of Deployment %s: %w", key, err)
	}
	var list appsv1.ReplicaSetList
	if err := r.client.List(ctx, &list, client.InNamespace(key.Namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return sets{}, fmt.Errorf("list the ReplicaSets of Deployment %s: %w", key, err)
	}
	return sets{deployment: &d, list: list.Items}, nil
}

// ready counts the ready pods of each version.
func (x sets) ready() map[release.VersionID]int32 {
	out := map[release.VersionID]int32{}
	for _, rs := range x.list {
		out[cluster.TemplateID(rs.Spec.Template)] += rs.Status.ReadyReplicas
	}
	return out
}

// hash is the pod-template-hash of a version's pods; empty: it has none yet.
// Where several ReplicaSets are of one version, the one with most pods counts.
func (x sets) hash(v release.VersionID) string {
	best := int32(-1)
	var hash string
	for _, rs := range x.list {
		n := rs.Status.ReadyReplicas*1000 + rs.Status.Replicas
		if n > best && cluster.TemplateID(rs.Spec.Template) == v {
			best, hash = n, rs.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
		}
	}
	return hash
}

// reached counts the ready pods of each version that a Service leads to.
func (r *Router) reached(ctx context.Context, rel release.Release, name string, x sets) (map[release.VersionID]int32, error) {
	var list discoveryv1.EndpointSliceList
	if err := r.client.List(ctx, &list, client.InNamespace(cluster.Key(rel.Name).Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: name}); err != nil {
		return nil, fmt.Errorf("list the endpoints of Service %s: %w", name, err)
	}
	pods := map[string]bool{} // one stands in a slice for each family of addresses
	for _, slice := range list.Items {
		for _, e := range slice.Endpoints {
			if e.TargetRef != nil && (e.Conditions.Ready == nil || *e.Conditions.Ready) {
				pods[e.TargetRef.Name] = true
			}
		}
	}
	out := map[release.VersionID]int32{}
	for pod := range pods {
		i := slices.IndexFunc(x.list, func(rs appsv1.ReplicaSet) bool { return strings.HasPrefix(pod, rs.Name+"-") })
		if i >= 0 {
			out[cluster.TemplateID(x.list[i].Spec.Template)]++
		}
	}
	return out, nil
}

// shares are those of the ready pods; none without any.
func shares(ready map[release.VersionID]int32) []release.Share {
	var total int64
	for _, n := range ready {
		total += int64(n)
	}
	var out []release.Share
	var pods, before int64
	versions := slices.Sorted(maps.Keys(ready))
	versions = slices.DeleteFunc(versions, func(v release.VersionID) bool { return ready[v] == 0 })
	for _, v := range versions { // rounded in sum, so that they make the whole
		pods += int64(ready[v])
		upTo := (int64(release.Full)*pods + total/2) / total
		out = append(out, release.Share{Version: v, Weight: release.Weight(upTo - before)}) //nolint:gosec // at most Full
		before = upTo
	}
	return out
}
