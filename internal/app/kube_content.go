package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/release"
	kubestore "github.com/haldane-project/haldane/internal/store/kube"
)

// contentPart is one object whose content belongs to a version.
type contentPart struct {
	kind, name string
}

func contentParts(c release.Content) []contentPart {
	var out []contentPart
	for _, name := range c.ConfigMaps {
		out = append(out, contentPart{"ConfigMap", name})
	}
	for _, name := range c.Secrets {
		out = append(out, contentPart{"Secret", name})
	}
	return out
}

// withContent makes the content of the objects that a release names a part of its
// Deployment's template: a template stands for the content that it first had, and
// for another one by an annotation. It is written in one write with pause and
// hold, so that a changed content starts a run as any changed template does, and
// never rolls out by itself. What can not be read is told, and changes nothing.
func (v *clusterView) withContent(ctx context.Context, rel release.Release, d *appsv1.Deployment) (*appsv1.Deployment, error) {
	list := contentParts(rel.Version.Workload.Deployment.Content)
	if len(list) == 0 {
		return d, v.store.ClearNote(ctx, rel.Name, kubestore.ContentNotFound)
	}
	value, why := v.contentValue(d.Namespace, list)
	if why != "" {
		return d, v.store.Note(ctx, rel.Name, kubestore.Note{Reason: kubestore.ContentNotFound, Message: why})
	}
	if err := v.store.ClearNote(ctx, rel.Name, kubestore.ContentNotFound); err != nil {
		return d, err
	}
	body := contentPatch(rel, d, value)
	if body == nil {
		return d, nil
	}
	text, err := json.Marshal(body)
	if err != nil {
		return d, err
	}
	out := d.DeepCopy()
	if err := v.client.Patch(ctx, out, client.RawPatch(types.MergePatchType, text)); err != nil {
		return d, fmt.Errorf("make the content of %v a part of Deployment %s's template: %w", list, d.Name, err)
	}
	return out, nil
}

// contentPatch is what makes a Deployment stand for a content; nil: it does.
func contentPatch(rel release.Release, d *appsv1.Deployment, value string) map[string]any {
	have := d.Spec.Template.Annotations[cluster.ContentAnnotation]
	known, as := cluster.Content(d)
	about := map[string]any{"resourceVersion": d.ResourceVersion}
	if have == "" && (known == "" || partsOf(known) != partsOf(value)) { // the template stands for it from here on
		about["annotations"] = map[string]any{cluster.ContentAnnotation: value + "="}
		return map[string]any{"metadata": about}
	}
	want := value
	if value == known {
		want = as
	}
	if have == want {
		return nil
	}
	var annotation any = want
	if want == "" {
		annotation = nil
	}
	about["labels"] = map[string]any{cluster.ReleaseLabel: cluster.Key(rel.Name).Name}
	about["annotations"] = map[string]any{cluster.HoldAnnotation: "the content of its ConfigMaps or Secrets changed"}
	return map[string]any{"metadata": about, "spec": map[string]any{"paused": true,
		"template": map[string]any{"metadata": map[string]any{"annotations": map[string]any{cluster.ContentAnnotation: annotation}}}}}
}

// contentValue names a content: which objects, and what is in them; or it says
// why it is not known.
func (v *clusterView) contentValue(namespace string, list []contentPart) (value, why string) {
	which, what := sha256.New(), sha256.New()
	for _, p := range list {
		data, err := v.content(p.kind, types.NamespacedName{Namespace: namespace, Name: p.name})
		switch {
		case apierrors.IsForbidden(err):
			return "", fmt.Sprintf("%s %s can not be read: let the controller get, list and watch it (rbac.configMaps and rbac.secrets of the chart), or take it out of spec.workload.deployment.content: %v", p.kind, p.name, err)
		case err != nil:
			return "", fmt.Sprintf("%s %s is not known: %v", p.kind, p.name, err)
		case data == nil:
			return "", fmt.Sprintf("There is no %s %s in namespace %s: create it, or take it out of spec.workload.deployment.content.", p.kind, p.name, namespace)
		}
		fmt.Fprintf(which, "%s/%s\n", p.kind, p.name)
		for _, k := range slices.Sorted(maps.Keys(data)) {
			fmt.Fprintf(what, "%s/%s/%q:%d\n%s\n", p.kind, p.name, k, len(data[k]), data[k])
		}
	}
	return hex.EncodeToString(which.Sum(nil)[:3]) + "-" + hex.EncodeToString(what.Sum(nil)[:8]), ""
}

// partsOf is the part of a content's name that says which objects it is of.
func partsOf(value string) string { return value[:min(len(value), 6)] }
