package route

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/release"
)

// change is one write of one part.
type change struct {
	*held
	list []any
	note *Note // nil: at rest
	// annotations that Render writes; nil: at rest.
	annotations map[string]string
	// before is the part as it was, once the change is written.
	before  *held
	created bool // there was none
}

// changeTo is what makes a part hold a split; nil: it does already.
func changeTo(h *held, split release.Split, slots Slots) (*change, error) {
	n := &Note{Split: split, Slots: slots, Original: h.original()}
	want, err := h.part.Render(n.Original, split, slots)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h.part, err)
	}
	if h.note != nil {
		n.Managers = h.note.Managers
	} else if h.obj != nil {
		n.Managers = appliers(h.obj, h.part.Path)
	}
	if h.note != nil && equal(h.list, want.Items) && equal(h.note, n) && maps.Equal(h.annotations(), want.Annotations) {
		return nil, nil
	}
	return &change{held: h, list: want.Items, note: n, annotations: want.Annotations}, nil
}

// appliers returns the field managers where one of them applied the list
// server-side: taking its list over would make its next apply conflict.
func appliers(u *unstructured.Unstructured, path []string) []metav1.ManagedFieldsEntry {
	all := u.GetManagedFields()
	if slices.ContainsFunc(all, func(m metav1.ManagedFieldsEntry) bool {
		return m.Operation == metav1.ManagedFieldsOperationApply && m.FieldsV1 != nil && owns(m.FieldsV1.GetRawBytes(), path)
	}) {
		return all
	}
	return nil
}

// owns reports whether a set of fields has a path.
func owns(raw []byte, path []string) bool {
	var set map[string]any
	if json.Unmarshal(raw, &set) != nil {
		return false
	}
	for _, p := range path {
		next, ok := set["f:"+p].(map[string]any)
		if !ok {
			return false
		}
		set = next
	}
	return true
}

// write makes the change with one write on the object as it was read; with try
// the server only says whether it would take it.
func (r *Router) write(ctx context.Context, s Setup, rel release.Release, c *change, try bool) error {
	if c.obj == nil {
		return r.create(ctx, s, rel, c, try)
	}
	annotations := map[string]any{Annotation: nil}
	for k := range c.held.annotations() {
		annotations[k] = nil
	}
	for k, v := range c.annotations {
		annotations[k] = v
	}
	if c.note != nil {
		text, err := c.note.text()
		if err != nil {
			return fmt.Errorf("%s: %w", c.part, err)
		}
		annotations[Annotation] = text
	}
	body := nest(c.part.Path, c.list)
	body["metadata"] = map[string]any{"resourceVersion": c.obj.GetResourceVersion(), "annotations": annotations}
	u := c.obj.DeepCopy()
	if err := r.patch(ctx, u, body, try); err != nil {
		return fmt.Errorf("write the split into %s: %w", c.part, err)
	}
	if !try {
		c.obj = u
	}
	return nil
}

func (r *Router) patch(ctx context.Context, u *unstructured.Unstructured, body map[string]any, try bool) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	p := client.RawPatch(types.MergePatchType, text)
	if try {
		return r.client.TryPatch(ctx, u, p)
	}
	return r.client.Patch(ctx, u, p)
}

// create makes an object that Haldane owns.
func (r *Router) create(ctx context.Context, s Setup, rel release.Release, c *change, try bool) (err error) {
	u := &unstructured.Unstructured{Object: c.part.Own()}
	u.SetGroupVersionKind(c.part.Kind)
	u.SetNamespace(s.Namespace)
	u.SetName(c.part.Name)
	u.SetLabels(map[string]string{cluster.ReleaseLabel: cluster.Key(rel.Name).Name})
	u.SetOwnerReferences(owners(rel))
	annotations := maps.Clone(u.GetAnnotations())
	if annotations == nil {
		annotations = map[string]string{}
	}
	maps.Copy(annotations, c.annotations)
	if c.note != nil {
		text, err := c.note.text()
		if err != nil {
			return fmt.Errorf("%s: %w", c.part, err)
		}
		annotations[Annotation] = text
	}
	u.SetAnnotations(annotations)
	if err = unstructured.SetNestedSlice(u.Object, c.list, c.part.Path...); err != nil {
		return fmt.Errorf("%s: %w", c.part, err)
	}
	if try {
		err = r.client.TryCreate(ctx, u)
	} else if err = r.client.Create(ctx, u); err == nil {
		c.obj = u
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", c.part, err)
	}
	return nil
}

// restore makes an object what it is at rest; gone: the release is deleted.
func (r *Router) restore(ctx context.Context, s Setup, rel release.Release, h *held, gone bool) error {
	if h.obj == nil && h.part.Own != nil && !h.part.Transient && !gone {
		return r.create(ctx, s, rel, &change{held: h, list: h.original()}, false)
	}
	if h.obj == nil || h.note == nil {
		return nil
	}
	if h.part.Transient {
		return r.client.Delete(ctx, h.obj, client.Preconditions{UID: ptr(h.obj.GetUID())})
	}
	c := &change{held: h, list: h.note.Original}
	if err := r.write(ctx, s, rel, c, false); err != nil || len(h.note.Managers) == 0 {
		return err
	}
	// Give the list back to whoever applied it, so that its next apply does not conflict.
	managers, err := managersOf(h.note.Managers)
	if err != nil {
		return fmt.Errorf("%s: %w", h.part, err)
	}
	body := map[string]any{"metadata": map[string]any{"resourceVersion": c.obj.GetResourceVersion(), "managedFields": managers}}
	if err := r.patch(ctx, c.obj.DeepCopy(), body, false); err != nil {
		return fmt.Errorf("give the fields of %s back to their managers: %w", h.part, err)
	}
	return nil
}

// undo makes a part what it was before a change.
func (r *Router) undo(ctx context.Context, s Setup, rel release.Release, c *change) error {
	if c.created {
		return r.client.Delete(ctx, c.obj)
	}
	now := *c.before // as it was, at the version that was written
	now.obj = c.obj
	back := &change{held: &now, list: c.before.list, note: c.before.note, annotations: c.before.annotations()}
	return r.write(ctx, s, rel, back, false)
}

func managersOf(entries []metav1.ManagedFieldsEntry) (any, error) {
	text, err := json.Marshal(entries)
	if err != nil {
		return nil, err
	}
	var out any
	return out, json.Unmarshal(text, &out)
}

func (n *Note) text() (string, error) {
	b, err := json.Marshal(n)
	if err == nil && len(b) > maxNote {
		err = fmt.Errorf("its list is too large to be kept beside the split (%d bytes, at most %d): split the object", len(b), maxNote)
	}
	return string(b), err
}

// nest puts a value under a path.
func nest(path []string, v any) map[string]any {
	for i := len(path) - 1; i > 0; i-- {
		v = map[string]any{path[i]: v}
	}
	return map[string]any{path[0]: v}
}

// owners makes an object go with its release.
func owners(rel release.Release) []metav1.OwnerReference {
	if rel.UID == "" {
		return nil
	}
	return []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Release",
		Name: cluster.Key(rel.Name).Name, UID: types.UID(rel.UID)}}
}

func ptr[T any](v T) *T { return &v }
