package storetest

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
)

// evidence reads all that is kept of a run.
func evidence(t *testing.T, s store.Store, run string) string {
	t.Helper()
	e, err := s.Evidence(t.Context(), run)
	must(t, e, err)
	if e.Cut {
		t.Errorf("the evidence of %s is said to be cut", run)
	}
	b, err := io.ReadAll(e)
	must(t, b, err)
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	return string(b)
}

func testEvidence(t *testing.T, s store.Store) {
	_, err := s.Evidence(t.Context(), "hello-1")
	wantIs(t, err, store.ErrNotFound)
	apply(t, s, "hello")
	save(t, s, store.Save{Name: "hello", State: run("hello", 1, rollout.Preparing)})
	same(t, "before there is any", "", evidence(t, s, "hello-1"))
	var want strings.Builder
	for n := range 200 { // some hundred kilobytes: more than any store keeps in one piece
		lines := strings.Repeat(fmt.Sprintf("{\"t\": %d, \"metric\": \"errors\"}\n", n), 50)
		want.WriteString(lines)
		save(t, s, store.Save{Name: "hello", State: run("hello", 1, rollout.Progressing), Look: look("hello-1", n), Evidence: []byte(lines)})
	}
	same(t, "all of it, in order", want.String(), evidence(t, s, "hello-1"))

	// Refused saves leave nothing: the evidence is what the judge's state has.
	r, err := s.Get(t.Context(), "hello")
	stale := store.Save{Name: "hello", Revision: must(t, r, err).Revision - 1, Look: look("hello-1", 1), Evidence: []byte("{}\n")}
	_, err = s.Save(t.Context(), stale)
	wantIs(t, err, store.ErrConflict)
	if _, err := s.Save(t.Context(), store.Save{Name: "hello", Revision: r.Revision, State: r.State, Evidence: []byte("{}\n")}); err == nil {
		t.Error("evidence of no run was taken")
	}
	same(t, "after refused saves", want.String(), evidence(t, s, "hello-1"))

	save(t, s, store.Save{Name: "hello", State: run("hello", 2, rollout.Progressing), Look: look("hello-2", 1), Evidence: []byte("{}\n")})
	same(t, "another run's", "{}\n", evidence(t, s, "hello-2"))
	same(t, "the first run's", want.String(), evidence(t, s, "hello-1"))
}

// The record adds up in the transaction of each save, and outlives the release.
func testFalseAlarms(t *testing.T, s store.Store) {
	rec := apply(t, s, "hello")
	same(t, "the record at first", judge.Record{}, falseAlarms(t, s))
	for i, p := range []*judge.Record{{Runs: 1, Allowed: 0.25}, nil, {Runs: 1, Alarms: 1, Allowed: 0.5}, {Runs: 2, Alarms: 1, Allowed: 0.5}} {
		revision, err := s.Save(t.Context(), store.Save{Name: "hello", Revision: rec.Revision, Placebo: p, Gone: i == 3})
		rec.Revision = must(t, revision, err)
	}
	_, err := s.Save(t.Context(), store.Save{Name: "hello", Revision: rec.Revision, Placebo: &judge.Record{Runs: 1, Allowed: 1}})
	wantIs(t, err, store.ErrNotFound)
	same(t, "the record", judge.Record{Runs: 4, Alarms: 2, Allowed: 1.25}, falseAlarms(t, s))
}

func falseAlarms(t *testing.T, s store.Store) judge.Record {
	t.Helper()
	r, err := s.FalseAlarms(t.Context())
	return must(t, r, err)
}
