package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"sigs.k8s.io/yaml"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/manifest"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/status"
	"github.com/haldane-project/haldane/internal/store"
)

// releaseView is the page of a release.
type releaseView struct {
	Name, Phase, Sentence string
	Split                 splitBar
	Run                   *runView
	Actions               []action
	Instances             []instanceRow
	Health                []healthRow
	History               []historyBlock
	Events                []logRow
	Manifest              string
	HasLogs, HasRates     bool
	HasDifferences        bool // requests were copied
	Applied               stamp
}

// instanceRow is what runs of one version.
type instanceRow struct {
	ID, Name, Role, Weight string
	Ready, Total           int
	Error                  string
	Rate, Failing, Latency string
	CPU, Memory            string
	Restarts               int
}

// healthRow is one thing that must be right for the figures to mean something.
type healthRow struct {
	Name, State, Text string // State: good, wait, bad
}

// historyBlock is one run in the strip.
type historyBlock struct {
	ID, Phase, Letter, Text string
	Look                    appearance
	Took                    string
	From, To, Why           string
	Started                 stamp
}

const (
	chartLooks    = 2000
	historyBlocks = 30
	logEvents     = 500
)

func (s *Server) releasePage(w http.ResponseWriter, r *http.Request) {
	ctx, name := r.Context(), r.PathValue("name")
	rec, err := s.o.Store.Get(ctx, name)
	if err != nil {
		s.pageError(w, r, "read release "+name, err)
		return
	}
	v, err := s.viewRelease(ctx, rec)
	if err != nil {
		s.pageError(w, r, "read release "+name, err)
		return
	}
	f := s.frame(r, name, v)
	f.Nav, f.Watch = "releases", name
	s.note(ctx, r, &f)
	s.render(w, r, http.StatusOK, "release", f)
}

// note tells what became of the click that led here; only the intent's number
// comes from the address.
func (s *Server) note(ctx context.Context, r *http.Request, f *frame) {
	id, err := strconv.ParseInt(r.URL.Query().Get("asked"), 10, 64)
	if err != nil {
		return
	}
	a, ok, err := s.o.Store.Answer(ctx, id)
	switch {
	case err != nil:
	case !ok:
		f.Note = "Recorded; the controller has not answered yet."
	default:
		f.Note, f.NoteBad = a.Message, !a.Done
	}
}

func (s *Server) viewRelease(ctx context.Context, rec store.Record) (releaseView, error) {
	v := releaseView{Name: rec.Name, Phase: status.Phase(rec), Sentence: status.Sentence(rec), Split: splitOf(rec),
		HasDifferences: s.o.Differences != nil && s.o.Differences(rec.Name).Counts.Copies > 0, HasLogs: s.o.Logs != nil, HasRates: s.o.Rates != nil, Applied: s.ago(rec.Applied)}
	events, err := s.lastEvents(ctx, rec)
	if err != nil {
		return v, err
	}
	runs, err := s.o.Store.Runs(ctx, rec.Name, historyBlocks)
	if err != nil {
		return v, err
	}
	v.History = s.history(runs)
	v.Instances = s.instances(rec)
	v.Health = s.health(rec)
	v.Actions = actions(rec)
	v.Manifest = manifestText(rec.Manifest)
	if rec.State.Run == nil {
		v.Events = plainLog(events)
		return v, nil
	}
	d := chartData{run: *rec.State.Run, events: events, metrics: declared(rec.Manifest), now: s.o.Now(), load: status.Load(rec)}
	if d.looks, err = s.o.Store.Looks(ctx, d.run.ID, chartLooks); err != nil {
		return v, err
	}
	if rec.Look != nil && rec.Look.Run == d.run.ID {
		d.report = &rec.Look.Report
		if n := len(d.looks); n == 0 || d.looks[n-1].At.Before(rec.Look.At) {
			d.looks = append(d.looks, *rec.Look)
		}
	}
	run := s.viewRun(d)
	v.Run = &run
	return v, nil
}

// lastEvents are the newest events of a release, oldest first.
func (s *Server) lastEvents(ctx context.Context, rec store.Record) ([]store.StoredEvent, error) {
	var out []store.StoredEvent
	var after int64
	for {
		page, err := s.o.Store.Events(ctx, rec.Name, after, logEvents)
		if err != nil {
			return nil, err
		}
		out = append(out, page...)
		if len(out) > logEvents {
			out = out[len(out)-logEvents:]
		}
		if len(page) < logEvents {
			return out, nil
		}
		after = page[len(page)-1].ID
	}
}

func plainLog(events []store.StoredEvent) []logRow {
	var out []logRow
	for i := len(events) - 1; i >= 0; i-- {
		e := events[i]
		out = append(out, logRow{At: clock(e.At), Reason: e.Reason, Message: e.Message, By: e.By, Warning: e.Warning})
	}
	return out
}

// declared are the metrics of a stored manifest; none when it no longer reads.
func declared(doc json.RawMessage) []release.Metric {
	var obj v1alpha1.Release
	if json.Unmarshal(doc, &obj) != nil {
		return nil
	}
	rel, err := manifest.FromObject(obj)
	if err != nil {
		return nil
	}
	return rel.Analysis.Metrics
}

func manifestText(doc json.RawMessage) string {
	text, err := yaml.JSONToYAML(doc)
	if err != nil {
		return string(doc)
	}
	return string(text)
}

func (s *Server) history(runs []store.RunRecord) []historyBlock {
	letters := map[string]string{"Promoted": "P", "RolledBack": "R", "Aborted": "A", "Superseded": "S"}
	var out []historyBlock
	for i := len(runs) - 1; i >= 0; i-- {
		run := runs[i].Run
		b := historyBlock{ID: run.ID, Phase: string(run.Phase), Letter: letters[string(run.Phase)], Look: lookOf(string(run.Phase)),
			To: run.To.Name, Why: run.Why, Started: s.ago(run.Started)}
		if run.From != nil {
			b.From = run.From.Name
		}
		if b.Letter == "" {
			b.Letter = "…"
		}
		if !run.Ended.IsZero() {
			b.Took = status.Duration(run.Ended.Sub(run.Started))
		}
		out = append(out, b)
	}
	return out
}

func (s *Server) instances(rec store.Record) []instanceRow {
	rates := map[release.VersionID]Rate{}
	if s.o.Rates != nil {
		for _, r := range s.o.Rates(rec.Name) {
			rates[r.Version] = r
		}
	}
	names := map[release.VersionID]string{}
	for _, v := range versions(rec) {
		names[v.ID] = v.Name
	}
	var out []instanceRow
	for _, g := range rec.Observed.Fleet {
		row := instanceRow{ID: string(g.Version), Name: names[g.Version], Ready: g.Ready, Total: g.Total, Error: g.Error,
			Weight: status.Percent(rec.Observed.Split.Of(g.Version))}
		if row.Name == "" {
			row.Name = string(g.Version)
		}
		switch {
		case g.Version == canaryOf(rec.State.Run):
			row.Role = "canary"
		case rec.State.Stable != nil && g.Version == rec.State.Stable.ID:
			row.Role = "stable"
		}
		if r, ok := rates[g.Version]; ok {
			fillRate(&row, r)
		}
		out = append(out, row)
	}
	return out
}

func fillRate(row *instanceRow, r Rate) {
	row.Rate = fmt.Sprintf("%.1f/s", r.Requests)
	row.Failing = status.Share(r.Errors)
	if r.Latency > 0 {
		row.Latency = status.Seconds(r.Latency)
	}
	if r.CPU != nil {
		row.CPU = fmt.Sprintf("%.2f cores", *r.CPU)
	}
	if r.Memory != nil {
		row.Memory = status.Bytes(*r.Memory)
	}
	row.Restarts = r.Restarts
}

// pageError is the page of an error of the store.
func (s *Server) pageError(w http.ResponseWriter, r *http.Request, what string, err error) {
	var se huma.StatusError
	if !errors.As(err, &se) {
		_ = errors.As(s.problem(r.Context(), what, err), &se)
	}
	s.pages.fail(w, r, se.GetStatus(), se.Error())
}
