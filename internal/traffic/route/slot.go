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

// assign gives every version that a split names a slot. What has requests now
// keeps its slot; a slot goes to another version only while nothing is sent to it.
func assign(s Setup, now release.Split, have Slots, want release.Split, x cluster.Sets) (Slots, error) {
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
			if h := x.Hash(v); h != "" {
				o.Hash = h
			}
			out[v] = o
		}
	}
	for _, v := range versions {
		if _, ok := out[v]; ok {
			continue
		}
		h := x.Hash(v)
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
func (r *Router) ready(ctx context.Context, s Setup, slot Slot, x cluster.Sets) (int, error) {
	service := slot.Name
	if s.Subsets {
		service = s.Service
	}
	var list discoveryv1.EndpointSliceList
	if err := r.client.List(ctx, &list, client.InNamespace(s.Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: service}, client.UnsafeDisableDeepCopy); err != nil {
		return 0, fmt.Errorf("list the endpoints of Service %s: %w", service, err)
	}
	n := 0
	for _, slice := range list.Items {
		for _, e := range slice.Endpoints {
			switch {
			case e.Conditions.Ready != nil && !*e.Conditions.Ready:
			case made(x, e.TargetRef, slot.Hash):
				n++
			case !s.Subsets:
				return 0, nil // pods of another version are not out yet
			}
		}
	}
	return n, nil
}

// made reports whether a pod comes from a ReplicaSet with the hash.
func made(x cluster.Sets, pod *corev1.ObjectReference, hash string) bool {
	if pod == nil {
		return false
	}
	rs := x.Of(pod.Name)
	return rs != nil && rs.Labels[appsv1.DefaultDeploymentUniqueLabelKey] == hash
}

// endpointsIn bounds the wait for the endpoints of a Service that was just
// pointed at pods that are ready.
const endpointsIn = 2 * time.Second

// await returns once each of the versions has a ready endpoint where it is
// reached, and whether it had to wait. A weight without one would fail its share
// of the requests.
func (r *Router) await(ctx context.Context, s Setup, slots Slots, versions []release.VersionID, x cluster.Sets) (waited bool, err error) {
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
