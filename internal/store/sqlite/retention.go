package sqlite

import "context"

// Retention bounds what is kept, so that a store that nobody tends does not
// grow for ever. Releases themselves are never forgotten.
type Retention struct {
	Runs      int // of each release, with their looks
	AllRuns   int // of all releases together, also deleted ones
	Looks     int // of each run; beyond it every second of the older ones goes
	Events    int // of each release
	AllEvents int // of all releases together, also deleted ones
	Answers   int // answered intents of all releases
	Audit     int // lines

	Evidence      int   // newest runs of each release whose evidence is kept
	AllEvidence   int   // of all releases together
	EvidenceBytes int64 // of each run, as stored; what comes after it is cut
}

// DefaultRetention keeps about a year of a release that changes daily. At about
// 2 KiB a look and 0.3 KiB a line the file stays below some hundred megabytes.
var DefaultRetention = Retention{Runs: 500, AllRuns: 5_000, Looks: 1_000, Events: 5_000, AllEvents: 100_000, Answers: 1_000, Audit: 100_000,
	Evidence: 20, AllEvidence: 100, EvidenceBytes: 4 << 20}

// pruneEvery is how many writes pass between two prunings.
const pruneEvery = 256

// thin halves the resolution of a run's older looks when there are too many:
// the newest quarter stays whole, so that a long run keeps its shape.
func (s *Store) thin(ctx context.Context, tx execer, run string) error {
	var n int
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM looks WHERE run = ?", run).Scan(&n); err != nil || n <= s.retain.Looks {
		return err
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM looks WHERE number IN (
		SELECT number FROM (SELECT number, row_number() OVER (ORDER BY number) AS place FROM looks WHERE run = ?)
		WHERE place % 2 = 0 AND place <= ?)`, run, n-s.retain.Looks/4)
	return err
}

// prune forgets what is beyond the bounds.
func (s *Store) prune(ctx context.Context, tx execer) error {
	oldest := func(table, partition string) string {
		return "(SELECT key FROM (SELECT " + key[table] + " AS key, row_number() OVER (" + partition + " ORDER BY " + key[table] + " DESC) AS place FROM " + table + " WHERE true) WHERE place > ?)"
	}
	for _, q := range []struct {
		sql  string
		most int
	}{
		{"DELETE FROM runs WHERE number IN " + oldest("runs", "PARTITION BY release"), s.retain.Runs},
		{"DELETE FROM runs WHERE number IN " + oldest("runs", ""), s.retain.AllRuns},
		{"DELETE FROM events WHERE id IN " + oldest("events", "PARTITION BY release"), s.retain.Events},
		{"DELETE FROM events WHERE id IN " + oldest("events", ""), s.retain.AllEvents},
		{"DELETE FROM audit WHERE id IN " + oldest("audit", ""), s.retain.Audit},
		{"DELETE FROM intents WHERE answered = 1 AND id <= (SELECT id FROM intents WHERE answered = 1 ORDER BY id DESC LIMIT 1 OFFSET ?)", s.retain.Answers},
	} {
		if _, err := tx.ExecContext(ctx, q.sql, q.most); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM looks WHERE run NOT IN (SELECT id FROM runs)"); err != nil {
		return err
	}
	return s.pruneEvidence(ctx, tx)
}

// pruneEvidence keeps the evidence of each release's newest runs, then of the
// newest of all.
func (s *Store) pruneEvidence(ctx context.Context, tx execer) error {
	for _, q := range []struct {
		partition string
		most      int
	}{{"PARTITION BY release", s.retain.Evidence}, {"", s.retain.AllEvidence}} {
		_, err := tx.ExecContext(ctx, `DELETE FROM evidence WHERE run NOT IN (
			SELECT id FROM (SELECT id, row_number() OVER (`+q.partition+` ORDER BY number DESC) AS place
				FROM runs WHERE id IN (SELECT run FROM evidence)) WHERE place <= ?)`, q.most)
		if err != nil {
			return err
		}
	}
	return nil
}

// key is each table's number.
var key = map[string]string{"runs": "number", "events": "id", "audit": "id"}
