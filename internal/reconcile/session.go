package reconcile

import (
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
	reader  metric.Reader
	cursor  []byte
	newest  time.Time
	missing string
	canary  int64 // requests at the look before, for the observed share
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
	s := &session{run: run.ID, reader: reader, cursor: cursor}
	if s.judge, err = startJudge(ctx, policy, state, reader); err != nil {
		_ = reader.Close()
		return nil, fmt.Errorf("start the judge of run %s: %w", run.ID, err)
	}
	w.session = s
	return s, nil
}

func startJudge(ctx context.Context, p judge.Policy, state []byte, reader metric.Reader) (*judge.Run, error) {
	if state != nil {
		return judge.Restore(p, state)
	}
	h, err := reader.History(ctx)
	if err != nil {
		return nil, fmt.Errorf("read stable's history: %w", err)
	}
	return judge.New(p, h)
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
	for _, x := range got.Samples {
		if err := s.judge.Update(x.Metric, x.Batch); err != nil && first == nil {
			first = fmt.Errorf("evidence of metric %d refused: %w", x.Metric, err)
		}
	}
	return first
}

// evidence is the judge's word for the run's step.
func (s *session) evidence(run *rollout.Run) rollout.Evidence {
	return rollout.Evidence{
		Report:  s.judge.Report(rollout.LooseIndex(run.Plan, run.Step)),
		Newest:  s.newest,
		Missing: s.missing,
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
