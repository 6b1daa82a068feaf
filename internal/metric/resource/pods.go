package resource

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/release"
)

// The two versions, in the order of every pair.
const (
	stable = iota
	canary
)

// fleet are the pods of a run's two versions.
type fleet struct {
	namespace string
	selector  labels.Selector
	pods      [2][]*corev1.Pod
}

// find reads the pods of both versions from the cache: those whose ReplicaSet has
// the version's template, whichever Deployment owns it at the moment.
func find(ctx context.Context, c Reader, s metric.Subject) (fleet, error) {
	key := types.NamespacedName{Namespace: cluster.Key(s.Release.Name).Namespace, Name: s.Release.Version.Workload.Deployment.Name}
	f := fleet{namespace: key.Namespace}
	var d appsv1.Deployment
	if err := c.Get(ctx, key, &d); err != nil {
		return f, fmt.Errorf("read Deployment %s: %w", key, err)
	}
	var err error
	if f.selector, err = metav1.LabelSelectorAsSelector(d.Spec.Selector); err != nil {
		return f, fmt.Errorf("the selector of Deployment %s: %w", key, err)
	}
	of := []client.ListOption{client.InNamespace(key.Namespace), client.MatchingLabelsSelector{Selector: f.selector}}
	var sets appsv1.ReplicaSetList
	if err := c.List(ctx, &sets, of...); err != nil {
		return f, fmt.Errorf("list the ReplicaSets of Deployment %s: %w", key, err)
	}
	version := map[types.UID]release.VersionID{}
	for i := range sets.Items {
		version[sets.Items[i].UID] = cluster.TemplateID(sets.Items[i].Spec.Template)
	}
	var pods corev1.PodList
	if err := c.List(ctx, &pods, of...); err != nil {
		return f, fmt.Errorf("list the pods of Deployment %s: %w", key, err)
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		owner := metav1.GetControllerOf(p)
		if owner == nil || p.DeletionTimestamp != nil {
			continue
		}
		switch version[owner.UID] {
		case s.Stable.ID:
			f.pods[stable] = append(f.pods[stable], p)
		case s.Canary.ID:
			f.pods[canary] = append(f.pods[canary], p)
		}
	}
	return f, nil
}
