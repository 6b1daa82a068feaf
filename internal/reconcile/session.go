package reconcile

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
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
	placebo *judge.Run // stable against itself, under the same policy
	share   int        // index of the check of how requests are divided; -1: none
	steady  steady
	bounds  [][]float64 // of the histograms that the evidence comes from, by metric
	record  *record
	reader  metric.Reader
	cursor  []byte
	newest  time.Time
	again   time.Time // when to read again if nothing wakes before; zero: the reader does not ask for it
	missing string
	caveats []string
	shown   map[int]string // examples, by metric
	// critical is what must never happen and did; empty: nothing
	critical string
	lost     string          // why the judge began anew, until that is saved; empty: it did not
	found    []rollout.Event // of the placebo, until they are saved
	refused  error           // what a look could not take in, until a pass tells it
	canary   int64           // requests at the look before, for the observed share
	stable   int64
	seen     float64
}

// saved is the judge's part of a record.
type saved struct {
	Run     string `json:"run"`
	State   []byte `json:"state"`
	Placebo []byte `json:"placebo,omitempty"`
	// Bounds are part of the policy that State was kept under.
	Bounds [][]float64 `json:"bounds,omitempty"`
}

// openSession opens or continues the judge of a run. A run of another version
// than the session's closes the old one.
func (r *Reconciler) openSession(ctx context.Context, w *worker, rec store.Record, in *rollout.Input) (*session, error) {
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
	was, cursor := savedJudge(rec, run.ID)
	reader, err := r.Metrics.Open(ctx, metric.Subject{
		Release: in.Release, Run: run.ID, Stable: *run.From, Canary: run.To,
		Started: run.Started, Metrics: run.Analysis.Metrics,
	}, cursor)
	if err != nil {
		return nil, fmt.Errorf("open the evidence of run %s: %w", run.ID, err)
	}
	s := &session{run: run.ID, record: newRecord(policy), reader: reader, cursor: cursor}
	s.share = slices.IndexFunc(policy.Metrics, func(m judge.Metric) bool { return m.Kind == judge.ShareCheck })
	if err = s.startJudge(ctx, policy, was); err != nil {
		_ = reader.Close()
		return nil, fmt.Errorf("start the judge of run %s: %w", run.ID, err)
	}
	if s.lost != "" {
		r.Log.Warn("the judge begins anew", "release", w.name, "run", run.ID, "error", s.lost)
	}
	w.session, w.savedJudge = s, in.Now // what is there from before is saved with what comes
	return s, nil
}

// startJudge continues a saved judge. One that another version of the program
// saved and this one can not read begins anew behind the saved cursor: its
// evidence is lost, and none is counted twice.
func (s *session) startJudge(ctx context.Context, p judge.Policy, was saved) error {
	if was.State != nil {
		var err error
		s.bounds = was.Bounds
		p = bounded(p, s.bounds)
		if s.judge, err = judge.Restore(p, was.State); err == nil {
			if s.placebo, err = judge.Restore(p, was.Placebo); err != nil { // of another version of the program
				s.placebo, err = judge.New(p, nil)
			}
			return err
		}
		s.lost = fmt.Sprintf("the evidence so far was lost and the judge begins anew: its saved state can not be read: %v", err)
		s.bounds = nil
	}
	h, err := s.reader.History(ctx)
	if err != nil {
		return fmt.Errorf("read stable's history: %w", err)
	}
	for i := range h {
		s.bounds = append(s.bounds, h[i].Bounds)
	}
	p = bounded(p, s.bounds)
	if was.State == nil { // else the record has its beginning
		s.record.begin(h)
	}
	if len(h) > 0 { // the provider knows nothing of what the policy adds to its metrics
		h = append(h, make([]judge.History, len(p.Metrics)-len(h))...)
	}
	if s.judge, err = judge.New(p, h); err == nil {
		s.placebo, err = judge.New(p, h)
	}
	return err
}

// bounded is the policy with the bounds of the histograms that evidence comes from.
func bounded(p judge.Policy, bounds [][]float64) judge.Policy {
	p.Metrics = slices.Clone(p.Metrics)
	for i, b := range bounds {
		if i < len(p.Metrics) {
			p.Metrics[i].Bounds = b
		}
	}
	return p
}

// events tells once that the judge began anew, and what the placebo found.
func (s *session) events(now time.Time) []rollout.Event {
	if s == nil {
		return nil
	}
	var out []rollout.Event
	if s.lost != "" {
		out = append(out, rollout.Event{Reason: "EvidenceLost", Message: s.lost, Warning: true})
	}
	out = append(out, s.found...)
	for i := range out {
		out[i].At, out[i].Run = now, s.run
	}
	return out
}

// told forgets the events that were saved.
func (s *session) told() { s.lost, s.found = "", nil }

func savedJudge(rec store.Record, run string) (was saved, cursor []byte) {
	if len(rec.Judge) == 0 || json.Unmarshal(rec.Judge, &was) != nil || was.Run != run {
		return saved{}, nil
	}
	return was, rec.Cursor
}

// judged reports whether the run compares two versions.
func judged(run *rollout.Run) bool {
	return run != nil && !run.Phase.Ended() && run.From != nil && !run.Extra
}

// read takes in what came since the last time. An error of one sample leaves
// the others: a batch that is no evidence must not hide those that are.
func (s *session) read(ctx context.Context, in *rollout.Input) error {
	s.steady.observe(in)
	got, err := s.reader.Read(ctx)
	s.again = got.Again
	if err != nil {
		s.missing = fmt.Sprintf("the evidence could not be read: %v", err)
		return err
	}
	s.cursor, s.missing, s.caveats = got.Cursor, got.Missing, got.Caveats
	if got.Examples != nil {
		s.shown = got.Examples
	}
	s.critical = cmp.Or(s.critical, got.Critical)
	if got.Newest.After(s.newest) {
		s.newest = got.Newest
	}
	first := s.readPlacebo(got.Placebo)
	if s.share >= 0 {
		for _, b := range append(got.Division, s.steady.batches(got.Counted, in.State.Run, in.Now)...) {
			got.Samples = append(got.Samples, metric.Sample{Metric: s.share, Batch: b})
		}
	}
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
	rep := s.judge.Report(rollout.LooseIndex(run.Plan, run.Step))
	rep.Placebo = s.judge.Placebo(s.placebo)
	rep.Caveats = s.caveats
	s.show(&rep)
	if s.critical != "" {
		rep.Verdict, rep.Reason = judge.Fail, s.critical
	}
	return rollout.Evidence{
		Report:  rep,
		Newest:  s.newest,
		Missing: cmp.Or(s.lost, s.missing),
	}
}

// show puts an example beside each finding that has one.
func (s *session) show(rep *judge.Report) {
	for i, m := range rep.Metrics {
		example := s.shown[i]
		if example == "" || m.Verdict != judge.Fail {
			continue
		}
		if strings.HasSuffix(rep.Reason, m.Reason) {
			rep.Reason += " " + example
		}
		rep.Metrics[i].Reason += " " + example
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
	return json.Marshal(saved{Run: s.run, State: s.judge.Snapshot(), Placebo: s.placebo.Snapshot(), Bounds: s.bounds})
}

// readPlacebo takes in what stable did against itself, and heeds what that
// shows before the canary is judged by the same requests. The placebo heeds it
// too: it is judged as the canary is.
func (s *session) readPlacebo(samples []metric.Sample) error {
	var first error
	failed := s.placebo.Failed()
	for _, x := range samples {
		if err := s.placebo.Update(x.Metric, x.Batch); err != nil && first == nil {
			first = fmt.Errorf("placebo's evidence of metric %d refused: %w", x.Metric, err)
		}
	}
	if names := s.judge.HeedPlacebo(s.placebo); len(names) > 0 {
		s.placebo.HeedPlacebo(s.placebo)
		s.record.countIntervals(names)
		s.found = append(s.found, rollout.Event{Reason: "BurstsFound",
			Message: fmt.Sprintf("stable's own requests fail in bursts (%s): intervals are judged from now on, not requests", strings.Join(names, ", "))})
	}
	if s.placebo.Failed() && !failed {
		s.found = append(s.found, rollout.Event{Reason: "PlaceboAlarm", Message: s.judge.Placebo(s.placebo).Finding, Warning: true})
	}
	return first
}

// outcome is what the run adds to the judge's record when it ends: was stable
// found worse than itself? Nil: it goes on, or stable was not compared.
func (s *session) outcome(d rollout.Decision) *judge.Record {
	ended := slices.ContainsFunc(d.Ended, func(r rollout.Run) bool { return r.ID == s.run })
	if r := d.State.Run; !ended && (r == nil || r.ID != s.run || !r.Phase.Ended()) && !d.Gone {
		return nil
	}
	p := s.judge.Placebo(s.placebo)
	if p.Canary == 0 || p.Stable == 0 {
		return nil
	}
	out := &judge.Record{Runs: 1, Allowed: s.placebo.Policy().Alpha}
	if p.Alarm {
		out.Alarms = 1
	}
	return out
}
