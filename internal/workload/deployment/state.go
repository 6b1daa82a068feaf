package deployment

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/release"
)

// state is what the cluster holds of one release.
type state struct {
	key    types.NamespacedName // of the user's Deployment
	user   *appsv1.Deployment   // nil: there is none
	own    release.VersionID    // of the user's template, once it was asked for
	canary *appsv1.Deployment   // the second Deployment; nil: there is none
	sets   []set
	// passing: a ReplicaSet of the user's template belongs to neither Deployment,
	// as where the second's end was seen before what it handed over.
	passing bool
}

// set is one ReplicaSet of either Deployment, or of none while it is handed over;
// it is the cache's own, only to be read.
type set struct {
	*appsv1.ReplicaSet
	version release.VersionID
	owner   types.UID // "": nobody's
}

// read gathers the state. A state with an error is of no use.
func (r *Runtime) read(ctx context.Context, rel release.Release) (*state, error) {
	s := &state{key: key(rel)}
	var err error
	if s.user, err = r.deployment(ctx, s.key); err != nil {
		return nil, err
	}
	second := types.NamespacedName{Namespace: s.key.Namespace, Name: cluster.CanaryDeployment(s.key.Name)}
	if s.canary, err = r.deployment(ctx, second); err != nil {
		return nil, err
	}
	if s.canary != nil && s.canary.Labels[cluster.ReleaseLabel] != cluster.Key(rel.Name).Name {
		return nil, fmt.Errorf("Deployment %s is not Haldane's, and the new version of %s is to run under that name: rename it", second, s.key)
	}
	r.markEnded(rel.Name, s.canary)
	if s.user == nil {
		return s, nil
	}
	return s, r.readSets(ctx, s)
}

// markEnded marks a second Deployment as being deleted that this runtime has
// deleted: the cache may not know yet.
func (r *Runtime) markEnded(name string, canary *appsv1.Deployment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case canary == nil:
		delete(r.ended, name)
	case canary.DeletionTimestamp == nil && r.ended[name] == canary.UID:
		now := metav1.Now()
		canary.DeletionTimestamp = &now
	}
}

func (r *Runtime) deployment(ctx context.Context, k types.NamespacedName) (*appsv1.Deployment, error) {
	var d appsv1.Deployment
	if err := r.client.Get(ctx, k, &d); err != nil {
		if gone(err) {
			return nil, nil
		}
		return nil, fmt.Errorf("read Deployment %s: %w", k, err)
	}
	if d.DeletionTimestamp != nil && d.Name == k.Name && len(d.Finalizers) == 0 {
		return nil, nil // on its way out
	}
	return &d, nil
}

func (r *Runtime) readSets(ctx context.Context, s *state) error {
	selector, err := metav1.LabelSelectorAsSelector(s.user.Spec.Selector)
	if err != nil {
		return fmt.Errorf("the selector of Deployment %s: %w", s.key, err)
	}
	var list appsv1.ReplicaSetList
	if err := r.client.List(ctx, &list, client.InNamespace(s.key.Namespace), client.MatchingLabelsSelector{Selector: selector}, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list the ReplicaSets of Deployment %s: %w", s.key, err)
	}
	for i := range list.Items {
		rs := &list.Items[i]
		var owner types.UID
		if c := metav1.GetControllerOf(rs); c != nil {
			owner = c.UID
		}
		x := set{ReplicaSet: rs, version: cluster.TemplateID(rs.Spec.Template), owner: owner}
		if owner == "" || s.owns(owner) {
			s.sets = append(s.sets, x)
		} else if x.version == s.current() && replicas(rs.Spec.Replicas) > 0 {
			s.passing = true
		}
	}
	return nil
}

func (s *state) owns(uid types.UID) bool {
	return uid == s.user.UID || s.canary != nil && uid == s.canary.UID
}

// current is the version of the user's template, hashed once.
func (s *state) current() release.VersionID {
	if s.own == "" {
		s.own = cluster.TemplateID(s.user.Spec.Template)
	}
	return s.own
}

// inUser reports whether the user's Deployment runs a version, or adopts it next.
func (s *state) inUser(v release.VersionID) bool {
	for _, x := range s.sets {
		if x.version == v && (x.owner == s.user.UID || x.owner == "") && replicas(x.Spec.Replicas) > 0 {
			return true
		}
	}
	return false
}

// slipped is the ReplicaSet of the user's own template while that rolls out by
// itself beside an older one: the template changed and nothing held it (the
// admission policy is missing, or the label by which it knows the Deployment).
// Paused, the Deployment brings the older one back to full once this one is
// empty. One that has all instances was handed over, or is what serves.
func (s *state) slipped() *set {
	var rolling *set
	older := false
	for i, x := range s.sets {
		n := replicas(x.Spec.Replicas)
		switch {
		case n == 0 || x.owner != s.user.UID:
		case x.version != s.current():
			older = true
		case n < s.full():
			rolling = &s.sets[i]
		}
	}
	if !older {
		return nil
	}
	return rolling
}

// inCanary reports whether the second Deployment is of a version.
func (s *state) inCanary(v release.VersionID) bool {
	return s.canary != nil && cluster.TemplateID(s.canary.Spec.Template) == v
}

// template is a version's pod template, as far as it is kept.
func (s *state) template(v release.VersionID) (corev1.PodTemplateSpec, bool) {
	if s.current() == v {
		return *s.user.Spec.Template.DeepCopy(), true
	}
	if s.inCanary(v) {
		return *s.canary.Spec.Template.DeepCopy(), true
	}
	for _, x := range s.sets {
		if x.version == v {
			t := *x.Spec.Template.DeepCopy()
			delete(t.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
			return t, true
		}
	}
	return corev1.PodTemplateSpec{}, false
}

// settled reports whether the user's Deployment runs a version alone.
func (s *state) settled(v release.VersionID) bool {
	adopted := false
	for _, x := range s.sets {
		switch {
		case x.version == v && x.owner == s.user.UID && replicas(x.Spec.Replicas) > 0:
			adopted = true
		case replicas(x.Spec.Replicas) > 0:
			return false
		}
	}
	return adopted || replicas(s.user.Spec.Replicas) == 0
}

// full is the number of instances that serve all of the traffic.
func (s *state) full() int32 { return replicas(s.user.Spec.Replicas) }

// replicas is what an optional count means.
func replicas(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}
