package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// application marks the file as Haldane's (PRAGMA application_id): "Hald".
const application = 0x48616c64

// migrations lead from each schema version to the next; PRAGMA user_version
// counts those that were done. They are only ever added to.
var migrations = []string{`
CREATE TABLE releases (
	name       TEXT PRIMARY KEY,
	uid        TEXT NOT NULL,
	generation INTEGER NOT NULL,
	manifest   BLOB NOT NULL,
	created    INTEGER NOT NULL, -- nanoseconds since 1970
	applied    INTEGER NOT NULL,
	deleting   INTEGER NOT NULL DEFAULT 0,
	state      BLOB NOT NULL,
	judge      BLOB,
	cursor     BLOB,
	look       BLOB,
	observed   BLOB NOT NULL,
	revision   INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE intents (
	id       INTEGER PRIMARY KEY AUTOINCREMENT,
	release  TEXT NOT NULL,
	intent   BLOB NOT NULL,
	answered INTEGER NOT NULL DEFAULT 0,
	done     INTEGER NOT NULL DEFAULT 0,
	message  TEXT NOT NULL DEFAULT ''
);
CREATE INDEX intents_waiting ON intents (release, id) WHERE answered = 0;

CREATE TABLE runs (
	number  INTEGER PRIMARY KEY AUTOINCREMENT,
	id      TEXT NOT NULL UNIQUE,
	release TEXT NOT NULL,
	seq     INTEGER NOT NULL, -- of the release
	run     BLOB NOT NULL,
	last    BLOB
);
CREATE INDEX runs_of ON runs (release, number);

CREATE TABLE looks (
	number INTEGER PRIMARY KEY AUTOINCREMENT,
	run    TEXT NOT NULL,
	look   BLOB NOT NULL
);
CREATE INDEX looks_of ON looks (run, number);

CREATE TABLE events (
	id      INTEGER PRIMARY KEY AUTOINCREMENT,
	release TEXT NOT NULL,
	event   BLOB NOT NULL
);
CREATE INDEX events_of ON events (release, id);

CREATE TABLE audit (
	id    INTEGER PRIMARY KEY AUTOINCREMENT,
	line  BLOB NOT NULL
);
`, `
CREATE TABLE evidence (
	run   TEXT NOT NULL,
	part  INTEGER NOT NULL,           -- from 1 on
	size  INTEGER NOT NULL,           -- bytes before compression
	lines BLOB NOT NULL,              -- deflated JSON lines
	cut   INTEGER NOT NULL DEFAULT 0, -- what came after this part was too much
	PRIMARY KEY (run, part)
);
`, `
CREATE TABLE placebos (
	alpha  REAL PRIMARY KEY, -- stated chance of an alarm
	runs   INTEGER NOT NULL,
	alarms INTEGER NOT NULL
) WITHOUT ROWID;
`}

var errDamaged = errors.New("its integrity check failed")

// check refuses a damaged file and one that is not Haldane's.
func check(ctx context.Context, db *sql.DB) error {
	var result string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&result); err != nil {
		return err
	}
	if result != "ok" {
		return fmt.Errorf("%w: %s", errDamaged, result)
	}
	var id, tables int
	if err := db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&id); err != nil {
		return err
	}
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return err
	}
	if id != application && tables > 0 {
		return errors.New("the file is a database of another program; name another directory with --data")
	}
	return nil
}

// migrate brings the schema up to date, each step in a transaction of its own.
func migrate(ctx context.Context, db *sql.DB) error {
	var version int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if version > len(migrations) {
		return fmt.Errorf("the database has schema version %d; this haldane knows up to %d: use the newer haldane that wrote it, or a backup from before", version, len(migrations))
	}
	for ; version < len(migrations); version++ {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		script := migrations[version] + fmt.Sprintf("\nPRAGMA user_version = %d; PRAGMA application_id = %d;", version+1, application)
		if _, err := tx.ExecContext(ctx, script); err != nil {
			return errors.Join(fmt.Errorf("bring the schema to version %d: %w", version+1, err), tx.Rollback())
		}
		if err := tx.Commit(); err != nil {
			return fmt.Errorf("bring the schema to version %d: %w", version+1, err)
		}
	}
	return nil
}
