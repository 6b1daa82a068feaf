package kube

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/status"
	"github.com/haldane-project/haldane/internal/store"
)

const defaultKeepRuns = 10

// saveRun writes a Run object, again where it is there, and removes the oldest.
func (s *Store) saveRun(ctx context.Context, obj *v1alpha1.Release, r store.RunRecord) {
	err := s.putRun(ctx, obj, r)
	if err == nil {
		err = s.prune(ctx, obj)
	}
	if err != nil {
		s.options.Log.Warn("the run is missing in the history", "release", r.Release, "run", r.Run.ID, "error", err)
	}
}

func (s *Store) putRun(ctx context.Context, obj *v1alpha1.Release, r store.RunRecord) error {
	run := status.RunOf(r)
	var err error
	if run.Internal, err = pack(r); err != nil {
		return err
	}
	run.Namespace, run.Name = obj.Namespace, shortID(obj.Namespace, r.Run.ID)
	run.Release, run.Status.Name = obj.Name, run.Name
	run.CreationTimestamp = metav1.Time{}
	run.Labels = map[string]string{cluster.ReleaseLabel: obj.Name}
	run.OwnerReferences = []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Release", Name: obj.Name, UID: obj.UID}}
	err = s.client.Add(ctx, &run)
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	var there v1alpha1.Run
	if err := s.client.Live(ctx, client.ObjectKeyFromObject(&run), &there); err != nil {
		return err
	}
	run.ResourceVersion = there.ResourceVersion
	return s.client.Update(ctx, &run)
}

// prune removes the oldest Run objects of a Release.
func (s *Store) prune(ctx context.Context, obj *v1alpha1.Release) error {
	keep := defaultKeepRuns
	if n := obj.Spec.KeepRuns; n != nil {
		keep = int(*n)
	}
	list, err := s.listRuns(ctx, obj.Namespace, obj.Name)
	if err != nil || len(list) <= keep {
		return err
	}
	slices.SortFunc(list, func(a, b v1alpha1.Run) int { return cmp.Compare(sequence(b.Name), sequence(a.Name)) })
	for i := range list[keep:] {
		if err := s.client.Delete(ctx, &list[keep+i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) listRuns(ctx context.Context, namespace, release string) ([]v1alpha1.Run, error) {
	var list v1alpha1.RunList
	opts := []client.ListOption{client.InNamespace(namespace)}
	if release != "" {
		opts = append(opts, client.MatchingLabels{cluster.ReleaseLabel: release})
	}
	if err := s.client.ListLive(ctx, &list, opts...); err != nil {
		return nil, wrap(err, "list the Runs")
	}
	return list.Items, nil
}

// sequence is the number at the end of a run's name.
func sequence(id string) int64 {
	n, _ := strconv.ParseInt(id[strings.LastIndex(id, "-")+1:], 10, 64) // 0: none
	return n
}

// Runs implements store.Store.
func (s *Store) Runs(ctx context.Context, name string, limit int) ([]store.RunRecord, error) {
	namespace, release := s.options.Namespace, ""
	if name != "" {
		key := s.key(name)
		namespace, release = key.Namespace, key.Name
	}
	list, err := s.listRuns(ctx, namespace, release)
	if err != nil {
		return nil, err
	}
	out, err := s.currentRuns(ctx, name)
	if err != nil {
		return nil, err
	}
	for i := range list {
		r, err := s.runRecord(&list[i])
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(out, func(o store.RunRecord) bool { return o.Run.ID == r.Run.ID && o.Release == r.Release }) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, newestFirst)
	if limit > 0 && len(out) > limit {
		out = out[:limit]
	}
	return out, nil
}

func newestFirst(a, b store.RunRecord) int {
	if c := b.Run.Started.Compare(a.Run.Started); c != 0 {
		return c
	}
	if x, y := a.Run.Phase.Ended(), b.Run.Phase.Ended(); x != y {
		if x {
			return 1
		}
		return -1
	}
	return cmp.Or(cmp.Compare(sequence(b.Run.ID), sequence(a.Run.ID)), cmp.Compare(a.Run.ID, b.Run.ID))
}

// currentRuns are the runs that stand in the Releases' status.
func (s *Store) currentRuns(ctx context.Context, name string) ([]store.RunRecord, error) {
	var recs []store.Record
	if name == "" {
		var err error
		if recs, err = s.List(ctx); err != nil {
			return nil, err
		}
	} else if rec, err := s.Get(ctx, name); err == nil {
		recs = append(recs, rec)
	} else if !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	var out []store.RunRecord
	for _, rec := range recs {
		if rec.State.Run != nil {
			out = append(out, record(rec.Name, *rec.State.Run, rec.Look))
		}
	}
	return out, nil
}

// runRecord reads a Run object.
func (s *Store) runRecord(run *v1alpha1.Run) (store.RunRecord, error) {
	var r store.RunRecord
	if err := unpack(run.Internal, &r); err != nil {
		return r, fmt.Errorf("Run %s/%s: internal can not be read: %w", run.Namespace, run.Name, err)
	}
	r.Release = s.name(types.NamespacedName{Namespace: run.Namespace, Name: run.Release})
	r.Run.ID = run.Namespace + "/" + run.Name
	r.Run = s.shortRun(run.Namespace, r.Run)
	return r, nil
}

// Run implements store.Store.
func (s *Store) Run(ctx context.Context, id string) (store.RunRecord, error) {
	key := s.key(id)
	dash := strings.LastIndex(id, "-")
	if dash > 0 {
		rec, err := s.Get(ctx, id[:dash])
		if err == nil && rec.State.Run != nil && rec.State.Run.ID == id {
			return record(rec.Name, *rec.State.Run, rec.Look), nil
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return store.RunRecord{}, err
		}
	}
	var run v1alpha1.Run
	if err := s.client.Live(ctx, key, &run); err != nil {
		return store.RunRecord{}, wrap(err, "read Run %s", key)
	}
	return s.runRecord(&run)
}

// Looks implements store.Store: those of this process, bounded.
func (s *Store) Looks(ctx context.Context, run string, limit int) ([]store.Look, error) {
	out := s.memory.looks(run)
	if len(out) == 0 {
		if dash := strings.LastIndex(run, "-"); dash > 0 { // another process's: its newest is in the record
			if rec, err := s.Get(ctx, run[:dash]); err == nil && rec.Look != nil && rec.Look.Run == run {
				out = []store.Look{*rec.Look}
			}
		}
	}
	if limit > 0 && len(out) > limit {
		out = out[len(out)-limit:]
	}
	return out, nil
}

// Evidence implements store.Store: that of this process, bounded. What another
// process took in before is missing, and the evidence then said to be cut.
func (s *Store) Evidence(ctx context.Context, run string) (store.Evidence, error) {
	lines, cut, ok := s.memory.evidence(run)
	if !ok {
		r, err := s.Run(ctx, run)
		if err != nil {
			return store.Evidence{}, err
		}
		cut = r.Last != nil
	}
	return store.Evidence{ReadCloser: io.NopCloser(bytes.NewReader(lines)), Cut: cut}, nil
}

// FalseAlarms implements store.Store. The record of a deleted release ends with
// the process.
func (s *Store) FalseAlarms(ctx context.Context) (judge.Record, error) {
	objs, err := s.list(ctx)
	if err != nil {
		return judge.Record{}, err
	}
	s.memory.mu.Lock()
	out := s.memory.gone
	s.memory.mu.Unlock()
	for i := range objs {
		d, err := s.decode(&objs[i])
		if err != nil {
			return judge.Record{}, err
		}
		out = out.Add(d.internal.FalseAlarms)
	}
	return out, nil
}

// Events implements store.Store: the newest hundred of each release.
func (s *Store) Events(ctx context.Context, name string, after int64, limit int) ([]store.StoredEvent, error) {
	objs, err := s.objects(ctx, name)
	if err != nil {
		return nil, err
	}
	var out []store.StoredEvent
	for i := range objs {
		d, err := s.decode(&objs[i])
		if err != nil {
			return nil, err
		}
		for _, e := range d.internal.Events {
			e.Release = d.record.Name
			if s.options.Short {
				e.Run = shortID(objs[i].Namespace, e.Run)
			}
			if e.ID > after {
				out = append(out, e)
			}
		}
	}
	slices.SortFunc(out, func(a, b store.StoredEvent) int { return cmp.Compare(a.ID, b.ID) })
	if limit > 0 && len(out) > limit {
		if after > 0 {
			return out[:limit], nil
		}
		return out[len(out)-limit:], nil
	}
	return out, nil
}

func (s *Store) objects(ctx context.Context, name string) ([]v1alpha1.Release, error) {
	if name == "" {
		return s.list(ctx)
	}
	obj, err := s.read(ctx, s.key(name))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return []v1alpha1.Release{*obj}, nil
}

// AuditTrail implements store.Store: what people asked, as far as their answers
// are kept. Who changed and deleted objects is in the cluster's audit log.
func (s *Store) AuditTrail(ctx context.Context, limit int) ([]store.Audit, error) {
	objs, err := s.list(ctx)
	if err != nil {
		return nil, err
	}
	var out []store.Audit
	for i := range objs {
		name := s.name(client.ObjectKeyFromObject(&objs[i]))
		for _, a := range objs[i].Status.Answers {
			out = append(out, audit(name, rollout.Intent{ID: a.ID, At: a.At.UTC(), By: a.By, Verb: rollout.Verb(a.Asked), Reason: a.Reason}))
		}
		for _, w := range waiting(&objs[i]) {
			out = append(out, audit(name, w))
		}
	}
	slices.SortFunc(out, func(a, b store.Audit) int { return cmp.Compare(b.ID, a.ID) })
	if limit > 0 && len(out) > limit {
		out = out[:limit]
	}
	return out, nil
}

func audit(name string, i rollout.Intent) store.Audit {
	return store.Audit{ID: i.ID, At: i.At, Actor: store.Actor{Subject: i.By, From: "cluster"}, Action: string(i.Verb), Release: name, Detail: i.Reason}
}
