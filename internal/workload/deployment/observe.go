package deployment

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/workload"
)

// Observe implements workload.Runtime. Instances are pods: one is ready when its
// Ready condition says so (for minReadySeconds, where the template asks it) and
// it is not being deleted; it exists until it is gone.
func (r *Runtime) Observe(ctx context.Context, rel release.Release) (workload.Fleet, error) {
	if rel.Version.Workload.Deployment == nil || r.isFree(rel.Name) {
		return workload.Fleet{}, nil
	}
	s, err := r.read(ctx, rel)
	if err != nil || s.user == nil {
		return workload.Fleet{}, err
	}
	selector, err := metav1.LabelSelectorAsSelector(s.user.Spec.Selector)
	if err != nil {
		return workload.Fleet{}, fmt.Errorf("the selector of Deployment %s: %w", s.key, err)
	}
	var pods corev1.PodList
	if err := r.client.List(ctx, &pods, client.InNamespace(s.key.Namespace), client.MatchingLabelsSelector{Selector: selector}, client.UnsafeDisableDeepCopy); err != nil {
		return workload.Fleet{}, fmt.Errorf("list the pods of Deployment %s: %w", s.key, err)
	}
	return s.fleet(pods.Items, r.isAlone(rel.Name, s.current())), nil
}

// tally is what one version's pods say.
type tally struct {
	group     rollout.ObservedGroup
	addresses []string
}

// fleet is what runs; alone: the user's template is wanted with no other version.
func (s *state) fleet(pods []corev1.Pod, alone bool) workload.Fleet {
	version := map[types.UID]release.VersionID{}
	tallies := map[release.VersionID]*tally{}
	of := func(v release.VersionID) *tally {
		if tallies[v] == nil {
			tallies[v] = &tally{group: rollout.ObservedGroup{Version: v}}
		}
		return tallies[v]
	}
	for _, x := range s.sets {
		version[x.UID] = x.version
		if replicas(x.Spec.Replicas) > 0 {
			of(x.version).refused(x)
		}
	}
	for i := range pods {
		p := &pods[i]
		c := metav1.GetControllerOf(p)
		if c == nil || version[c.UID] == "" || over(p) {
			continue
		}
		of(version[c.UID]).add(p)
	}
	s.available(of)
	if !alone {
		s.unheld(of)
	}
	s.deadline(of)
	var out workload.Fleet
	for _, t := range tallies {
		if t.group.Total == 0 && t.group.Error == "" {
			continue
		}
		slices.Sort(t.addresses)
		out.Groups = append(out.Groups, t.group)
		if len(t.addresses) > 0 {
			out.Backends = append(out.Backends, release.Backend{Version: t.group.Version, Addresses: t.addresses})
		}
	}
	slices.SortFunc(out.Groups, func(a, b rollout.ObservedGroup) int { return cmp.Compare(a.Version, b.Version) })
	slices.SortFunc(out.Backends, func(a, b release.Backend) int { return cmp.Compare(a.Version, b.Version) })
	return out
}

// over reports whether a pod has ended for good: it will never serve again and
// keeps no connection.
func over(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

func (t *tally) add(p *corev1.Pod) {
	t.group.Total++
	if p.DeletionTimestamp != nil {
		return
	}
	if ready(p) {
		t.group.Ready++
		t.addresses = append(t.addresses, address(p)...)
		return
	}
	if why, final := trouble(p); why != "" {
		t.group.Error = why
		t.group.Blocked = t.group.Blocked || final
	}
}

// refused notes why a ReplicaSet can not make its pods: a quota, an admission
// that says no.
func (t *tally) refused(x set) {
	for _, c := range x.Status.Conditions {
		if c.Type == appsv1.ReplicaSetReplicaFailure && c.Status == corev1.ConditionTrue {
			t.group.Error = "its pods can not be created: " + c.Message + "; raise the quota, or mend what refuses them"
		}
	}
}

// deadline marks the second Deployment's version as blocked once it made no
// progress for progressDeadlineSeconds.
func (s *state) deadline(of func(release.VersionID) *tally) {
	if s.canary == nil {
		return
	}
	for _, c := range s.canary.Status.Conditions {
		if c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse && s.canary.Status.ObservedGeneration >= s.canary.Generation {
			for _, x := range s.sets {
				if x.owner == s.canary.UID && replicas(x.Spec.Replicas) > 0 {
					t := of(x.version)
					t.group.Blocked = true
					t.group.Error = cmp.Or(t.group.Error, c.Message)
				}
			}
		}
	}
}

// available takes as ready only what the ReplicaSets say was ready for
// minReadySeconds, where the Deployment asks for that.
func (s *state) available(of func(release.VersionID) *tally) {
	if s.user.Spec.MinReadySeconds == 0 {
		return
	}
	sums := map[release.VersionID]int{}
	for _, x := range s.sets {
		sums[x.version] += int(x.Status.AvailableReplicas)
	}
	for v, n := range sums {
		t := of(v)
		t.group.Ready = min(t.group.Ready, n)
	}
}

// unheld takes a version as not ready that rolls out by itself: its pods are
// taken back and must get no traffic.
func (s *state) unheld(of func(release.VersionID) *tally) {
	x := s.slipped()
	if x == nil || s.inCanary(x.version) {
		return
	}
	t := of(x.version)
	t.group.Ready, t.addresses = 0, nil
	t.group.Error = fmt.Sprintf("Deployment %s began to roll out by itself: its template changed and nothing held it; install the admission policy, or run the controller with --pause-at-rest", s.key)
}

func ready(p *corev1.Pod) bool {
	for _, c := range p.Status.ContainerStatuses {
		if c.State.Terminated != nil { // told before the condition follows
			return false
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// final are the reasons of a waiting container that no retry mends.
var final = []string{"InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError"}

// trouble says why a pod is not ready; forGood: no retry will help.
func trouble(p *corev1.Pod) (why string, forGood bool) {
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "" && c.State.Waiting.Reason != "ContainerCreating" && c.State.Waiting.Reason != "PodInitializing":
			w := c.State.Waiting
			why = fmt.Sprintf("container %s of pod %s: %s", c.Name, p.Name, w.Reason)
			if w.Message != "" {
				why += ": " + w.Message
			}
			if l := c.LastTerminationState.Terminated; l != nil {
				why += fmt.Sprintf(" (it ended with exit code %d: %s)", l.ExitCode, l.Reason)
			}
			return why, slices.Contains(final, w.Reason)
		case c.State.Terminated != nil && c.State.Terminated.ExitCode != 0:
			return fmt.Sprintf("container %s of pod %s ended with exit code %d: %s", c.Name, p.Name, c.State.Terminated.ExitCode, c.State.Terminated.Reason), false
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return fmt.Sprintf("pod %s has no node: %s", p.Name, c.Message), false
		}
	}
	return "", false
}

// address is where a pod answers: its first TCP port.
func address(p *corev1.Pod) []string {
	if p.Status.PodIP == "" {
		return nil
	}
	for _, c := range p.Spec.Containers {
		for _, port := range c.Ports {
			if port.Protocol == "" || port.Protocol == corev1.ProtocolTCP {
				return []string{"http://" + net.JoinHostPort(p.Status.PodIP, strconv.Itoa(int(port.ContainerPort)))}
			}
		}
	}
	return []string{"http://" + net.JoinHostPort(p.Status.PodIP, "80")}
}
