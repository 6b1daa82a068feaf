package reconcile

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
)

// session is the judge of one run at work, with the reader of its evidence. The
// state of the judge and the cursor of the reader are saved in one write, so
// that no evidence is counted twice.
type session struct {
	run     string
	judge   *judge.Run
	record  *record
	reader  metric.Reader
	cursor  []byte
	newest  time.Time
	missing string
	lost    string // why the judge began anew, until that is saved; empty: it did not
	canary  int64  // requests at the look before, for the observed share
	stable  int64
	seen    float64
}

// saved is the judge's part of a record.
type saved struct {
	Run   string `json:"run"`
	State []byte `json:"state"`
}

// openSession opens or continues the judge of a run. A run of another version
// than the session's closes the old one.
func (r *Reconciler) openSession(ctx context.Context, w *worker, rec store.Record, rel release.Release) (*session, error) {
	run := rec.State.Run
	if !judged(run) {
		w.closeSession()
		return nil, nil
	}
	if w.session != nil && w.session.run == run.ID {
		return w.session, nil
	}
	w.closeSession()
	policy := rollout.Policy(run.Analysis, run.Plan)
	state, cursor := savedJudge(rec, run.ID)
	reader, err := r.Metrics.Open(ctx, metric.Subject{
		Release: rel, Run: run.ID, Stable: *run.From, Canary: run.To,
		Started: run.Started, Metrics: run.Analysis.Metrics,
	}, cursor)
	if err != nil {
		return nil, fmt.Errorf("open the evidence of run %s: %w", run.ID, err)
	}
	s := &session{run: run.ID, record: newRecord(policy), reader: reader, cursor: cursor}
	if err = s.startJudge(ctx, policy, state); err != nil {
		_ = reader.Close()
		return nil, fmt.Errorf("start the judge of run %s: %w", run.ID, err)
	}
	if s.lost != "" {
		r.Log.Warn("the judge begins anew", "release", w.name, "run", run.ID, "error", s.lost)
	}
	w.session = s
	return s, nil
}

// startJudge continues a saved judge. One that another version of the program
// saved and this one can not read begins anew behind the saved cursor: its
// evidence is lost, and none is counted twice.
func (s *session) startJudge(ctx context.Context, p judge.Policy, state []byte) error {
	if state != nil {
		var err error
		if s.judge, err = judge.Restore(p, state); err == nil {
			return nil
		}
		s.lost = fmt.Sprintf("the evidence so far was lost and the judge begins anew: its saved state can not be read: %v", err)
	}
	h, err := s.reader.History(ctx)
	if err != nil {
		return fmt.Errorf("read stable's history: %w", err)
	}
	if state == nil { // else the record has its beginning
		s.record.begin(h)
	}
	s.judge, err = judge.New(p, h)
	return err
}

// lostEvidence tells once that the judge began anew.
func (s *session) lostEvidence(now time.Time) []rollout.Event {
	if s == nil || s.lost == "" {
		return nil
	}
	return []rollout.Event{{At: now, Reason: "EvidenceLost", Message: s.lost, Run: s.run, Warning: true}}
}

func savedJudge(rec store.Record, run string) (state, cursor []byte) {
	var s saved
	if len(rec.Judge) == 0 || json.Unmarshal(rec.Judge, &s) != nil || s.Run != run {
		return nil, nil
	}
	return s.State, rec.Cursor
}

// judged reports whether the run compares two versions.
func judged(run *rollout.Run) bool {
	return run != nil && !run.Phase.Ended() && run.From != nil && !run.Extra
}

// read takes in what came since the last time. An error of one sample leaves
// the others: a batch that is no evidence must not hide those that are.
func (s *session) read(ctx context.Context) error {
	got, err := s.reader.Read(ctx)
	if err != nil {
		s.missing = fmt.Sprintf("the evidence could not be read: %v", err)
		return err
	}
	s.cursor, s.missing = got.Cursor, got.Missing
	if got.Newest.After(s.newest) {
		s.newest = got.Newest
	}
	var first error
	taken, failed := make([]metric.Sample, 0, len(got.Samples)), s.judge.Failed()
	for _, x := range got.Samples {
		switch err := s.judge.Update(x.Metric, x.Batch); {
		case err == nil:
			taken = append(taken, x)
		case first == nil:
			first = fmt.Errorf("evidence of metric %d refused: %w", x.Metric, err)
		}
	}
	s.record.add(taken, s.judge.Failed() != failed)
	return first
}

// evidence is the judge's word for the run's step.
func (s *session) evidence(run *rollout.Run) rollout.Evidence {
	return rollout.Evidence{
		Report:  s.judge.Report(rollout.LooseIndex(run.Plan, run.Step)),
		Newest:  s.newest,
		Missing: cmp.Or(s.lost, s.missing),
	}
}

// look is the reading to keep; the observed share is of the requests since the
// look before.
func (s *session) look(run *rollout.Run, rep judge.Report, want release.Weight, now time.Time) *store.Look {
	if dc, ds := rep.Canary-s.canary, rep.Stable-s.stable; dc+ds > 0 {
		s.seen = float64(dc) / float64(dc+ds)
		s.canary, s.stable = rep.Canary, rep.Stable
	}
	return &store.Look{Run: run.ID, At: now, Step: run.Step, Weight: want, Seen: s.seen, Report: rep}
}

// snapshot is what a restart continues from.
func (s *session) snapshot() (json.RawMessage, error) {
	return json.Marshal(saved{Run: s.run, State: s.judge.Snapshot()})
}
