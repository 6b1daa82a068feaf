package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	moderncsqlite "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// execer is what runs statements: the pool of readers or a transaction.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// transact runs f in one write transaction: all of it or nothing. Nothing is
// half-written also where the disk is full; the next write starts clean. Only
// where a sync failed and a crash follows before the next write, the refused
// transaction may be there after the restart, whole. The caller holds mu,
// except while opening.
func (s *Store) transact(ctx context.Context, f func(context.Context, execer) error) error {
	conn, err := s.write.Conn(ctx)
	if err != nil {
		return err
	}
	err = inTransaction(ctx, conn, f)
	if e := conn.Close(); err == nil && e != nil && !errors.Is(e, sql.ErrConnDone) {
		return e
	}
	return err
}

func inTransaction(ctx context.Context, conn *sql.Conn, f func(context.Context, execer) error) error {
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return named(err)
	}
	err := f(ctx, conn)
	whole := context.WithoutCancel(ctx) // a caller that leaves now would not know what became of the write
	if err == nil {
		if _, err = conn.ExecContext(whole, "COMMIT"); err == nil {
			return nil
		}
	}
	// SQLite has rolled back by itself after some failures, then this one says
	// so; a connection that cannot even roll back is thrown away.
	if _, e := conn.ExecContext(whole, "ROLLBACK"); e != nil && !rolledBack(e) {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	}
	return named(err)
}

func rolledBack(err error) bool {
	var e *moderncsqlite.Error
	return errors.As(err, &e) && e.Code() == sqlite3.SQLITE_ERROR
}

// named puts a sentence in front of failures that an operator can mend.
func named(err error) error {
	var e *moderncsqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("the disk is full, nothing was written: %w", err)
	case sqlite3.SQLITE_IOERR:
		return fmt.Errorf("the disk failed, nothing was written: %w", err)
	case sqlite3.SQLITE_READONLY:
		return fmt.Errorf("the database cannot be written: %w", err)
	}
	return err
}

func encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("write %T as JSON: %w", v, err)
	}
	return b, nil
}

func decode(raw []byte, v any) error {
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("read a stored %T: %w", v, err)
	}
	return nil
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// most is a limit for SQL; none means all.
func most(limit int) int {
	if limit <= 0 {
		return -1
	}
	return limit
}

// collect reads all rows.
func collect[T any](rows *sql.Rows, err error, scan func(*sql.Rows) (T, error)) (out []T, _ error) {
	if err != nil {
		return nil, named(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, named(rows.Err())
}
