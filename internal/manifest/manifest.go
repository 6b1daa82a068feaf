// Package manifest turns the bytes of a manifest into a release: strict
// decoding, defaults, and validation that reports all problems at once, each
// with its file, line, column and field path. A file, an API request and an
// object of a cluster go through the same rules. It must not know who serves a
// release, a store, a network or a clock.
//
// Read this file first, then tree.go (bytes to a tree with positions), walk.go
// and scalar.go (the tree against the types), check.go (the rules' tools) and
// release.go (the rules). Every default is in default.go.
package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/release"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Limits of what is read at all.
const (
	MaxSize  = 1 << 20 // bytes of one manifest
	maxMarks = 50_000  // line ends, commas and colons
	maxNodes = 20_000  // values, aliases followed
	maxDepth = 40      // levels of nesting

	maxDocuments = 100
	maxRefused   = 200 // fields refused in one document before its reading ends
)

// Kind and API version of a release object.
const Kind = "Release"

var apiVersion = v1alpha1.GroupVersion.String()

// Option changes how a manifest is read.
type Option func(*options)

type options struct{ dir string }

// WithDir makes relative file names absolute: they are relative to dir, the
// manifest's own directory, which is also where processes run by default.
func WithDir(dir string) Option { return func(o *options) { o.dir = dir } }

// Parse reads exactly one release. name is the file's, for messages. The error
// is of type Errors. The object is as the user wrote it (no defaults filled in,
// but with absolute file names where WithDir is given); the release is complete.
func Parse(name string, data []byte, opts ...Option) (v1alpha1.Release, release.Release, error) {
	objs, rels, err := parse(name, data, opts)
	if err != nil {
		return v1alpha1.Release{}, release.Release{}, err
	}
	if len(objs) != 1 {
		return v1alpha1.Release{}, release.Release{}, Errors{{File: name,
			Message: fmt.Sprintf("the file holds %d documents; expected one Release", len(objs))}}
	}
	return objs[0], rels[0], nil
}

// Decode reads a file of one or more releases, separated by lines of "---".
// Names must be unique in it.
func Decode(name string, data []byte, opts ...Option) ([]v1alpha1.Release, error) {
	objs, _, err := parse(name, data, opts)
	return objs, err
}

func parse(name string, data []byte, opts []Option) ([]v1alpha1.Release, []release.Release, error) {
	docs, err := readDocuments(name, data)
	if err != nil {
		return nil, nil, err
	}
	var objs []v1alpha1.Release
	var rels []release.Release
	var problems Errors
	seen := map[string]bool{}
	for _, d := range docs {
		obj, rel := d.release(opts)
		if n := obj.Name; n != "" && seen[n] {
			d.add("metadata.name", fmt.Sprintf("a release named %q stands above already", n), "give each release a name of its own")
		}
		seen[obj.Name] = true
		problems = append(problems, d.located()...)
		objs, rels = append(objs, obj), append(rels, rel)
	}
	if len(problems) > 0 {
		return nil, nil, problems.sorted()
	}
	return objs, rels, nil
}

// FromObject applies defaults and rules to an object of the API or a cluster.
// The error is of type Errors; its problems have a path but no position.
func FromObject(obj v1alpha1.Release, opts ...Option) (release.Release, error) {
	c := newChecker(opts)
	rel := c.release(obj.DeepCopy())
	if len(c.problems) > 0 {
		return release.Release{}, c.problems.sorted()
	}
	return rel, nil
}

// Canonical returns the JSON that is stored of an object: what the user
// declared, without status and without what only a server writes. Equal
// declarations give equal bytes.
func Canonical(obj v1alpha1.Release) ([]byte, error) {
	kept := v1alpha1.Release{
		TypeMeta: metav1.TypeMeta{APIVersion: apiVersion, Kind: Kind},
		ObjectMeta: metav1.ObjectMeta{
			Name: obj.Name, Namespace: obj.Namespace, Labels: obj.Labels,
			Annotations: withoutApplied(obj.Annotations),
		},
		Spec: obj.Spec,
	}
	raw, err := json.Marshal(kept)
	if err != nil {
		return nil, fmt.Errorf("write release %q as JSON: %w", obj.Name, err)
	}
	return canonicalJSON(raw)
}

// lastApplied is where kubectl keeps a whole copy of the object.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

func withoutApplied(annotations map[string]string) map[string]string {
	if _, ok := annotations[lastApplied]; !ok {
		return annotations
	}
	kept := make(map[string]string, len(annotations))
	for k, v := range annotations {
		if k != lastApplied {
			kept[k] = v
		}
	}
	return kept
}

// canonicalJSON sorts the keys at every level and drops the empty status that
// a struct cannot leave out.
func canonicalJSON(raw []byte) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var tree map[string]any
	if err := dec.Decode(&tree); err != nil && err != io.EOF {
		return nil, fmt.Errorf("read back a release's own JSON: %w", err)
	}
	delete(tree, "status")
	if meta, ok := tree["metadata"].(map[string]any); ok {
		delete(meta, "creationTimestamp")
	}
	return json.Marshal(tree)
}

// absolute makes a file name absolute where the manifest's directory is known.
func (o options) absolute(name string) string {
	if o.dir == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(o.dir, name)
}
