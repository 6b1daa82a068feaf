// Package sqlite keeps releases in one SQLite file: write-ahead log, full
// synchronisation, one transaction for each write. What a write acknowledged
// survives kill -9 and a power cut. It must not know what the records mean: it
// judges, decides and formats nothing.
//
// Read this file first (opening, the two kinds of connection), then schema.go
// (tables), save.go (what a pass writes) and retention.go (what is forgotten).
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	moderncsqlite "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/haldane-project/haldane/internal/store"
)

// File is the database's name in the data directory.
const File = "haldane.db"

const (
	readers     = 4
	busyTimeout = 5000 // milliseconds
)

// Store is the embedded store. It is safe for concurrent use; one process at a
// time may have it open.
type Store struct {
	path  string
	lock  *os.File
	read  *sql.DB
	write *sql.DB

	mu      sync.Mutex // serialises writes, so that their order is that of their watchers
	retain  Retention
	writes  int
	watches store.Watches
}

var _ store.Store = (*Store)(nil)

// Option changes a store.
type Option func(*Store)

// WithRetention bounds the history otherwise than DefaultRetention.
func WithRetention(r Retention) Option { return func(s *Store) { s.retain = r } }

// Open opens the database in dir, creating both (modes 0700 and 0600). It
// refuses a directory that another process has open, a database of another
// program or a newer Haldane, and a damaged one; the error says what to do.
func Open(ctx context.Context, dir string, opts ...Option) (*Store, error) {
	s := &Store{path: filepath.Join(dir, File), retain: DefaultRetention}
	for _, o := range opts {
		o(s)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the data directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	s.lock = lock
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(s.explain(err), s.Close())
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) error {
	if err := private(s.path); err != nil {
		return err
	}
	var err error
	if s.write, err = connect(s.path, 1, "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(ON)"); err != nil {
		return err
	}
	if err := check(ctx, s.write); err != nil {
		return err
	}
	if err := migrate(ctx, s.write); err != nil {
		return err
	}
	if s.read, err = connect(s.path, readers, "query_only(ON)"); err != nil {
		return err
	}
	return s.transact(ctx, func(ctx context.Context, tx execer) error { return s.prune(ctx, tx) })
}

// private creates the file readable by its owner only, and takes everybody
// else's rights to an existing one. The log files inherit the mode.
func private(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the path is the operator's
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = f.Chmod(0o600)
	}
	return errors.Join(err, f.Close())
}

func connect(path string, most int, pragmas ...string) (*sql.DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	q := url.Values{"_pragma": append([]string{"busy_timeout(" + strconv.Itoa(busyTimeout) + ")"}, pragmas...)}
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(abs), RawQuery: q.Encode()}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(most)
	db.SetMaxIdleConns(most)
	return db, nil
}

// explain adds the remedy to an error of opening.
func (s *Store) explain(err error) error {
	var e *moderncsqlite.Error
	code := 0
	if errors.As(err, &e) {
		code = e.Code() & 0xff
	}
	switch {
	case errors.Is(err, errDamaged), code == sqlite3.SQLITE_CORRUPT, code == sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("open %s: the database is damaged: %w\n"+
			"keep a copy of the directory, then put a backup in its place, or recover what is readable:\n"+
			"  sqlite3 %s .recover | sqlite3 recovered.db\n"+
			"or start afresh in an empty directory: haldane serve --data DIR", s.path, err, s.path)
	case code == sqlite3.SQLITE_FULL:
		return fmt.Errorf("open %s: the disk is full; make room and start again: %w", s.path, err)
	case code == sqlite3.SQLITE_CANTOPEN, code == sqlite3.SQLITE_READONLY:
		return fmt.Errorf("open %s: the directory and its files must be writable by this user: %w", s.path, err)
	}
	return fmt.Errorf("open %s: %w", s.path, err)
}

// Watch implements store.Store; Close ends it.
func (s *Store) Watch(ctx context.Context) <-chan string { return s.watches.Watch(ctx) }

// Close waits for the write in progress and ends all watches.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watches.Close()
	var errs []error
	for _, db := range []*sql.DB{s.read, s.write} { // the writer last: it empties the log
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
		s.lock = nil
	}
	return errors.Join(errs...)
}
