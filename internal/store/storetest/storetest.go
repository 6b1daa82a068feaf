// Package storetest is the suite that every store must pass: the contract of
// package store as tests. It knows the port only. Read the contract in store.go
// first.
package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
)

// Harness makes the store under test.
type Harness struct {
	// Open returns an empty store.
	Open func(t *testing.T) store.Store
	// Reopen closes a store and opens what it kept; nil where that means nothing.
	Reopen func(t *testing.T, s store.Store) store.Store
	// Cluster: the store differs as the port says of stores in a cluster.
	Cluster bool
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	for _, c := range []struct {
		name string
		test func(*testing.T, store.Store)
	}{
		{"Apply", h.testApply}, {"Delete", testDelete}, {"Intents", testIntents}, {"Save", testSave},
		{"SaveConflict", h.testSaveConflict}, {"SaveGone", h.testSaveGone}, {"NotFound", testNotFound},
		{"Runs", testRuns}, {"Looks", testLooks}, {"Evidence", testEvidence}, {"FalseAlarms", testFalseAlarms}, {"Events", testEvents}, {"Audit", h.testAudit},
		{"Watch", testWatch}, {"ConcurrentWriters", testConcurrentWriters}, {"Cancelled", testCancelled},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, h.Open(t)) })
	}
	if h.Reopen != nil {
		t.Run("Reopen", func(t *testing.T) { testReopen(t, h) })
	}
}

// Epoch is a moment that the suite's records are stamped with.
var Epoch = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

var person = store.Actor{Subject: "ada", From: "local"}

func manifest(name string, n int) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"apiVersion":"haldane.dev/v1alpha1","kind":"Release","metadata":{"name":%q},`+
		`"spec":{"traffic":{"embedded":{"listen":"127.0.0.1:0"}},"version":"v%d","workload":{"deployment":{"name":"app"}}}}`, name, n))
}

// spec is the part of a manifest that every store keeps byte for byte.
func spec(t *testing.T, manifest json.RawMessage) string {
	t.Helper()
	var m struct{ Spec json.RawMessage }
	if err := json.Unmarshal(manifest, &m); err != nil {
		t.Fatal(err)
	}
	return string(m.Spec)
}

func must[T any](t *testing.T, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func wantIs(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("error %v; want one that is %v", err, target)
	}
}

func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// apply creates a release and returns its record.
func apply(t *testing.T, s store.Store, name string) store.Record {
	t.Helper()
	r, err := s.Apply(t.Context(), name, manifest(name, 1), person, Epoch)
	return must(t, r, err)
}

// run is a state with the n-th run of a release.
func run(name string, n int64, phase rollout.Phase) rollout.State {
	v := release.NewVersion("v2", release.Workload{Process: &release.Process{Command: []string{"./app"}, Env: []release.EnvVar{{Name: "A", Value: "b"}}}})
	stable := release.NewVersion("v1", release.Workload{Process: &release.Process{Command: []string{"./old"}}})
	return rollout.State{Stable: &stable, RunSeq: n, Run: &rollout.Run{
		ID: fmt.Sprintf("%s-%d", name, n), From: &stable, To: v, Phase: phase, Started: Epoch, Why: "because",
		Plan: release.Plan{Kind: release.Canary, Steps: []release.Step{{Weight: 500, Require: release.Proven, Gates: []release.Gate{{Name: "person", Kind: release.GatePerson}}}}},
	}}
}

func look(id string, n int) *store.Look {
	value := float64(n) / 1000
	return &store.Look{Run: id, At: Epoch.Add(time.Duration(n) * time.Second), Step: 1, Weight: 500, Seen: 0.051,
		Report: judge.Report{Verdict: judge.Inconclusive, Reason: "not enough yet", Canary: int64(n), Metrics: []judge.MetricReport{
			{Name: "errors", Verdict: judge.Pass, Canary: judge.SideReport{N: int64(n), Value: &value}}}}}
}

// save writes a state onto the newest revision.
func save(t *testing.T, s store.Store, in store.Save) {
	t.Helper()
	r, err := s.Get(t.Context(), in.Name)
	in.Revision = must(t, r, err).Revision
	rev, err := s.Save(t.Context(), in)
	must(t, rev, err)
}

func (h Harness) testApply(t *testing.T, s store.Store) {
	r := apply(t, s, "hello")
	if r.UID == "" || r.Generation != 1 || !h.stamped(r, Epoch, Epoch) || r.Deleting || r.Look != nil {
		t.Errorf("created: %+v", r)
	}
	same(t, "spec", spec(t, manifest("hello", 1)), spec(t, r.Manifest))

	again, err := s.Apply(t.Context(), "hello", manifest("hello", 1), person, Epoch.Add(time.Hour))
	same(t, "an unchanged manifest", r, must(t, again, err))

	changed, err := s.Apply(t.Context(), "hello", manifest("hello", 2), person, Epoch.Add(time.Hour))
	must(t, changed, err)
	if changed.UID != r.UID || changed.Generation != 2 || !h.stamped(changed, Epoch, Epoch.Add(time.Hour)) || changed.Revision <= r.Revision {
		t.Errorf("changed: %+v", changed)
	}
	read, err := s.Get(t.Context(), "hello")
	same(t, "what Get reads", changed, must(t, read, err))

	apply(t, s, "another")
	list, err := s.List(t.Context())
	must(t, list, err)
	if len(list) != 2 || list[0].Name != "another" || list[1].Name != "hello" {
		t.Errorf("List: %+v", list)
	}
	if _, err := s.Apply(t.Context(), "broken", json.RawMessage(`{"a":`), person, Epoch); err == nil {
		t.Error("a manifest that is not JSON was stored")
	}
}

// stamped reports whether a record has the times that it was given; a cluster
// has its own clock.
func (h Harness) stamped(r store.Record, created, applied time.Time) bool {
	return h.Cluster && !r.Created.IsZero() && !r.Applied.IsZero() || r.Created.Equal(created) && r.Applied.Equal(applied)
}

func testDelete(t *testing.T, s store.Store) {
	r := apply(t, s, "hello")
	save(t, s, store.Save{Name: "hello"}) // a pass has seen it: only that holds it up
	if err := s.Delete(t.Context(), "hello", person, Epoch); err != nil {
		t.Fatal(err)
	}
	marked, err := s.Get(t.Context(), "hello")
	if must(t, marked, err); !marked.Deleting || marked.Revision <= r.Revision {
		t.Errorf("deleted: %+v", marked)
	}
	if err := s.Delete(t.Context(), "hello", person, Epoch); err != nil {
		t.Errorf("deleting again: %v", err)
	}
	_, err = s.Apply(t.Context(), "hello", manifest("hello", 2), person, Epoch)
	wantIs(t, err, store.ErrConflict)
}

func testIntents(t *testing.T, s store.Store) {
	r := apply(t, s, "hello")
	apply(t, s, "other")
	ask := func(name string, i rollout.Intent) int64 {
		id, err := s.Ask(t.Context(), name, i, person)
		return must(t, id, err)
	}
	pause := rollout.Intent{Verb: rollout.AskPause, Run: "hello-1", By: "ada", Reason: "lunch", At: Epoch}
	back := rollout.Intent{Verb: rollout.AskRollback, Version: "abc", By: "ada", At: Epoch.Add(time.Second)}
	pause.ID, back.ID = ask("hello", pause), ask("hello", back)
	ask("other", rollout.Intent{Verb: rollout.AskAbort, At: Epoch})
	if back.ID <= pause.ID {
		t.Errorf("IDs do not grow: %d, %d", pause.ID, back.ID)
	}
	got, err := s.Intents(t.Context(), "hello")
	same(t, "waiting intents", []rollout.Intent{pause, back}, must(t, got, err))
	if _, ok, err := s.Answer(t.Context(), pause.ID); ok || err != nil {
		t.Errorf("an answer before there is one: %v, %v", ok, err)
	}

	// An intent that came while the pass ran does not stop its save.
	answer := rollout.IntentAnswer{ID: pause.ID, Done: true, Message: "paused"}
	_, err = s.Save(t.Context(), store.Save{Name: "hello", Revision: r.Revision, Consumed: []rollout.IntentAnswer{answer}})
	if err != nil {
		t.Fatal(err)
	}
	a, ok, err := s.Answer(t.Context(), pause.ID)
	if must(t, a, err); !ok {
		t.Error("the answer is not there")
	}
	same(t, "answer", answer, a)
	got, err = s.Intents(t.Context(), "hello")
	same(t, "still waiting", []rollout.Intent{back}, must(t, got, err))
}

func testSave(t *testing.T, s store.Store) {
	before := apply(t, s, "hello")
	in := store.Save{
		Name: "hello", Revision: before.Revision, State: run("hello", 1, rollout.Progressing),
		Judge: json.RawMessage(`{"e":1.5}`), Cursor: []byte{0, 1, 255},
		Observed: store.Observed{At: Epoch, Fleet: []rollout.ObservedGroup{{Version: "a", Ready: 1, Total: 2, Error: "slow"}},
			Split: release.Split{Salt: "hello-1", Shares: []release.Share{{Version: "a", Weight: release.Full}}, Rest: "a"}, Error: "late"},
		Look: look("hello-1", 1),
	}
	rev, err := s.Save(t.Context(), in)
	must(t, rev, err)
	r, err := s.Get(t.Context(), "hello")
	must(t, r, err)
	want := before
	want.State, want.Judge, want.Cursor, want.Observed, want.Look, want.Revision = in.State, in.Judge, in.Cursor, in.Observed, in.Look, rev
	same(t, "saved record", want, r)
	if rev <= before.Revision {
		t.Errorf("the revision went from %d to %d", before.Revision, rev)
	}

	save(t, s, store.Save{Name: "hello", State: in.State})
	r, err = s.Get(t.Context(), "hello")
	same(t, "the look of a run stays until there is a newer one", in.Look, must(t, r, err).Look)
	if r.Judge != nil || r.Cursor != nil {
		t.Errorf("judge %q and cursor %q are kept although the pass wrote none", r.Judge, r.Cursor)
	}
	save(t, s, store.Save{Name: "hello", State: run("hello", 2, rollout.Preparing)})
	r, err = s.Get(t.Context(), "hello")
	if must(t, r, err).Look != nil {
		t.Error("the look of an earlier run is shown for the next one")
	}
}

func (h Harness) testSaveConflict(t *testing.T, s store.Store) {
	r := apply(t, s, "hello")
	if _, err := s.Apply(t.Context(), "hello", manifest("hello", 2), person, Epoch); err != nil {
		t.Fatal(err)
	}
	_, err := s.Save(t.Context(), store.Save{Name: "hello", Revision: r.Revision, State: run("hello", 1, rollout.Preparing),
		Look: look("hello-1", 1), KeepLook: true, Events: []rollout.Event{{At: Epoch, Reason: "RunStarted"}}, Audit: []store.Audit{{Action: "promote"}}})
	wantIs(t, err, store.ErrConflict)
	now, err := s.Get(t.Context(), "hello")
	if must(t, now, err).State.Run != nil {
		t.Error("a refused save changed the record")
	}
	events, _ := s.Events(t.Context(), "hello", 0, 0)
	runs, _ := s.Runs(t.Context(), "hello", 0)
	looks, _ := s.Looks(t.Context(), "hello-1", 0)
	trail, _ := s.AuditTrail(t.Context(), 0)
	applies := 2
	if h.Cluster {
		applies = 0
	}
	if len(events)+len(runs)+len(looks) != 0 || len(trail) != applies {
		t.Errorf("a refused save left %d events, %d runs, %d looks, %d audit lines", len(events), len(runs), len(looks), len(trail))
	}
}

func (h Harness) testSaveGone(t *testing.T, s store.Store) {
	apply(t, s, "hello")
	id, err := s.Ask(t.Context(), "hello", rollout.Intent{Verb: rollout.AskPause, At: Epoch}, person)
	must(t, id, err)
	save(t, s, store.Save{Name: "hello", State: run("hello", 7, rollout.Promoted), Look: look("hello-7", 1), KeepLook: true})
	save(t, s, store.Save{Name: "hello", Gone: true, Events: []rollout.Event{{At: Epoch, Reason: "Deleted"}}})
	_, err = s.Get(t.Context(), "hello")
	wantIs(t, err, store.ErrNotFound)
	runs, err := s.Runs(t.Context(), "hello", 0)
	if !h.Cluster && len(must(t, runs, err)) != 1 {
		t.Errorf("the history of a deleted release: %+v", runs)
	}
	if a, ok, err := s.Answer(t.Context(), id); !ok || err != nil || a.Done {
		t.Errorf("an intent of a deleted release: %+v, %v, %v", a, ok, err)
	}
	r := apply(t, s, "hello")
	if !h.Cluster && r.State.RunSeq != 7 || r.Generation != 1 || r.State.Run != nil {
		t.Errorf("created again: %+v", r)
	}
}

func testNotFound(t *testing.T, s store.Store) {
	ctx := t.Context()
	_, err := s.Get(ctx, "none")
	wantIs(t, err, store.ErrNotFound)
	wantIs(t, s.Delete(ctx, "none", person, Epoch), store.ErrNotFound)
	_, err = s.Ask(ctx, "none", rollout.Intent{Verb: rollout.AskAbort, At: Epoch}, person)
	wantIs(t, err, store.ErrNotFound)
	_, err = s.Save(ctx, store.Save{Name: "none"})
	wantIs(t, err, store.ErrNotFound)
	_, err = s.Run(ctx, "none-1")
	wantIs(t, err, store.ErrNotFound)
	_, _, err = s.Answer(ctx, 4711)
	wantIs(t, err, store.ErrNotFound)
	trail, err := s.AuditTrail(ctx, 0)
	if len(must(t, trail, err)) != 0 {
		t.Errorf("refused writes left audit lines: %+v", trail)
	}
}

func testRuns(t *testing.T, s store.Store) {
	apply(t, s, "hello")
	apply(t, s, "other")
	for n := int64(1); n <= 3; n++ {
		save(t, s, store.Save{Name: "hello", State: run("hello", n, rollout.Preparing)})
		save(t, s, store.Save{Name: "hello", State: run("hello", n, rollout.Progressing), Look: look(fmt.Sprintf("hello-%d", n), int(n))})
		save(t, s, store.Save{Name: "hello", State: run("hello", n, rollout.Promoted)})
	}
	save(t, s, store.Save{Name: "other", State: run("other", 1, rollout.Preparing)})
	runs, err := s.Runs(t.Context(), "hello", 2)
	must(t, runs, err)
	want := []store.RunRecord{
		{Release: "hello", Run: *run("hello", 3, rollout.Promoted).Run, Last: &look("", 3).Report},
		{Release: "hello", Run: *run("hello", 2, rollout.Promoted).Run, Last: &look("", 2).Report},
	}
	same(t, "the newest two runs", want, runs)
	all, err := s.Runs(t.Context(), "", 0)
	if must(t, all, err); len(all) != 4 || all[0].Run.ID != "other-1" {
		t.Errorf("all runs: %+v", all)
	}
	one, err := s.Run(t.Context(), "hello-2")
	same(t, "one run", want[1], must(t, one, err))

	// A run that ends in the pass that begins the next keeps its end.
	ended := *run("other", 1, rollout.Superseded).Run
	save(t, s, store.Save{Name: "other", State: run("other", 2, rollout.Preparing), Ended: []rollout.Run{ended}})
	one, err = s.Run(t.Context(), "other-1")
	same(t, "the run that ended before the next", ended, must(t, one, err).Run)
}

func testLooks(t *testing.T, s store.Store) {
	apply(t, s, "hello")
	var want []store.Look
	for n := range 10 {
		l := look("hello-1", n)
		keep := n%2 == 0
		save(t, s, store.Save{Name: "hello", State: run("hello", 1, rollout.Progressing), Look: l, KeepLook: keep})
		if keep {
			want = append(want, *l)
		}
	}
	got, err := s.Looks(t.Context(), "hello-1", 0)
	same(t, "kept looks", want, must(t, got, err))
	got, err = s.Looks(t.Context(), "hello-1", 2)
	same(t, "the newest two", want[3:], must(t, got, err))
	r, err := s.Get(t.Context(), "hello")
	same(t, "the newest look", look("hello-1", 9), must(t, r, err).Look)
}

func testEvents(t *testing.T, s store.Store) {
	apply(t, s, "hello")
	apply(t, s, "other")
	event := func(n int) rollout.Event {
		return rollout.Event{At: Epoch.Add(time.Duration(n) * time.Microsecond), Reason: "StepStarted", Message: fmt.Sprint(n), Run: "hello-1", Warning: n == 1, By: "ada"}
	}
	for n := range 6 {
		save(t, s, store.Save{Name: "hello", Events: []rollout.Event{event(2 * n), event(2*n + 1)}})
	}
	save(t, s, store.Save{Name: "other", Events: []rollout.Event{event(99)}})
	all, err := s.Events(t.Context(), "hello", 0, 0)
	if must(t, all, err); len(all) != 12 {
		t.Fatalf("%d events; want 12", len(all))
	}
	for n, e := range all {
		same(t, "event", event(n), e.Event)
		if e.Release != "hello" || (n > 0 && e.ID <= all[n-1].ID) {
			t.Errorf("event %d has number %d and release %q", n, e.ID, e.Release)
		}
	}
	newest, err := s.Events(t.Context(), "hello", 0, 3)
	same(t, "the newest three", all[9:], must(t, newest, err))
	page, err := s.Events(t.Context(), "hello", all[4].ID, 3)
	same(t, "a page behind the fifth", all[5:8], must(t, page, err))
	every, err := s.Events(t.Context(), "", 0, 0)
	if must(t, every, err); len(every) != 13 {
		t.Errorf("%d events of all releases; want 13", len(every))
	}
}

func (h Harness) testAudit(t *testing.T, s store.Store) {
	r := apply(t, s, "hello")
	id, err := s.Ask(t.Context(), "hello", rollout.Intent{Verb: rollout.AskPromote, By: person.Subject, Reason: "seen enough", At: Epoch}, person)
	must(t, id, err)
	line := store.Audit{At: Epoch, Actor: store.Actor{Subject: "haldane"}, Action: "rollback", Release: "hello", Detail: "VerdictFail"}
	if _, err := s.Save(t.Context(), store.Save{Name: "hello", Revision: r.Revision, Audit: []store.Audit{line}}); err != nil {
		t.Fatal(err)
	}
	trail, err := s.AuditTrail(t.Context(), 0)
	must(t, trail, err)
	if h.Cluster {
		if len(trail) != 1 {
			t.Fatalf("audit: %+v", trail)
		}
		asked(t, trail[0])
		return
	}
	if len(trail) != 3 {
		t.Fatalf("audit: %+v", trail)
	}
	line.ID = trail[0].ID
	same(t, "the newest line", line, trail[0])
	asked(t, trail[1])
	if trail[2].Action != "apply" || trail[2].Actor != person {
		t.Errorf("the line of apply: %+v", trail[2])
	}
	short, err := s.AuditTrail(t.Context(), 1)
	same(t, "one line", trail[:1], must(t, short, err))
}

func asked(t *testing.T, got store.Audit) {
	t.Helper()
	if got.Action != "promote" || got.Actor.Subject != person.Subject || got.Detail != "seen enough" || got.Release != "hello" || !got.At.Equal(Epoch) {
		t.Errorf("the line of an intent: %+v", got)
	}
}
