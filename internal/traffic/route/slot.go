package route

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/release"
)

// sets are the ReplicaSets of a release's two Deployments.
type sets []appsv1.ReplicaSet

func (r *Router) sets(ctx context.Context, s Setup, rel release.Release) (sets, error) {
	w := rel.Version.Workload.Deployment
	if w == nil {
		return nil, fmt.Errorf("the workload of release %s is no Deployment: expected spec.workload.deployment", rel.Name)
	}
	var d appsv1.Deployment
	if err := r.client.Get(ctx, s.key(w.Name), &d); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("Deployment %s does not exist: create it, or name another one in spec.workload.deployment", s.key(w.Name))
		}
		return nil, fmt.Errorf("read Deployment %s: %w", s.key(w.Name), err)
	}
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("the selector of Deployment %s: %w", s.key(w.Name), err)
	}
	var list appsv1.ReplicaSetList
	if err := r.client.List(ctx, &list, client.InNamespace(s.Namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return nil, fmt.Errorf("list the ReplicaSets of Deployment %s: %w", s.key(w.Name), err)
	}
	return list.Items, nil
}

// hash is the pod-template-hash of a version's pods; empty: it has none yet.
// Where several ReplicaSets are of one version, the one with most pods counts.
func (x sets) hash(v release.VersionID) string {
	best := int32(-1)
	var hash string
	for _, rs := range x {
		n := rs.Status.ReadyReplicas*1000 + rs.Status.Replicas
		if n > best && cluster.TemplateID(rs.Spec.Template) == v {
			best, hash = n, rs.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
		}
	}
	return hash
}

// others reports whether any other version than v has pods or is to have.
func (x sets) others(v release.VersionID) bool {
	return slices.ContainsFunc(x, func(rs appsv1.ReplicaSet) bool {
		return (rs.Status.Replicas > 0 || rs.Spec.Replicas != nil && *rs.Spec.Replicas > 0) && cluster.TemplateID(rs.Spec.Template) != v
	})
}

// assign gives every version that a split names a slot. What has requests now
// keeps its slot; a slot goes to another version only while nothing is sent to it.
func assign(s Setup, now release.Split, have Slots, want release.Split, x sets) (Slots, error) {
	out := Slots{}
	free := func(name string) bool {
		for _, o := range out {
			if o.Name == name {
				return false
			}
		}
		for v, o := range have {
			if o.Name == name && out[v].Name != name && gets(now, v) {
				return false
			}
		}
		return true
	}
	versions := named(want)
	for _, v := range versions {
		if o, ok := have[v]; ok {
			if h := x.hash(v); h != "" {
				o.Hash = h
			}
			out[v] = o
		}
	}
	for _, v := range versions {
		if _, ok := out[v]; ok {
			continue
		}
		h := x.hash(v)
		if h == "" {
			if gets(want, v) {
				return nil, fmt.Errorf("version %s has no ReplicaSet, so nothing can be sent to it: wait until its pods are there", v)
			}
			continue
		}
		names := slices.Clone(s.Slots[:])
		if v != want.Rest {
			slices.Reverse(names)
		}
		i := slices.IndexFunc(names, free)
		if i < 0 {
			return nil, fmt.Errorf("version %s can not be parted from two others that still get requests: two versions at a time are parted in a cluster", v)
		}
		out[v] = Slot{Name: names[i], Hash: h}
	}
	return out, nil
}

// named lists the versions of a split, those that get requests first, and the
// rest before all.
func named(s release.Split) []release.VersionID {
	var out []release.VersionID
	add := func(v release.VersionID) {
		if v != "" && !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	if gets(s, s.Rest) {
		add(s.Rest)
	}
	for _, x := range s.Shares {
		if gets(s, x.Version) {
			add(x.Version)
		}
	}
	for _, m := range s.Matched {
		add(m.Version)
	}
	if s.Mirror != nil {
		add(s.Mirror.Version)
	}
	add(s.Rest)
	for _, x := range s.Shares {
		add(x.Version)
	}
	return out
}

// gets reports whether a split sends anything to a version.
func gets(s release.Split, v release.VersionID) bool {
	return s.Of(v) > 0 || s.Mirror != nil && s.Mirror.Version == v ||
		slices.ContainsFunc(s.Matched, func(m release.Matched) bool { return m.Version == v })
}

// place makes the Services of the slots select their versions, and reports
// whether one of them leads elsewhere now.
func (r *Router) place(ctx context.Context, s Setup, rel release.Release, slots Slots) (moved bool, err error) {
	if s.Subsets {
		return false, nil
	}
	var user *corev1.Service
	for _, v := range slices.Sorted(maps.Keys(slots)) {
		slot := slots[v]
		var have corev1.Service
		err := r.client.Get(ctx, s.key(slot.Name), &have)
		if err != nil && !apierrors.IsNotFound(err) {
			return moved, fmt.Errorf("read Service %s: %w", slot.Name, err)
		}
		found := err == nil
		if found && have.Labels[cluster.ReleaseLabel] != cluster.Key(rel.Name).Name {
			return moved, fmt.Errorf("Service %s exists and is not this release's, and one version's pods are to be reached under that name: rename it", s.key(slot.Name))
		}
		if user == nil {
			if user, err = r.service(ctx, s); err != nil {
				return moved, err
			}
		}
		want := slotService(s, rel, user, v, slot)
		if found && sameService(&have, want) {
			continue
		}
		if !found {
			err = r.client.Create(ctx, want)
		} else {
			err = r.client.Update(ctx, pointed(&have, want))
		}
		if err != nil {
			return moved, fmt.Errorf("point Service %s at version %s: %w", s.key(slot.Name), v, err)
		}
		moved = true
	}
	return moved, nil
}

func (r *Router) service(ctx context.Context, s Setup) (*corev1.Service, error) {
	var svc corev1.Service
	switch err := r.client.Get(ctx, s.key(s.Service), &svc); {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("Service %s does not exist: create it, or name another one in spec.traffic", s.key(s.Service))
	case err != nil:
		return nil, fmt.Errorf("read Service %s: %w", s.key(s.Service), err)
	case len(svc.Spec.Selector) == 0:
		return nil, fmt.Errorf("Service %s has no selector, so its versions can not be told apart: give it one that matches the pods of the Deployment", s.key(s.Service))
	}
	return &svc, nil
}

// slotService is the Service that selects one version's pods: the user's, with
// one label more in its selector.
func slotService(s Setup, rel release.Release, user *corev1.Service, v release.VersionID, slot Slot) *corev1.Service {
	role := "stable"
	if slot.Name == s.Slots[1] {
		role = "canary"
	}
	selector := maps.Clone(user.Spec.Selector)
	selector[appsv1.DefaultDeploymentUniqueLabelKey] = slot.Hash
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: slot.Name, OwnerReferences: owners(rel), Labels: map[string]string{
			cluster.ReleaseLabel: cluster.Key(rel.Name).Name, cluster.RoleLabel: role, VersionLabel: string(v)}},
		Spec: corev1.ServiceSpec{Selector: selector, SessionAffinity: user.Spec.SessionAffinity, PublishNotReadyAddresses: user.Spec.PublishNotReadyAddresses},
	}
	for _, p := range user.Spec.Ports {
		p.NodePort = 0
		svc.Spec.Ports = append(svc.Spec.Ports, p)
	}
	return svc
}

func sameService(have, want *corev1.Service) bool {
	return maps.Equal(have.Spec.Selector, want.Spec.Selector) && have.Labels[VersionLabel] == want.Labels[VersionLabel] &&
		equal(have.Spec.Ports, want.Spec.Ports) && have.Spec.SessionAffinity == want.Spec.SessionAffinity &&
		have.Spec.PublishNotReadyAddresses == want.Spec.PublishNotReadyAddresses
}

// pointed is the Service as it is, leading elsewhere.
func pointed(have, want *corev1.Service) *corev1.Service {
	c := have.DeepCopy()
	maps.Copy(c.Labels, want.Labels)
	c.Spec.Selector, c.Spec.Ports = want.Spec.Selector, want.Spec.Ports
	c.Spec.SessionAffinity, c.Spec.PublishNotReadyAddresses = want.Spec.SessionAffinity, want.Spec.PublishNotReadyAddresses
	return c
}

// ready counts the ready endpoints by which a version is reached; none while
// the slot still leads to pods of another one.
func (r *Router) ready(ctx context.Context, s Setup, slot Slot, x sets) (int, error) {
	service := slot.Name
	if s.Subsets {
		service = s.Service
	}
	var list discoveryv1.EndpointSliceList
	if err := r.client.List(ctx, &list, client.InNamespace(s.Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: service}); err != nil {
		return 0, fmt.Errorf("list the endpoints of Service %s: %w", service, err)
	}
	n := 0
	for _, slice := range list.Items {
		for _, e := range slice.Endpoints {
			switch {
			case e.Conditions.Ready != nil && !*e.Conditions.Ready:
			case x.made(e.TargetRef, slot.Hash):
				n++
			case !s.Subsets:
				return 0, nil // pods of another version are not out yet
			}
		}
	}
	return n, nil
}

// made reports whether a pod comes from a ReplicaSet with the hash.
func (x sets) made(pod *corev1.ObjectReference, hash string) bool {
	return pod != nil && slices.ContainsFunc(x, func(rs appsv1.ReplicaSet) bool {
		return rs.Labels[appsv1.DefaultDeploymentUniqueLabelKey] == hash && strings.HasPrefix(pod.Name, rs.Name+"-")
	})
}

// endpointsIn bounds the wait for the endpoints of a Service that was just
// pointed at pods that are ready.
const endpointsIn = 2 * time.Second

// await returns once each of the versions has a ready endpoint where it is
// reached, and whether it had to wait. A weight without one would fail its share
// of the requests.
func (r *Router) await(ctx context.Context, s Setup, slots Slots, versions []release.VersionID, x sets) (waited bool, err error) {
	over := time.NewTimer(endpointsIn) // of the wait, not of a read that is under way
	defer over.Stop()
	for {
		var missing []string
		for _, v := range versions {
			n, err := r.ready(ctx, s, slots[v], x)
			if err != nil {
				return waited, err
			}
			if n == 0 {
				missing = append(missing, fmt.Sprintf("version %s has no ready endpoint behind %s", v, slots[v].Name))
			}
		}
		if len(missing) == 0 {
			return waited, nil
		}
		waited = true
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return true, fmt.Errorf("wait for %s: %w", strings.Join(missing, ", "), ctx.Err())
		case <-over.C:
			return true, fmt.Errorf("%s: no request is sent there before it has one; see that its pods are ready and that the selector of Service %s matches them",
				strings.Join(missing, ", "), types.NamespacedName{Namespace: s.Namespace, Name: s.Service})
		}
	}
}
