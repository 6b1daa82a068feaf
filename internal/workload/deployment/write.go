package deployment

import (
	"context"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/release"
)

// do makes one write.
func (r *Runtime) do(ctx context.Context, rel release.Release, s *state, a act) error {
	switch a.kind {
	case hold:
		return r.patch(ctx, s.user, held(s.user, rel, holdReason))
	case let:
		return r.patch(ctx, s.user, loose(s.user, rel))
	case dropCanary:
		return r.dropCanary(ctx, rel.Name, s)
	case create:
		return r.create(ctx, rel, s, a)
	case scale:
		return r.patch(ctx, s.canary, map[string]any{"spec": map[string]any{"replicas": a.count}})
	case retemplate:
		return r.retemplate(ctx, s, a.version)
	case forget:
		return r.forget(ctx, s, a.version.ID)
	case retract:
		return r.retract(ctx, s, a.version.ID)
	case orphan:
		return r.deleteCanary(ctx, rel.Name, s, metav1.DeletePropagationOrphan)
	default:
		return fmt.Errorf("its pod template is not kept any more: raise spec.revisionHistoryLimit of the Deployment, or apply that template again")
	}
}

const holdReason = "its new version runs in a second Deployment until it is promoted"

// held is the patch that pauses a Deployment and marks it.
func held(d *appsv1.Deployment, rel release.Release, why string) map[string]any {
	return map[string]any{
		"metadata": map[string]any{
			"labels":      map[string]any{cluster.ReleaseLabel: cluster.Key(rel.Name).Name},
			"annotations": map[string]any{cluster.HoldAnnotation: why},
			"uid":         d.UID,
		},
		"spec": map[string]any{"paused": true},
	}
}

// loose is the patch that lets a Deployment roll by itself; one that somebody
// else paused stays so.
func loose(d *appsv1.Deployment, rel release.Release) map[string]any {
	p := without(d)
	p["metadata"].(map[string]any)["labels"] = map[string]any{cluster.ReleaseLabel: cluster.Key(rel.Name).Name}
	return p
}

// without is the patch that takes every trace of Haldane off a Deployment.
func without(d *appsv1.Deployment) map[string]any {
	p := map[string]any{"metadata": map[string]any{
		"labels":      map[string]any{cluster.ReleaseLabel: nil},
		"annotations": map[string]any{cluster.HoldAnnotation: nil},
		"uid":         d.UID,
	}}
	if _, ok := d.Annotations[cluster.HoldAnnotation]; ok {
		p["spec"] = map[string]any{"paused": nil}
	}
	return p
}

// patch merges a part into a Deployment.
func (r *Runtime) patch(ctx context.Context, d *appsv1.Deployment, part map[string]any) error {
	body, err := json.Marshal(part)
	if err != nil {
		return fmt.Errorf("encode a patch: %w", err)
	}
	return r.client.Patch(ctx, d, client.RawPatch(types.MergePatchType, body))
}

// create starts the second Deployment: the identical pod template, none of the
// metadata by which delivery tools track the first, owned by the Release.
func (r *Runtime) create(ctx context.Context, rel release.Release, s *state, a act) error {
	t, _ := s.template(a.version.ID)
	from := s.user.Spec
	key := cluster.Key(rel.Name)
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.key.Namespace, Name: cluster.CanaryDeployment(s.key.Name),
			Labels: map[string]string{cluster.ReleaseLabel: key.Name, cluster.RoleLabel: "canary"},
		},
		Spec: appsv1.DeploymentSpec{
			Replicas: &a.count, Selector: from.Selector, Template: t, Strategy: from.Strategy,
			MinReadySeconds: from.MinReadySeconds, ProgressDeadlineSeconds: from.ProgressDeadlineSeconds,
			RevisionHistoryLimit: from.RevisionHistoryLimit,
		},
	}
	if rel.UID != "" {
		yes, no := true, false
		d.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: "haldane.dev/v1alpha1", Kind: "Release", Name: key.Name, UID: types.UID(rel.UID),
			Controller: &yes, BlockOwnerDeletion: &no,
		}}
	}
	return r.client.Create(ctx, d)
}

// retemplate makes the user's template that of a version which a person asked to
// go back to; the Deployment is paused, so nothing rolls.
func (r *Runtime) retemplate(ctx context.Context, s *state, v release.Version) error {
	t, ok := s.template(v.ID)
	if !ok {
		return fmt.Errorf("the pod template of %s is not kept any more", v.Name)
	}
	d := s.user.DeepCopy()
	keepContent(d, t.Annotations[cluster.ContentAnnotation])
	d.Spec.Template = corev1.PodTemplateSpec{ObjectMeta: t.ObjectMeta, Spec: t.Spec}
	if err := r.client.Update(ctx, d); err != nil {
		return err
	}
	s.user, s.own = d, ""
	return nil
}

// keepContent notes that a template stands for the content that there is now of
// ConfigMaps and Secrets, though its annotation names another one: the person
// went back to the version, so that the content must not start the next run.
func keepContent(d *appsv1.Deployment, annotation string) {
	have := d.Spec.Template.Annotations[cluster.ContentAnnotation]
	content, as := cluster.Content(d)
	if content == "" || have == annotation {
		return
	}
	if have != as {
		content = have
	}
	d.Annotations[cluster.ContentAnnotation] = content + "=" + annotation
}

func (r *Runtime) retract(ctx context.Context, s *state, v release.VersionID) error {
	for _, x := range s.sets {
		if x.version != v || x.owner != s.user.UID || replicas(x.Spec.Replicas) == 0 {
			continue
		}
		part := fmt.Appendf(nil, `{"metadata":{"uid":%q},"spec":{"replicas":0}}`, x.UID)
		if err := r.client.Patch(ctx, x.DeepCopy(), client.RawPatch(types.MergePatchType, part)); err != nil {
			return err
		}
	}
	return nil
}

func (r *Runtime) forget(ctx context.Context, s *state, v release.VersionID) error {
	for _, x := range s.sets {
		if x.version != v || x.owner != s.user.UID || replicas(x.Spec.Replicas) > 0 || x.Status.Replicas > 0 {
			continue
		}
		if err := r.client.Delete(ctx, x.DeepCopy(), client.Preconditions{UID: &x.UID}); err != nil {
			return err
		}
	}
	return nil
}

func (r *Runtime) dropCanary(ctx context.Context, name string, s *state) error {
	if s.canary == nil || s.canary.DeletionTimestamp != nil {
		return nil
	}
	return r.deleteCanary(ctx, name, s, metav1.DeletePropagationBackground)
}

func (r *Runtime) deleteCanary(ctx context.Context, name string, s *state, pods metav1.DeletionPropagation) error {
	must := client.Preconditions{UID: &s.canary.UID}
	if pods == metav1.DeletePropagationOrphan { // what is handed over is what was seen
		must.ResourceVersion = &s.canary.ResourceVersion
	}
	err := r.client.Delete(ctx, s.canary, client.PropagationPolicy(pods), must)
	if err == nil {
		r.mu.Lock()
		r.ended[name] = s.canary.UID
		r.mu.Unlock()
	}
	return err
}
