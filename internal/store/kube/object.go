package kube

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/manifest"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
)

const (
	maxInternal = 768 << 10 // bytes of the machine's part: an object of etcd has 1.5 MiB
	maxDecoded  = 16 << 20  // of the same, unpacked
	keepEvents  = 100
	keepAnswers = 20
)

// internal is the machine's part of a Release's status.
type internal struct {
	// Writes counts the saves, and makes the revision with the generation.
	Writes   int64               `json:"writes"`
	State    rollout.State       `json:"state"`
	Judge    json.RawMessage     `json:"judge,omitempty"`
	Cursor   []byte              `json:"cursor,omitempty"`
	Look     *store.Look         `json:"look,omitempty"`
	Observed store.Observed      `json:"observed"`
	Applied  applied             `json:"applied"`
	Accepted accepted            `json:"accepted"`
	Events   []store.StoredEvent `json:"events,omitempty"`
	// FalseAlarms is the judge's record, summed up over the saves.
	FalseAlarms judge.Record `json:"falseAlarms"`
}

// applied is when a generation was first seen.
type applied struct {
	Generation int64     `json:"generation"`
	At         time.Time `json:"at"`
}

// accepted is the last manifest that a pass acted on: what holds while the one
// that stands in the object is refused.
type accepted struct {
	Generation int64           `json:"generation"`
	Manifest   json.RawMessage `json:"manifest,omitempty"`
}

// decoded is an object as a record; it holds for one version of the object.
type decoded struct {
	uid, version string
	internal     internal
	record       store.Record
}

// decode turns an object into a record, each version of it once.
func (s *Store) decode(obj *v1alpha1.Release) (decoded, error) {
	key := client.ObjectKeyFromObject(obj)
	s.mu.Lock()
	d, ok := s.decoded[key]
	s.mu.Unlock()
	if ok && d.uid == string(obj.UID) && d.version == obj.ResourceVersion {
		return d, nil
	}
	d = decoded{uid: string(obj.UID), version: obj.ResourceVersion}
	if err := unpack(obj.Status.Internal, &d.internal); err != nil {
		return d, fmt.Errorf("Release %s: status.internal can not be read (%w): if another program wrote it, empty it with kubectl edit --subresource=status, and Haldane begins anew with what it finds", key, err)
	}
	doc, err := manifest.Canonical(declared(obj))
	if err != nil {
		return d, err
	}
	d.record = s.record(obj, d.internal, doc)
	s.mu.Lock()
	s.decoded[key] = d
	s.mu.Unlock()
	return d, nil
}

// declared is the object without what people ask by annotations.
func declared(obj *v1alpha1.Release) v1alpha1.Release {
	out := *obj
	out.Annotations = maps.Clone(obj.Annotations)
	for k := range out.Annotations {
		if asks(k) {
			delete(out.Annotations, k)
		}
	}
	if len(out.Annotations) == 0 {
		out.Annotations = nil
	}
	return out
}

func (s *Store) record(obj *v1alpha1.Release, in internal, doc json.RawMessage) store.Record {
	key := client.ObjectKeyFromObject(obj)
	r := store.Record{
		Name: s.name(key), UID: string(obj.UID), Generation: obj.Generation, Manifest: doc,
		Created: obj.CreationTimestamp.UTC(), Applied: obj.CreationTimestamp.UTC(), Deleting: obj.DeletionTimestamp != nil,
		State: in.State, Judge: in.Judge, Cursor: in.Cursor, Look: in.Look, Observed: in.Observed,
		Revision: revision(obj, in),
	}
	if in.Applied.Generation == obj.Generation {
		r.Applied = in.Applied.At
	}
	return s.shorten(key, r)
}

// revision grows with every save and every change of the spec, and with nothing
// else: what people ask and labels that they set do not hinder a pass.
func revision(obj *v1alpha1.Release, in internal) int64 {
	n := obj.Generation + in.Writes
	if obj.DeletionTimestamp != nil {
		n++
	}
	return n
}

// shorten leaves the namespace out of the names of runs, where it is fixed.
func (s *Store) shorten(key types.NamespacedName, r store.Record) store.Record {
	if !s.options.Short {
		return r
	}
	if r.State.Run != nil {
		run := s.shortRun(key.Namespace, *r.State.Run)
		r.State.Run = &run
	}
	if r.Look != nil {
		l := *r.Look
		l.Run = shortID(key.Namespace, l.Run)
		r.Look = &l
	}
	return r
}

func (s *Store) shortRun(namespace string, r rollout.Run) rollout.Run {
	if s.options.Short {
		r.ID = shortID(namespace, r.ID)
	}
	return r
}

// shortID is the name of the Run object of a run.
func shortID(namespace, id string) string { return strings.TrimPrefix(id, namespace+"/") }

// pack writes a value small: JSON, packed, as text.
func pack(v any) (string, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	var buf bytes.Buffer
	w := base64.NewEncoder(base64.StdEncoding, &buf)
	z := gzip.NewWriter(w)
	if _, err := z.Write(raw); err != nil {
		return "", err
	}
	if err := z.Close(); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	if buf.Len() > maxInternal {
		return "", fmt.Errorf("what is to be kept of it has %d KiB and at most %d KiB fit into its object: use fewer metrics, steps or match rules, or a shorter manifest", buf.Len()>>10, maxInternal>>10)
	}
	return buf.String(), nil
}

func unpack(text string, v any) error {
	if text == "" {
		return nil
	}
	z, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, strings.NewReader(text)))
	if err != nil {
		return err
	}
	raw, err := io.ReadAll(io.LimitReader(z, maxDecoded))
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, v)
}
