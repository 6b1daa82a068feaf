package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/store"
)

// Runs returns the history, newest first.
func (s *Store) Runs(ctx context.Context, name string, limit int) ([]store.RunRecord, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT release, run, last FROM runs WHERE (?1 = '' OR release = ?1) ORDER BY number DESC LIMIT ?2", name, most(limit))
	return collect(rows, err, func(rows *sql.Rows) (store.RunRecord, error) { return scanRun(rows) })
}

// Run returns one run.
func (s *Store) Run(ctx context.Context, id string) (store.RunRecord, error) {
	r, err := scanRun(s.read.QueryRowContext(ctx, "SELECT release, run, last FROM runs WHERE id = ?", id))
	if errors.Is(err, sql.ErrNoRows) {
		return r, fmt.Errorf("run %q: %w", id, store.ErrNotFound)
	}
	return r, named(err)
}

func scanRun(row scanner) (r store.RunRecord, err error) {
	var run, last []byte
	if err := row.Scan(&r.Release, &run, &last); err != nil {
		return r, err
	}
	if err := decode(run, &r.Run); err != nil || last == nil {
		return r, err
	}
	r.Last = &judge.Report{}
	return r, decode(last, r.Last)
}

// Looks returns the newest kept looks of a run, oldest first.
func (s *Store) Looks(ctx context.Context, run string, limit int) ([]store.Look, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT look FROM looks WHERE run = ? ORDER BY number DESC LIMIT ?", run, most(limit))
	out, err := collect(rows, err, func(rows *sql.Rows) (l store.Look, err error) {
		var raw []byte
		if err := rows.Scan(&raw); err != nil {
			return l, err
		}
		return l, decode(raw, &l)
	})
	slices.Reverse(out)
	return out, err
}

// Events returns events in their order: those behind after, or the newest ones
// where after is 0.
func (s *Store) Events(ctx context.Context, name string, after int64, limit int) ([]store.StoredEvent, error) {
	order := "ASC"
	if after == 0 {
		order = "DESC"
	}
	rows, err := s.read.QueryContext(ctx, "SELECT id, release, event FROM events WHERE (?1 = '' OR release = ?1) AND id > ?2 ORDER BY id "+order+" LIMIT ?3", name, after, most(limit))
	out, err := collect(rows, err, func(rows *sql.Rows) (e store.StoredEvent, err error) {
		var raw []byte
		if err := rows.Scan(&e.ID, &e.Release, &raw); err != nil {
			return e, err
		}
		return e, decode(raw, &e.Event)
	})
	if after == 0 {
		slices.Reverse(out)
	}
	return out, err
}

// AuditTrail returns the newest lines, newest first.
func (s *Store) AuditTrail(ctx context.Context, limit int) ([]store.Audit, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT id, line FROM audit ORDER BY id DESC LIMIT ?", most(limit))
	return collect(rows, err, func(rows *sql.Rows) (a store.Audit, err error) {
		var id int64
		var raw []byte
		if err := rows.Scan(&id, &raw); err != nil {
			return a, err
		}
		err = decode(raw, &a)
		a.ID = id
		return a, err
	})
}

// FalseAlarms sums the judge's record up.
func (s *Store) FalseAlarms(ctx context.Context) (judge.Record, error) {
	var r judge.Record
	err := s.read.QueryRowContext(ctx, "SELECT coalesce(sum(runs), 0), coalesce(sum(alarms), 0), coalesce(sum(alpha * runs), 0.0) FROM placebos").
		Scan(&r.Runs, &r.Alarms, &r.Allowed)
	return r, named(err)
}
