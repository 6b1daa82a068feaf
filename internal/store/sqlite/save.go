package sqlite

import (
	"context"
	"fmt"

	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
)

// Save writes what one pass decided, in one transaction.
func (s *Store) Save(ctx context.Context, in store.Save) (int64, error) {
	var revision int64
	err := s.change(ctx, in.Name, func(ctx context.Context, tx execer) (bool, error) {
		r, err := record(ctx, tx, in.Name)
		if err != nil {
			return false, err
		}
		if r.Revision != in.Revision {
			return false, fmt.Errorf("release %q: the pass read revision %d and now it is %d: %w", in.Name, in.Revision, r.Revision, store.ErrConflict)
		}
		revision = r.Revision + 1
		steps := []func(context.Context, execer, store.Record, store.Save) error{s.saveRecord, s.saveRuns, s.saveLook, s.saveEvidence, s.saveEvents, s.saveAnswers, s.savePlacebo}
		for _, step := range steps {
			if err := step(ctx, tx, r, in); err != nil {
				return false, err
			}
		}
		for _, a := range in.Audit {
			if err := audit(ctx, tx, a); err != nil {
				return false, err
			}
		}
		return true, nil
	})
	if err != nil {
		return 0, err
	}
	return revision, nil
}

func (s *Store) saveRecord(ctx context.Context, tx execer, r store.Record, in store.Save) error {
	if in.Gone {
		_, err := tx.ExecContext(ctx, "DELETE FROM releases WHERE name = ?", in.Name)
		return err
	}
	state, err := encode(in.State)
	if err != nil {
		return err
	}
	observed, err := encode(in.Observed)
	if err != nil {
		return err
	}
	look, err := newestLook(r, in)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "UPDATE releases SET state = ?, judge = ?, cursor = ?, look = ?, observed = ?, revision = revision + 1 WHERE name = ?",
		state, blob(in.Judge), blob(in.Cursor), blob(look), observed, in.Name)
	return err
}

// newestLook is the look that the record shows: the new one, or the one before
// as long as the run is the same.
func newestLook(r store.Record, in store.Save) ([]byte, error) {
	look := in.Look
	if look == nil {
		look = r.Look
	}
	if look == nil || in.State.Run == nil || in.State.Run.ID != look.Run {
		return nil, nil
	}
	return encode(look)
}

// blob makes an empty value NULL.
func blob(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	return b
}

// saveRuns writes the run of the state, after those that ended before it.
func (s *Store) saveRuns(ctx context.Context, tx execer, _ store.Record, in store.Save) error {
	for _, run := range in.Ended {
		if err := saveRun(ctx, tx, in, run, in.State.RunSeq-1); err != nil {
			return err
		}
	}
	if in.State.Run == nil {
		return nil
	}
	return saveRun(ctx, tx, in, *in.State.Run, in.State.RunSeq)
}

func saveRun(ctx context.Context, tx execer, in store.Save, run rollout.Run, seq int64) error {
	raw, err := encode(run)
	if err != nil {
		return err
	}
	var last []byte
	if in.Look != nil && in.Look.Run == run.ID {
		if last, err = encode(in.Look.Report); err != nil {
			return err
		}
	}
	// An update first: it takes no new number, and runs change far more often
	// than they begin.
	res, err := tx.ExecContext(ctx, "UPDATE runs SET run = ?, last = coalesce(?, last) WHERE id = ? AND release = ?", raw, blob(last), run.ID, in.Name)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n > 0 {
		return err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO runs (id, release, seq, run, last) VALUES (?, ?, ?, ?, ?)", run.ID, in.Name, seq, raw, blob(last))
	return err
}

func (s *Store) saveLook(ctx context.Context, tx execer, _ store.Record, in store.Save) error {
	if in.Look == nil || !in.KeepLook {
		return nil
	}
	raw, err := encode(in.Look)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO looks (run, look) VALUES (?, ?)", in.Look.Run, raw); err != nil {
		return err
	}
	return s.thin(ctx, tx, in.Look.Run)
}

func (s *Store) saveEvents(ctx context.Context, tx execer, _ store.Record, in store.Save) error {
	for _, e := range in.Events {
		raw, err := encode(e)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO events (release, event) VALUES (?, ?)", in.Name, raw); err != nil {
			return err
		}
	}
	return nil
}

// saveAnswers records what became of intents; those of a release that is gone
// are answered too, so that nobody waits for ever.
func (s *Store) saveAnswers(ctx context.Context, tx execer, _ store.Record, in store.Save) error {
	for _, a := range in.Consumed {
		_, err := tx.ExecContext(ctx, "UPDATE intents SET answered = 1, done = ?, message = ? WHERE id = ? AND release = ? AND answered = 0",
			a.Done, a.Message, a.ID, in.Name)
		if err != nil {
			return err
		}
	}
	if !in.Gone {
		return nil
	}
	_, err := tx.ExecContext(ctx, "UPDATE intents SET answered = 1, message = 'the release was deleted' WHERE release = ? AND answered = 0", in.Name)
	return err
}

// savePlacebo adds to the judge's record.
func (s *Store) savePlacebo(ctx context.Context, tx execer, _ store.Record, in store.Save) error {
	p := in.Placebo
	if p == nil || p.Runs <= 0 {
		return nil
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO placebos (alpha, runs, alarms) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET runs = runs + excluded.runs, alarms = alarms + excluded.alarms",
		p.Alpha(), p.Runs, p.Alarms)
	return err
}
