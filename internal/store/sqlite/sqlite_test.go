package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
	"github.com/haldane-project/haldane/internal/store/storetest"
)

func open(t *testing.T, dir string, opts ...Option) *Store {
	t.Helper()
	s, err := Open(t.Context(), dir, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	storetest.Run(t, storetest.Harness{
		Open: func(t *testing.T) store.Store { return open(t, t.TempDir()) },
		Reopen: func(t *testing.T, s store.Store) store.Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return open(t, filepath.Dir(s.(*Store).path))
		},
	})
}

func TestFilesAreTheOwnersOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := open(t, dir)
	fill(t, s, 1)
	for name, want := range map[string]os.FileMode{dir: 0o700, s.path: 0o600, s.path + "-wal": 0o600, s.path + "-shm": 0o600} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o; want %o", name, got, want)
		}
	}
}

func TestDurabilityIsOn(t *testing.T) {
	s := open(t, t.TempDir())
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2"} {
		var got string
		if err := s.write.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q (%v); want %q", pragma, got, err, want)
		}
	}
}

func TestTwoProcessesCannotShareADirectory(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, err := Open(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "in use by another haldane") {
		t.Errorf("second Open: %v", err)
	}
}

// fill applies one release and saves n looks and events.
func fill(t *testing.T, s *Store, n int) {
	t.Helper()
	ctx := t.Context()
	r, err := s.Apply(ctx, "hello", []byte(`{"spec":{}}`), store.Actor{Subject: "test"}, storetest.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if r.Revision, err = s.Save(ctx, lookSave(r.Revision, i)); err != nil {
			t.Fatal(err)
		}
	}
}

func lookSave(revision int64, i int) store.Save {
	return store.Save{
		Name: "hello", Revision: revision, State: rollout.State{RunSeq: 1, Run: &rollout.Run{ID: "hello-1", Phase: rollout.Progressing, To: release.Version{ID: "b"}}},
		Look: &store.Look{Run: "hello-1", At: storetest.Epoch.Add(time.Duration(i) * time.Second), Step: i}, KeepLook: true,
		Events: []rollout.Event{{At: storetest.Epoch, Reason: "Look", Message: fmt.Sprint(i)}},
	}
}

func TestLooksAreThinned(t *testing.T) {
	s := open(t, t.TempDir(), WithRetention(Retention{Runs: 10, AllRuns: 10, Looks: 40, Events: 10, AllEvents: 20, Answers: 10, Audit: 10}))
	const all = 500
	fill(t, s, all)
	looks, err := s.Looks(t.Context(), "hello-1", 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(looks) > 40 || len(looks) < 20 {
		t.Errorf("%d looks are kept of %d; want 20 to 40", len(looks), all)
	}
	if looks[0].Step != 0 || looks[len(looks)-1].Step != all-1 {
		t.Errorf("the first kept look is %d and the last %d", looks[0].Step, looks[len(looks)-1].Step)
	}
	for i, l := range looks[1:] {
		if l.Step <= looks[i].Step {
			t.Fatalf("looks are out of order: %d after %d", l.Step, looks[i].Step)
		}
	}
}

func TestHistoryIsBounded(t *testing.T) {
	dir := t.TempDir()
	retain := Retention{Runs: 3, AllRuns: 5, Looks: 10, Events: 7, AllEvents: 9, Answers: 4, Audit: 6}
	s := open(t, dir)
	ctx := t.Context()
	var first int64
	for _, name := range []string{"a", "b"} {
		r, err := s.Apply(ctx, name, []byte(`{}`), store.Actor{}, storetest.Epoch)
		if err != nil {
			t.Fatal(err)
		}
		for n := range int64(10) {
			id, err := s.Ask(ctx, name, rollout.Intent{Verb: rollout.AskPause, At: storetest.Epoch}, store.Actor{})
			if err != nil {
				t.Fatal(err)
			}
			if first == 0 {
				first = id
			}
			run := fmt.Sprintf("%s-%d", name, n+1)
			r.Revision, err = s.Save(ctx, store.Save{Name: name, Revision: r.Revision, State: rollout.State{RunSeq: n + 1, Run: &rollout.Run{ID: run}},
				Look: &store.Look{Run: run}, KeepLook: true, Events: []rollout.Event{{Reason: "RunStarted"}}, Consumed: []rollout.IntentAnswer{{ID: id, Done: true}}})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	waiting, err := s.Ask(ctx, "a", rollout.Intent{Verb: rollout.AskAbort, At: storetest.Epoch}, store.Actor{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, WithRetention(retain))
	count := func(table string) (n int) {
		if err := s.read.QueryRowContext(ctx, "SELECT count(*) FROM "+table).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for table, want := range map[string]int{"runs": 5, "looks": 5, "events": 9, "intents": 5, "audit": 6} {
		if got := count(table); got != want {
			t.Errorf("%d %s are kept; want %d", got, table, want)
		}
	}
	if _, ok, err := s.Answer(ctx, waiting); ok || err != nil {
		t.Errorf("an intent that waits was forgotten: %v", err)
	}
	if _, _, err := s.Answer(ctx, first); err == nil {
		t.Error("the oldest answer is still there")
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := s.write.ExecContext(t.Context(), "PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), dir)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("schema version 99; this haldane knows up to %d", len(migrations))) {
		t.Errorf("Open: %v", err)
	}
}

func TestForeignDatabaseIsRefused(t *testing.T) {
	dir := t.TempDir()
	db, err := sql.Open("sqlite", filepath.Join(dir, File))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE songs (title TEXT)"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "database of another program") {
		t.Errorf("Open: %v", err)
	}
}

func TestDamagedDatabaseIsRefused(t *testing.T) {
	for name, damage := range map[string]func([]byte){
		"header": func(b []byte) { copy(b, "not a database at all") },
		"pages": func(b []byte) {
			for i := 4096; i < len(b); i++ {
				b[i] = 0xa5
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			fill(t, s, 50)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, File)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			damage(data)
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = Open(t.Context(), dir)
			if err == nil || !strings.Contains(err.Error(), "the database is damaged") || !strings.Contains(err.Error(), ".recover") || !strings.Contains(err.Error(), "haldane serve --data") {
				t.Errorf("Open: %v", err)
			}
			after, err := os.ReadFile(path)
			if err != nil || string(after) != string(data) {
				t.Errorf("the damaged file was touched (%v)", err)
			}
		})
	}
}

func TestWatchEndsWithTheStore(t *testing.T) {
	s := open(t, t.TempDir())
	names := s.Watch(t.Context())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, more := <-names; more {
		t.Error("a name after Close")
	}
	if _, more := <-s.Watch(context.Background()); more {
		t.Error("a watch of a closed store delivers")
	}
}

func BenchmarkSave(b *testing.B) {
	s, err := Open(b.Context(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	r, err := s.Apply(b.Context(), "hello", []byte(`{}`), store.Actor{}, storetest.Epoch)
	if err != nil {
		b.Fatal(err)
	}
	i := 0
	for b.Loop() {
		if r.Revision, err = s.Save(b.Context(), lookSave(r.Revision, i)); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

func TestEvidenceIsBounded(t *testing.T) {
	dir := t.TempDir()
	retain := DefaultRetention
	retain.Evidence, retain.AllEvidence, retain.EvidenceBytes = 2, 3, 1000
	s := open(t, dir, WithRetention(retain))
	ctx := t.Context()
	runs := map[string]int{}
	for _, name := range []string{"a", "b"} {
		r, err := s.Apply(ctx, name, []byte(`{"spec":{}}`), store.Actor{Subject: "test"}, storetest.Epoch)
		if err != nil {
			t.Fatal(err)
		}
		for seq := range int64(3) {
			id := fmt.Sprintf("%s-%d", name, seq+1)
			for i := range 40 { // lines that do not compress to nothing
				in := lookSave(r.Revision, i)
				in.Name, in.State.RunSeq, in.State.Run.ID, in.Look.Run = name, seq+1, id, id
				in.Evidence = fmt.Appendf(nil, "%x\n", sha256.Sum256([]byte{byte(i)}))
				if r.Revision, err = s.Save(ctx, in); err != nil {
					t.Fatal(err)
				}
			}
			runs[id] = 0
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, WithRetention(retain)) // prunes
	for id := range runs {
		e, err := s.Evidence(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(e)
		if err != nil {
			t.Fatal(err)
		}
		if runs[id] = len(b); len(b) > 0 && (!e.Cut || len(b) < 1000 || len(b) > 2500 || b[len(b)-1] != '\n') {
			t.Errorf("%s: %d bytes are kept, cut: %v", id, len(b), e.Cut)
		}
	}
	for id, kept := range map[string]bool{"a-1": false, "a-2": false, "a-3": true, "b-1": false, "b-2": true, "b-3": true} {
		if kept != (runs[id] > 0) {
			t.Errorf("%s: %d bytes are kept, want any: %v", id, runs[id], kept)
		}
	}
}

// TestOlderSchemaIsBroughtUpToDate: what an older Haldane wrote is there after
// the upgrade, and what is new can be written.
func TestOlderSchemaIsBroughtUpToDate(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s, 3)
	if _, err := s.write.ExecContext(t.Context(), "DROP TABLE evidence; DROP TABLE placebos; PRAGMA user_version = 1"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	looks, err := s.Looks(t.Context(), "hello-1", 0)
	if err != nil || len(looks) != 3 {
		t.Errorf("%d looks after the upgrade (%v); want 3", len(looks), err)
	}
	r, err := s.Get(t.Context(), "hello")
	if err != nil {
		t.Fatal(err)
	}
	in := lookSave(r.Revision, 3)
	in.Evidence = []byte("{}\n")
	if _, err := s.Save(t.Context(), in); err != nil {
		t.Error(err)
	}
}
