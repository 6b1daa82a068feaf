package replicas

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/traffic"
)

// Annotation on the Service holds the split (JSON) while a second version has
// pods; with it the selector may hold one label more than the user wrote, the
// pod-template-hash of the version that has all of the traffic.
const Annotation = "haldane.dev/split"

// pin is what the Service of a release holds beside what its user wrote.
type pin struct {
	name  string
	split *release.Split // nil: at rest
	hash  string         // empty: every ready pod is reached
}

var errMissing = errors.New("create it, or name another one in spec.traffic.replicas.service")

// service is the Service that a release names; empty: none.
func service(rel release.Release) string {
	if rel.Traffic.Replicas == nil {
		return ""
	}
	return rel.Traffic.Replicas.Service
}

// alone is the version that has all of the traffic of a split; empty: none has.
func alone(s release.Split) release.VersionID {
	for _, x := range s.Shares {
		if x.Weight == release.Full {
			return x.Version
		}
	}
	return ""
}

// pinned reads the Service of a release; nil: it names none.
func (r *Router) pinned(ctx context.Context, rel release.Release) (*pin, error) {
	name := service(rel)
	if name == "" {
		return nil, nil
	}
	svc, err := r.read(ctx, rel, name)
	if err != nil {
		return nil, err
	}
	p := &pin{name: name}
	text, ok := svc.Annotations[Annotation]
	if !ok {
		return p, nil
	}
	p.split, p.hash = &release.Split{}, svc.Spec.Selector[appsv1.DefaultDeploymentUniqueLabelKey]
	if err := json.Unmarshal([]byte(text), p.split); err != nil {
		return nil, fmt.Errorf("Service %s: its annotation %s was changed and does not decode (%w): remove it", name, Annotation, err)
	}
	return p, nil
}

func (r *Router) read(ctx context.Context, rel release.Release, name string) (*corev1.Service, error) {
	key := types.NamespacedName{Namespace: cluster.Key(rel.Name).Namespace, Name: name}
	var svc corev1.Service
	switch err := r.client.Get(ctx, key, &svc); {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("Service %s does not exist: %w", key, errMissing)
	case err != nil:
		return nil, fmt.Errorf("read Service %s: %w", key, err)
	case len(svc.Spec.Selector) == 0:
		return nil, fmt.Errorf("Service %s has no selector, so its versions can not be told apart: give it one that matches the pods of the Deployment", key)
	}
	return &svc, nil
}

// point makes the Service lead where a target says, with one write where
// anything changes. Others may write the Service midway: only what is Haldane's
// is written.
func (r *Router) point(ctx context.Context, t traffic.Target, name string) error {
	svc, err := r.read(ctx, t.Release, name)
	if err != nil {
		if len(t.Split.Shares) == 0 && errors.Is(err, errMissing) {
			return nil
		}
		return err
	}
	have, rests := svc.Spec.Selector[appsv1.DefaultDeploymentUniqueLabelKey], svc.Annotations[Annotation] == ""
	if t.Alone || len(t.Split.Shares) == 0 {
		if rests {
			return nil
		}
		return r.patch(ctx, svc, nil, nil)
	}
	x, err := r.client.Sets(ctx, t.Release)
	if err != nil {
		return err
	}
	if !labels.SelectorFromSet(without(svc.Spec.Selector)).Matches(labels.Set(x.Deployment.Spec.Template.Labels)) {
		return fmt.Errorf("Service %s does not select the pods of Deployment %s: name the one that leads to them in spec.traffic.replicas.service", name, x.Deployment.Name)
	}
	var hash any
	if v := alone(t.Split); v != "" {
		h := x.Hash(v)
		if h == "" {
			return fmt.Errorf("version %s has no ReplicaSet, so nothing can be sent to it: wait until its pods are there", v)
		}
		hash = h
	}
	text, err := json.Marshal(t.Split)
	if err != nil {
		return err
	}
	if svc.Annotations[Annotation] == string(text) && (hash == nil && have == "" || hash == have) {
		return nil
	}
	return r.patch(ctx, svc, hash, string(text))
}

// patch writes the label and the annotation; nil takes one away.
func (r *Router) patch(ctx context.Context, svc *corev1.Service, hash, split any) error {
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": svc.UID, "annotations": map[string]any{Annotation: split}},
		"spec":     map[string]any{"selector": map[string]any{appsv1.DefaultDeploymentUniqueLabelKey: hash}},
	})
	if err != nil {
		return err
	}
	if err := r.client.Patch(ctx, svc.DeepCopy(), client.RawPatch(types.MergePatchType, body)); err != nil {
		return fmt.Errorf("write the selector of Service %s: %w", svc.Name, err)
	}
	return nil
}

// without is a selector as the user wrote it.
func without(selector map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range selector {
		if k != appsv1.DefaultDeploymentUniqueLabelKey {
			out[k] = v
		}
	}
	return out
}
