package sqlite

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
)

// maxWaiting bounds the unanswered intents of one release.
const maxWaiting = 100

// Apply creates or changes a release. A release that is created again goes on
// numbering its runs where the deleted one ended, so that the history stays
// unambiguous.
func (s *Store) Apply(ctx context.Context, name string, manifest json.RawMessage, by store.Actor, now time.Time) (store.Record, error) {
	if !json.Valid(manifest) {
		return store.Record{}, fmt.Errorf("store release %q: the manifest is not JSON", name)
	}
	var out store.Record
	err := s.change(ctx, name, func(ctx context.Context, tx execer) (bool, error) {
		r, err := record(ctx, tx, name)
		switch {
		case errors.Is(err, store.ErrNotFound):
			out, err = create(ctx, tx, name, manifest, now)
		case err != nil:
		case r.Deleting:
			err = fmt.Errorf("release %q is being deleted; apply it again when it is gone: %w", name, store.ErrConflict)
		case bytes.Equal(r.Manifest, manifest):
			out = r
			return false, nil
		default:
			r.Manifest, r.Applied = manifest, now.UTC()
			r.Generation++
			r.Revision++
			out = r
			_, err = tx.ExecContext(ctx, "UPDATE releases SET manifest = ?, applied = ?, generation = ?, revision = ? WHERE name = ?",
				[]byte(manifest), nanos(now), r.Generation, r.Revision, name)
		}
		if err != nil {
			return false, err
		}
		return true, audit(ctx, tx, store.Audit{At: now, Actor: by, Action: "apply", Release: name, Detail: fmt.Sprintf("generation %d", out.Generation)})
	})
	return out, err
}

func create(ctx context.Context, tx execer, name string, manifest json.RawMessage, now time.Time) (store.Record, error) {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails (crypto/rand)
	r := store.Record{Name: name, UID: hex.EncodeToString(id), Generation: 1, Manifest: manifest,
		Created: now.UTC(), Applied: now.UTC(), Revision: 1}
	var last sql.NullInt64
	if err := tx.QueryRowContext(ctx, "SELECT max(seq) FROM runs WHERE release = ?", name).Scan(&last); err != nil {
		return r, err
	}
	r.State.RunSeq = last.Int64
	state, err := encode(r.State)
	if err != nil {
		return r, err
	}
	observed, err := encode(r.Observed)
	if err != nil {
		return r, err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO releases (name, uid, generation, manifest, created, applied, state, observed, revision) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
		name, r.UID, r.Generation, []byte(manifest), nanos(now), nanos(now), state, observed, r.Revision)
	return r, err
}

// Delete marks the release.
func (s *Store) Delete(ctx context.Context, name string, by store.Actor, now time.Time) error {
	return s.change(ctx, name, func(ctx context.Context, tx execer) (bool, error) {
		r, err := record(ctx, tx, name)
		if err != nil || r.Deleting {
			return false, err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE releases SET deleting = 1, revision = revision + 1 WHERE name = ?", name); err != nil {
			return false, err
		}
		return true, audit(ctx, tx, store.Audit{At: now, Actor: by, Action: "delete", Release: name})
	})
}

// Ask records an intent. It does not move the record's revision, so that a
// pass that is under way can still be saved.
func (s *Store) Ask(ctx context.Context, name string, i rollout.Intent, by store.Actor) (int64, error) {
	var id int64
	err := s.change(ctx, name, func(ctx context.Context, tx execer) (bool, error) {
		if _, err := record(ctx, tx, name); err != nil {
			return false, err
		}
		var waiting int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM intents WHERE release = ? AND answered = 0", name).Scan(&waiting); err != nil {
			return false, err
		}
		if waiting >= maxWaiting {
			return false, fmt.Errorf("release %q has %d requests that wait for an answer; try again when they have one", name, waiting)
		}
		raw, err := encode(i)
		if err != nil {
			return false, err
		}
		res, err := tx.ExecContext(ctx, "INSERT INTO intents (release, intent) VALUES (?, ?)", name, raw)
		if err != nil {
			return false, err
		}
		if id, err = res.LastInsertId(); err != nil {
			return false, err
		}
		return true, audit(ctx, tx, store.Audit{At: i.At, Actor: by, Action: string(i.Verb), Release: name, Detail: i.Reason})
	})
	return id, err
}

// change runs one write about a release and, when it changed something, tells
// the watchers after it is on the disk.
func (s *Store) change(ctx context.Context, name string, f func(context.Context, execer) (changed bool, err error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := false
	err := s.transact(ctx, func(ctx context.Context, tx execer) (err error) {
		if changed, err = f(ctx, tx); err != nil {
			return err
		}
		if s.writes++; changed && s.writes%pruneEvery == 0 {
			return s.prune(ctx, tx)
		}
		return nil
	})
	if err == nil && changed {
		s.watches.Tell(name)
	}
	return err
}

func audit(ctx context.Context, tx execer, a store.Audit) error {
	a.ID = 0
	line, err := encode(a)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO audit (line) VALUES (?)", line)
	return err
}
