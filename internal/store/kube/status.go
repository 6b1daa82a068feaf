package kube

import (
	"context"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/manifest"
	"github.com/haldane-project/haldane/internal/status"
)

// Note says why a release can not go on although its record does not: its spec
// is refused, what it names is not there. It is told as the condition Stalled.
type Note struct {
	Reason  string // CamelCase
	Message string // what is wrong and how to mend it, one sentence
	// Refused: the spec is not acted on; the manifest before it holds.
	Refused bool

	generation int64
}

// Note says, or with the zero note takes back, why a release can not go on. It
// writes only what the status does not say yet.
func (s *Store) Note(ctx context.Context, name string, n Note) error {
	key := s.key(name)
	obj, err := s.read(ctx, key)
	for range tries {
		if err != nil {
			return err
		}
		n.generation = obj.Generation
		s.mu.Lock()
		if s.notes[key] = n; n.Reason == "" {
			delete(s.notes, key)
		}
		s.mu.Unlock()
		if told(obj, n) {
			return nil
		}
		if err = s.refresh(ctx, obj); err == nil {
			return nil
		}
		if !apierrors.IsConflict(err) {
			break
		}
		obj, err = s.live(ctx, key)
	}
	return wrap(err, "write the condition %s of Release %s", n.Reason, key)
}

// ClearNote takes a note back if it has one of these reasons.
func (s *Store) ClearNote(ctx context.Context, name string, reasons ...string) error {
	obj, err := s.read(ctx, s.key(name))
	if err != nil {
		return err
	}
	s.mu.Lock()
	note, noted := s.notes[s.key(name)]
	s.mu.Unlock()
	c := meta.FindStatusCondition(obj.Status.Conditions, "Stalled")
	said := c != nil && slices.Contains(reasons, c.Reason)
	if noted && slices.Contains(reasons, note.Reason) || !noted && said {
		return s.Note(ctx, name, Note{})
	}
	return nil
}

// LetGo takes the finalizer off a Release that is being deleted and for which
// nothing was begun.
func (s *Store) LetGo(ctx context.Context, name string) error {
	obj, err := s.read(ctx, s.key(name))
	if err != nil || obj.DeletionTimestamp == nil {
		return err
	}
	return s.Release(ctx, obj)
}

// told reports whether the status says this already.
func told(obj *v1alpha1.Release, n Note) bool {
	c := meta.FindStatusCondition(obj.Status.Conditions, "Stalled")
	if n.Reason == "" {
		return c == nil || !slices.Contains(noteReasons, c.Reason)
	}
	return c != nil && c.Reason == n.Reason && c.Message == n.Message && c.ObservedGeneration == n.generation && c.Status == metav1.ConditionTrue
}

// The reasons of notes.
const (
	InvalidSpec      = "InvalidSpec"
	ContentNotFound  = "ContentNotFound"
	WorkloadNotFound = "WorkloadNotFound"
	WorkloadTaken    = "WorkloadTaken"
	NotSupported     = "NotSupported"
)

var noteReasons = []string{InvalidSpec, WorkloadNotFound, WorkloadTaken, ContentNotFound, NotSupported}

// refused reports whether a generation of the spec is noted as refused.
func (s *Store) refused(key types.NamespacedName, generation int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.notes[key]
	return n.Refused && n.generation == generation
}

// Accepted is the manifest that the last pass of a release acted on, for as long
// as the one that stands in its object is refused; nil: none was acted on yet.
func (s *Store) Accepted(ctx context.Context, name string) ([]byte, error) {
	obj, err := s.read(ctx, s.key(name))
	if err != nil {
		return nil, err
	}
	d, err := s.decode(obj)
	return d.internal.Accepted.Manifest, err
}

// refresh writes the status anew without a save.
func (s *Store) refresh(ctx context.Context, obj *v1alpha1.Release) error {
	d, err := s.decode(obj)
	if err != nil {
		return err
	}
	next := obj.DeepCopy()
	if next.Status, err = s.statusOf(obj, d.internal, obj.Status.Answers); err != nil {
		return err
	}
	return s.client.UpdateStatus(ctx, next)
}

// statusOf is the whole status: people's fields as every other view of Haldane
// shows them, and the machine's part.
func (s *Store) statusOf(obj *v1alpha1.Release, m internal, answered []v1alpha1.AnswerStatus) (v1alpha1.ReleaseStatus, error) {
	key := client.ObjectKeyFromObject(obj)
	doc, err := manifest.Canonical(declared(obj))
	if err != nil {
		return v1alpha1.ReleaseStatus{}, err
	}
	rec := s.record(obj, m, doc)
	st := status.Of(rec).Status
	if st.Run != nil {
		st.Run.Name = shortID(key.Namespace, st.Run.Name)
	}
	s.mu.Lock()
	note := s.notes[key]
	s.mu.Unlock()
	st.ObservedGeneration = obj.Generation
	conditions(&st, note, obj.Generation)
	keepTransitions(st.Conditions, obj.Status.Conditions, s.options.Now())
	st.Answers = answered
	st.Internal, err = pack(m)
	return st, err
}

// conditions adds the note to the conditions and stamps their generation.
func conditions(st *v1alpha1.ReleaseStatus, note Note, generation int64) {
	if note.Reason != "" {
		st.Message = note.Message
	}
	for i := range st.Conditions {
		c := &st.Conditions[i]
		c.ObservedGeneration = generation
		if note.Reason == "" {
			continue
		}
		c.Reason, c.Message, c.Status = note.Reason, note.Message, metav1.ConditionFalse
		if c.Type == "Stalled" {
			c.Status = metav1.ConditionTrue
		}
	}
}

const maxMessage = 32 << 10 // of a condition, by the API's conventions

// keepTransitions leaves the time of a condition that says what it said before.
func keepTransitions(now, before []metav1.Condition, at time.Time) {
	for i := range now {
		c := &now[i]
		c.Message = c.Message[:min(len(c.Message), maxMessage)]
		was := meta.FindStatusCondition(before, c.Type)
		switch {
		case was != nil && was.Status == c.Status:
			c.LastTransitionTime = was.LastTransitionTime
		case was != nil || c.LastTransitionTime.IsZero():
			c.LastTransitionTime = metav1.NewTime(at)
		}
	}
}
