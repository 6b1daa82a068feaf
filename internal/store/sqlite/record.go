package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
)

const recordColumns = "name, uid, generation, manifest, created, applied, deleting, state, judge, cursor, look, observed, revision"

type scanner interface{ Scan(dest ...any) error }

func scanRecord(row scanner) (store.Record, error) {
	var r store.Record
	var created, applied int64
	var manifest, state, judge, look, observed []byte
	err := row.Scan(&r.Name, &r.UID, &r.Generation, &manifest, &created, &applied, &r.Deleting,
		&state, &judge, &r.Cursor, &look, &observed, &r.Revision)
	if err != nil {
		return r, err
	}
	r.Manifest, r.Judge = manifest, judge
	r.Created, r.Applied = fromNanos(created), fromNanos(applied)
	if err := errors.Join(decode(state, &r.State), decode(observed, &r.Observed)); err != nil {
		return r, fmt.Errorf("release %q: %w", r.Name, err)
	}
	if look != nil {
		r.Look = &store.Look{}
		if err := decode(look, r.Look); err != nil {
			return r, fmt.Errorf("release %q: %w", r.Name, err)
		}
	}
	return r, nil
}

// record reads one release by any connection.
func record(ctx context.Context, db execer, name string) (store.Record, error) {
	r, err := scanRecord(db.QueryRowContext(ctx, "SELECT "+recordColumns+" FROM releases WHERE name = ?", name))
	if errors.Is(err, sql.ErrNoRows) {
		return r, fmt.Errorf("release %q: %w", name, store.ErrNotFound)
	}
	return r, named(err)
}

// Get returns one release.
func (s *Store) Get(ctx context.Context, name string) (store.Record, error) {
	return record(ctx, s.read, name)
}

// List returns all releases, by name.
func (s *Store) List(ctx context.Context) ([]store.Record, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT "+recordColumns+" FROM releases ORDER BY name")
	return collect(rows, err, func(rows *sql.Rows) (store.Record, error) { return scanRecord(rows) })
}

// Intents returns the unanswered intents, oldest first.
func (s *Store) Intents(ctx context.Context, name string) ([]rollout.Intent, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT id, intent FROM intents WHERE release = ? AND answered = 0 ORDER BY id", name)
	return collect(rows, err, func(rows *sql.Rows) (i rollout.Intent, err error) {
		var id int64
		var raw []byte
		if err := rows.Scan(&id, &raw); err != nil {
			return i, err
		}
		err = decode(raw, &i)
		i.ID = id
		return i, err
	})
}

// Answer returns what became of an intent. One that was forgotten by retention
// is ErrNotFound.
func (s *Store) Answer(ctx context.Context, id int64) (rollout.IntentAnswer, bool, error) {
	a := rollout.IntentAnswer{ID: id}
	var answered bool
	err := s.read.QueryRowContext(ctx, "SELECT answered, done, message FROM intents WHERE id = ?", id).Scan(&answered, &a.Done, &a.Message)
	if errors.Is(err, sql.ErrNoRows) {
		return a, false, fmt.Errorf("intent %d: %w", id, store.ErrNotFound)
	}
	return a, answered, named(err)
}
