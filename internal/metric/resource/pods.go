package resource

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

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
	sets, selector, err := setsOf(ctx, c, s.Release)
	f := fleet{namespace: cluster.Key(s.Release.Name).Namespace, selector: selector}
	if err != nil {
		return f, err
	}
	version := map[types.UID]release.VersionID{}
	for i := range sets {
		version[sets[i].UID] = cluster.TemplateID(sets[i].Spec.Template)
	}
	var pods corev1.PodList
	if err := c.List(ctx, &pods, client.InNamespace(f.namespace), client.MatchingLabelsSelector{Selector: selector}, client.UnsafeDisableDeepCopy); err != nil {
		return f, fmt.Errorf("list the pods of release %s: %w", s.Release.Name, err)
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

// setsOf reads the ReplicaSets of a release's Deployment and of the one beside it
// from the cache, only to be read, and what selects their pods.
func setsOf(ctx context.Context, c Reader, rel release.Release) ([]appsv1.ReplicaSet, labels.Selector, error) {
	key := types.NamespacedName{Namespace: cluster.Key(rel.Name).Namespace, Name: rel.Version.Workload.Deployment.Name}
	var d appsv1.Deployment
	if err := c.Get(ctx, key, &d); err != nil {
		return nil, nil, fmt.Errorf("read Deployment %s: %w", key, err)
	}
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return nil, nil, fmt.Errorf("the selector of Deployment %s: %w", key, err)
	}
	var sets appsv1.ReplicaSetList
	of := []client.ListOption{client.InNamespace(key.Namespace), client.MatchingLabelsSelector{Selector: selector}, client.UnsafeDisableDeepCopy}
	if err := c.List(ctx, &sets, of...); err != nil {
		return nil, nil, fmt.Errorf("list the ReplicaSets of Deployment %s: %w", key, err)
	}
	return sets.Items, selector, nil
}

// noPod is no pod's name.
const noPod = "_"

// PodNames is a regular expression of the names of a version's pods, those that
// are gone too: a pod is named for its ReplicaSet, and keeps the name when another
// Deployment adopts that. It matches none while no ReplicaSet has the version's
// template.
func PodNames(ctx context.Context, c Reader, rel release.Release, version release.VersionID) (string, error) {
	sets, _, err := setsOf(ctx, c, rel)
	if err != nil {
		return "", err
	}
	var names []string
	for i := range sets {
		if cluster.TemplateID(sets[i].Spec.Template) == version {
			names = append(names, podsOf(sets[i].Name))
		}
	}
	slices.Sort(names)
	return cmp.Or(strings.Join(names, "|"), noPod), nil
}

// longestPrefix is how much of a ReplicaSet's name the API server keeps in a
// pod's (generateName); the five signs that it adds are letters and digits.
const longestPrefix = 58

func podsOf(set string) string {
	prefix := set + "-"
	return regexp.QuoteMeta(prefix[:min(len(prefix), longestPrefix)]) + "[a-z0-9]+"
}
