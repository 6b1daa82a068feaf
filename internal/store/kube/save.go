package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
)

// Finalizer keeps a deleted Release until its routing and its instances are as
// the user wrote them.
const Finalizer = "haldane.dev/release"

const tries = 5 // of a write that new annotations or labels overtook

// Save implements store.Store: one status write. Run objects of ended runs come
// before it and answered annotations go after it, so that a crash between leaves
// what the next pass writes again.
func (s *Store) Save(ctx context.Context, in store.Save) (int64, error) {
	if len(in.Evidence) > 0 && in.Look == nil {
		return 0, fmt.Errorf("release %q: evidence came without a look, so it is not known of which run it is", in.Name)
	}
	key := s.key(in.Name)
	obj, err := s.read(ctx, key)
	for range tries {
		if err != nil {
			return 0, err
		}
		var rev int64
		if rev, err = s.saveOnto(ctx, obj, in); err == nil {
			return rev, nil
		}
		if !apierrors.IsConflict(err) {
			return 0, wrap(err, "save Release %s", key)
		}
		obj, err = s.live(ctx, key)
	}
	return 0, fmt.Errorf("release %q: it changed %d times while it was saved: %w", in.Name, tries, store.ErrConflict)
}

// saveOnto saves onto one version of the object; the server's conflict error
// means that there is a newer one.
func (s *Store) saveOnto(ctx context.Context, obj *v1alpha1.Release, in store.Save) (int64, error) {
	d, err := s.decode(obj)
	if err != nil {
		return 0, err
	}
	if d.record.Revision != in.Revision {
		return 0, fmt.Errorf("the pass read revision %d and now it is %d: %w", in.Revision, d.record.Revision, store.ErrConflict)
	}
	if in.Gone {
		if err := s.gone(ctx, obj, in); err != nil {
			return 0, err
		}
		m := d.internal.FalseAlarms
		if in.Placebo != nil {
			m = m.Add(*in.Placebo)
		}
		s.memory.alarms(m)
		return in.Revision + 1, nil
	}
	if obj, err = s.finalized(ctx, obj); err != nil {
		return 0, err
	}
	mem := s.next(obj, d, in)
	s.saveRuns(ctx, obj, d, mem, in)
	next := obj.DeepCopy()
	if next.Status, err = s.statusOf(obj, mem, answers(obj, in, s.options.Now())); err != nil {
		return 0, err
	}
	if err := s.client.UpdateStatus(ctx, next); err != nil {
		return 0, err
	}
	s.memory.save(next.UID, in)
	if len(in.Consumed) > 0 {
		s.consumed(ctx, next)
	}
	s.Tell(client.ObjectKeyFromObject(next))
	return revision(next, mem), nil
}

// next is the machine's part after a save.
func (s *Store) next(obj *v1alpha1.Release, d decoded, in store.Save) internal {
	m := d.internal
	m.Writes++
	m.State, m.Judge, m.Cursor, m.Observed = in.State, in.Judge, in.Cursor, in.Observed
	if in.Look != nil {
		m.Look = in.Look
	}
	if m.Look != nil && (m.State.Run == nil || m.State.Run.ID != m.Look.Run) {
		m.Look = nil
	}
	if m.Applied.Generation != obj.Generation {
		m.Applied = applied{Generation: obj.Generation, At: s.options.Now().UTC()}
		if obj.Generation == 1 {
			m.Applied.At = obj.CreationTimestamp.UTC()
		}
	}
	if !s.refused(client.ObjectKeyFromObject(obj), obj.Generation) {
		m.Accepted = accepted{Generation: obj.Generation, Manifest: d.record.Manifest}
	}
	if in.Placebo != nil {
		m.FalseAlarms = m.FalseAlarms.Add(*in.Placebo)
	}
	m.Events = slices.Clone(m.Events)
	for _, e := range in.Events {
		m.Events = append(m.Events, store.StoredEvent{ID: s.newID(), Release: in.Name, Event: e})
	}
	if n := len(m.Events); n > keepEvents {
		m.Events = m.Events[n-keepEvents:]
	}
	return m
}

// finalized sees to the finalizer, which comes before anything of the user's is
// touched.
func (s *Store) finalized(ctx context.Context, obj *v1alpha1.Release) (*v1alpha1.Release, error) {
	if obj.DeletionTimestamp != nil || slices.Contains(obj.Finalizers, Finalizer) {
		return obj, nil
	}
	return s.patch(ctx, obj, map[string]any{"metadata": map[string]any{
		"resourceVersion": obj.ResourceVersion, "finalizers": append(slices.Clone(obj.Finalizers), Finalizer)}})
}

// gone lets a deleted Release go.
func (s *Store) gone(ctx context.Context, obj *v1alpha1.Release, in store.Save) error {
	for _, run := range in.Ended {
		s.saveRun(ctx, obj, store.RunRecord{Release: in.Name, Run: run})
	}
	if err := s.Release(ctx, obj); err != nil {
		return err
	}
	key := client.ObjectKeyFromObject(obj)
	s.forget(key)
	s.memory.forget(obj.UID)
	s.Tell(key)
	return nil
}

// Release takes the finalizer off an object that is being deleted; one that is
// not is deleted.
func (s *Store) Release(ctx context.Context, obj *v1alpha1.Release) error {
	rest := slices.DeleteFunc(slices.Clone(obj.Finalizers), func(f string) bool { return f == Finalizer })
	if len(rest) != len(obj.Finalizers) {
		_, err := s.patch(ctx, obj, map[string]any{"metadata": map[string]any{"resourceVersion": obj.ResourceVersion, "finalizers": rest}})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	if obj.DeletionTimestamp != nil {
		return nil
	}
	return s.client.Delete(ctx, obj, client.Preconditions{UID: &obj.UID})
}

// patch merges a part into the object and returns it as it is then. The error is
// the server's.
func (s *Store) patch(ctx context.Context, obj *v1alpha1.Release, part map[string]any) (*v1alpha1.Release, error) {
	body, err := json.Marshal(part)
	if err != nil {
		return nil, err
	}
	next := &v1alpha1.Release{ObjectMeta: metav1.ObjectMeta{Namespace: obj.Namespace, Name: obj.Name}}
	if err := s.client.Patch(ctx, next, client.RawPatch(types.MergePatchType, body)); err != nil {
		return nil, err
	}
	return next, nil
}

// saveRuns writes the runs that ended with this save. What can not be written is
// missing in the history and hinders nothing.
func (s *Store) saveRuns(ctx context.Context, obj *v1alpha1.Release, d decoded, m internal, in store.Save) {
	for _, run := range in.Ended {
		s.saveRun(ctx, obj, record(in.Name, run, d.internal.Look))
	}
	run, was := in.State.Run, d.internal.State.Run
	if run == nil || !run.Phase.Ended() || was != nil && was.ID == run.ID && was.Phase.Ended() {
		return
	}
	s.saveRun(ctx, obj, record(in.Name, *run, m.Look))
}

func record(name string, run rollout.Run, look *store.Look) store.RunRecord {
	r := store.RunRecord{Release: name, Run: run}
	if look != nil && look.Run == run.ID {
		r.Last = &look.Report
	}
	return r
}

// newID is a number that grows, across processes as far as their clocks agree.
func (s *Store) newID() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastID = max(s.lastID+1, s.options.Now().UnixNano())
	return s.lastID
}
