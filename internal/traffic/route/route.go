// Package route is what the routers of a cluster share: it writes a split into
// the user's own route objects while two versions have instances, and restores
// the objects to what the user wrote at rest. It knows objects, lists in them and
// the Services that select one version each; what a rule of a route looks like,
// a Technology tells. It must not know runs or verdicts.
//
// Midway an object holds, in one annotation, what the user wrote and the split
// that was written in, so that nothing is lost with the process. Who edits such
// an object midway edits the original.
//
// Read this file first, then router.go (apply, observe, remove), note.go (what
// an object remembers), slot.go (which Service selects which version).
package route

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/haldane-project/haldane/internal/release"
)

// Annotation holds the Note of an object that a split is written into.
const Annotation = "haldane.dev/split"

// VersionLabel on a Service of Haldane's says which version it selects.
const VersionLabel = "haldane.dev/version"

// Technology is one way to write a split into objects.
type Technology interface {
	// Setup is what a release asks of the technology; an error says why it can not.
	Setup(ctx context.Context, rel release.Release) (Setup, error)
	// Check reports why a split can not be had from what the cluster runs. It is
	// asked before a split that raises some version's share is written.
	Check(ctx context.Context, s Setup, split release.Split) error
}

// Setup is one release's routing.
type Setup struct {
	Namespace string
	Service   string // the user's, which selects the pods of all versions
	Slots     [2]string
	// Subsets: slots are no Services of their own, but subsets of the Service.
	Subsets bool
	Settle  time.Duration // from accepted, or written, to in force
	// Parts in the order in which they are written as the split comes; the
	// other way round as it goes.
	Parts []Part
}

// Part is one object that the split is written into.
type Part struct {
	Kind schema.GroupVersionKind
	Name string
	Path []string // of the list that is changed, such as spec.rules
	// Own is the object at rest where Haldane owns it; nil: the user's.
	Own func() map[string]any
	// Transient: an owned object that does not exist at rest.
	Transient bool
	// Render writes a split into the original list.
	Render func(original []any, split release.Split, slots Slots) (Rendering, error)
	// Reset takes the slots out of an item that somebody edited midway, given
	// the original list; false: it has none.
	Reset func(item map[string]any, original []any) bool
	// Annotations is the prefix of those that Render writes; empty: none.
	Annotations string
	// Accepted reports whether whoever acts on the object has taken it in; an
	// error says why it was refused. Nil: it does not say.
	Accepted func(obj *unstructured.Unstructured) (bool, error)
}

// Rendering is a list with a split in it.
type Rendering struct {
	Items []any
	From  []int // for each item its index in the original, -1 for one that was added
	// Annotations of an object that Haldane owns, all with the part's prefix.
	Annotations map[string]string
}

// Slots say under which name, and by which pod-template-hash, each version is
// reached. A version without weight may have none yet.
type Slots map[release.VersionID]Slot

// Slot is where one version is reached.
type Slot struct {
	Name string `json:"name"`
	Hash string `json:"hash"`
}

func (s Setup) key(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: s.Namespace, Name: name}
}

func (p Part) String() string { return p.Kind.Kind + " " + p.Name }
