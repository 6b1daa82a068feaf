package web

import (
	"errors"
	"net/http"

	"github.com/haldane-project/haldane/internal/store"
)

// runPage shows a run of the history, frozen; the current one leads to its release.
func (s *Server) runPage(w http.ResponseWriter, r *http.Request) {
	ctx, id := r.Context(), r.PathValue("id")
	rr, err := s.o.Store.Run(ctx, id)
	if err != nil {
		s.pageError(w, r, "read run "+id, err)
		return
	}
	d := chartData{run: rr.Run, report: rr.Last, now: s.o.Now()}
	rec, err := s.o.Store.Get(ctx, rr.Release)
	if err == nil {
		d.metrics = declared(rec.Manifest)
	} else if !errors.Is(err, store.ErrNotFound) {
		s.pageError(w, r, "read release "+rr.Release, err)
		return
	}
	if d.looks, err = s.o.Store.Looks(ctx, id, chartLooks); err == nil {
		d.events, err = s.lastEvents(ctx, store.Record{Name: rr.Release})
	}
	if err != nil {
		s.pageError(w, r, "read run "+id, err)
		return
	}
	f := s.frame(r, id, map[string]any{"Release": rr.Release, "Run": s.viewRun(d), "Current": rec.State.Run != nil && rec.State.Run.ID == id})
	f.Nav = "releases"
	if !rr.Run.Phase.Ended() {
		f.Watch = rr.Release
	}
	s.render(w, r, http.StatusOK, "run", f)
}

func (s *Server) logsPage(w http.ResponseWriter, r *http.Request) {
	name, version := r.PathValue("name"), r.URL.Query().Get("version")
	text, err := s.logs(r.Context(), name, version)
	if err != nil {
		s.pageError(w, r, "read the output of "+name, err)
		return
	}
	f := s.frame(r, "Output of "+name, map[string]any{"Name": name, "Version": version, "Text": text})
	f.Nav = "releases"
	s.render(w, r, http.StatusOK, "logs", f)
}

// auditRow is a line of the audit trail.
type auditRow struct {
	At                                 stamp
	Who, From, Action, Release, Detail string
}

func (s *Server) auditPage(w http.ResponseWriter, r *http.Request) {
	lines, err := s.o.Store.AuditTrail(r.Context(), 1000)
	if err != nil {
		s.pageError(w, r, "read the audit trail", err)
		return
	}
	only := r.URL.Query().Get("release")
	var rows []auditRow
	for _, l := range lines {
		if only == "" || l.Release == only {
			rows = append(rows, auditRow{s.ago(l.At), l.Actor.Subject, l.Actor.From, l.Action, l.Release, l.Detail})
		}
	}
	f := s.frame(r, "Audit", map[string]any{"Rows": rows, "Only": only})
	f.Nav = "audit"
	s.render(w, r, http.StatusOK, "audit", f)
}
