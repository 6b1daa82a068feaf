package route

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/release"
)

// Note is what an object remembers while a split is written into it.
type Note struct {
	Split    release.Split `json:"split"`
	Slots    Slots         `json:"slots"`
	Original []any         `json:"original"`
	// Managers are the object's field managers before, kept where one of them
	// would find its list taken over (server-side apply).
	Managers []metav1.ManagedFieldsEntry `json:"managers,omitempty"`
}

// maxNote bounds the annotation; the server takes 256 KiB of all together.
const maxNote = 128 << 10

// held is one part as it is in the cluster.
type held struct {
	part   Part
	obj    *unstructured.Unstructured // nil: there is none
	list   []any
	note   *Note // nil: at rest
	edited bool  // midway, by somebody else
	open   bool  // nothing of a split is in it
}

// read reads one part and makes out who wrote what.
func (r *Router) read(ctx context.Context, s Setup, p Part, live bool) (*held, error) {
	h := &held{part: p, open: true}
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(p.Kind)
	get := r.client.Get
	if live {
		get = r.client.Live
	}
	err := get(ctx, s.key(p.Name), u)
	switch {
	case apierrors.IsNotFound(err):
		return h, nil
	case meta.IsNoMatchError(err):
		return nil, fmt.Errorf("this cluster has no kind %s of %s: install it, or choose another router in spec.traffic", p.Kind.Kind, p.Kind.GroupVersion())
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", p, err)
	}
	h.obj = u
	if h.list, err = listOf(h.obj, p.Path); err != nil {
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	text, ok := h.obj.GetAnnotations()[Annotation]
	if !ok {
		return h, h.foreign()
	}
	var n Note
	if err := json.Unmarshal([]byte(text), &n); err != nil {
		return nil, fmt.Errorf("%s: its annotation %s was changed and does not decode (%w): write the object as it should be at rest, without the annotation", p, Annotation, err)
	}
	h.note, h.open = &n, false
	return h, h.reconcile()
}

// foreign refuses an object of somebody else where Haldane is to own one.
func (h *held) foreign() error {
	if h.part.Own != nil && h.obj.GetLabels()[cluster.ReleaseLabel] == "" {
		return fmt.Errorf("%s exists and is not Haldane's: name it in spec.traffic, or rename it", h.part)
	}
	return nil
}

// reconcile compares the list with what was written. Where somebody edited it,
// the edit becomes a part of the original.
func (h *held) reconcile() error {
	n := h.note
	want, err := h.part.Render(n.Original, n.Split, n.Slots)
	if err != nil {
		return fmt.Errorf("%s: %w", h.part, err)
	}
	if equal(h.list, want.Items) && maps.Equal(h.annotations(), want.Annotations) {
		return nil
	}
	h.edited, h.open = true, true
	var original []any
	for _, item := range h.list {
		if i := slices.IndexFunc(want.Items, func(x any) bool { return equal(x, item) }); i >= 0 {
			if m, ok := Clone(item).(map[string]any); ok && h.part.Reset(m, n.Original) {
				h.open = false
			}
			if from := want.From[i]; from >= 0 {
				original = append(original, n.Original[from])
			}
			continue
		}
		if slices.ContainsFunc(n.Original, func(x any) bool { return equal(x, item) }) {
			original = append(original, item) // written again as it was
			continue
		}
		if m, ok := Clone(item).(map[string]any); ok && h.part.Reset(m, n.Original) {
			h.open = false
			item = m
		}
		original = append(original, item)
	}
	n.Original = original
	return nil
}

// annotations are those that Render writes.
func (h *held) annotations() map[string]string {
	out := map[string]string{}
	for k, v := range h.obj.GetAnnotations() {
		if h.part.Annotations != "" && strings.HasPrefix(k, h.part.Annotations) {
			out[k] = v
		}
	}
	return out
}

// original is what the user wrote.
func (h *held) original() []any {
	switch {
	case h.note != nil:
		return h.note.Original
	case h.obj != nil:
		return h.list
	}
	return ownList(h.part)
}

// listOf reads a list of an object.
func listOf(u *unstructured.Unstructured, path []string) ([]any, error) {
	list, _, err := unstructured.NestedSlice(u.Object, path...)
	return list, err
}

func ownList(p Part) []any {
	if p.Own == nil {
		return nil
	}
	list, _, _ := unstructured.NestedSlice(p.Own(), p.Path...) // built in this process
	return list
}

// equal compares what may have been through JSON.
func equal(a, b any) bool {
	if reflect.DeepEqual(a, b) {
		return true // what is one in memory is one as JSON
	}
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}

// Clone copies plain JSON data.
func Clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, x := range v {
			m[k] = Clone(x)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i, x := range v {
			l[i] = Clone(x)
		}
		return l
	}
	return v
}
