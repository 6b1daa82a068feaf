package web

import (
	"net/http"
	"slices"
	"strings"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/status"
	"github.com/haldane-project/haldane/internal/store"
)

// releaseRow is a line of the table of releases.
type releaseRow struct {
	Name, Phase, Message string
	Split                splitBar
	Step                 string
	Worst                *worst
	From, To             string
	Since                stamp
	urgency              int
}

// worst is the metric that speaks most against the canary.
type worst struct {
	Name, Verdict, Ratio string
}

func (s *Server) releasesPage(w http.ResponseWriter, r *http.Request) {
	recs, err := s.o.Store.List(r.Context())
	if err != nil {
		s.pageError(w, r, "list the releases", err)
		return
	}
	rows := make([]releaseRow, 0, len(recs))
	for _, rec := range recs {
		rows = append(rows, s.row(rec))
	}
	slices.SortStableFunc(rows, func(a, b releaseRow) int {
		if a.urgency != b.urgency {
			return b.urgency - a.urgency
		}
		return strings.Compare(a.Name, b.Name)
	})
	record, err := s.o.Store.FalseAlarms(r.Context())
	if err != nil {
		s.pageError(w, r, "read the judge's record", err)
		return
	}
	page := map[string]any{"Rows": rows, "Record": ""}
	if record.Runs > 0 {
		page["Record"] = record.Words()
	}
	f := s.frame(r, "Releases", page)
	f.Nav, f.Watch = "releases", "*"
	s.render(w, r, http.StatusOK, "releases", f)
}

func (s *Server) row(rec store.Record) releaseRow {
	row := releaseRow{Name: rec.Name, Phase: status.Phase(rec), Message: status.Sentence(rec), Split: splitOf(rec), Since: s.ago(status.Since(rec))}
	row.urgency = urgency(row.Phase)
	run := rec.State.Run
	if rec.State.Stable != nil {
		row.From = rec.State.Stable.Name
	}
	if run == nil {
		return row
	}
	if row.From != run.To.Name && (!run.Phase.Ended() || row.From == "") {
		row.To = run.To.Name
	}
	if run.Phase == rollout.Progressing {
		row.Step = stepOf(*run)
	}
	if rec.Look != nil && rec.Look.Run == run.ID && !run.Phase.Ended() {
		row.Worst = worstOf(rec.Look.Report)
	}
	return row
}

// urgency puts first what needs a person, then what moves.
func urgency(phase string) int {
	switch phase {
	case status.Blocked, status.Paused:
		return 3
	case string(rollout.RolledBack), string(rollout.RollingBack):
		return 2
	case status.Idle, string(rollout.Aborted):
		return 0
	}
	return 1
}

// worstOf is the metric that a reader should see first: one that failed before
// one that is open before one that passed; then the one with most evidence
// against it, as a part of its threshold.
func worstOf(rep judge.Report) *worst {
	var out *worst
	most := 0.0
	for _, m := range rep.Metrics {
		rank := part(m.LogE, m.Threshold)
		switch {
		case m.Verdict == judge.Fail:
			rank += 1000
		case m.Verdict == judge.Inconclusive && m.Required:
			rank += 200
		}
		if out == nil || rank > most {
			most = rank
			out = &worst{Name: m.Name, Verdict: string(m.Verdict), Ratio: status.Interval(m.Ratio)}
		}
	}
	return out
}
