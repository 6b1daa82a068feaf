package web

import (
	"context"

	"github.com/danielgtaylor/huma/v2"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/status"
	"github.com/haldane-project/haldane/internal/store"
)

type runsInput struct {
	NamePath
	Limit int `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

// IDPath is the run in an address.
type IDPath struct {
	ID string `path:"id" maxLength:"253" doc:"Name of the run."`
}

type looksInput struct {
	IDPath
	Limit int `query:"limit" minimum:"1" maximum:"5000" default:"500" doc:"How many of the newest."`
}

type eventsInput struct {
	NamePath
	After int64 `query:"after" minimum:"0" doc:"Only events with a larger number."`
	Limit int   `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

type auditInput struct {
	Limit int `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

func (s *Server) runRoutes(api huma.API) {
	huma.Register(api, op("list-runs", "GET", "/api/v1/releases/{name}/runs", "The runs of a release, newest first."), s.listRuns)
	huma.Register(api, op("get-run", "GET", "/api/v1/runs/{id}", "One run.", 404), s.getRun)
	huma.Register(api, op("list-looks", "GET", "/api/v1/runs/{id}/looks", "What the judge read in a run, oldest first."), s.listLooks)
	huma.Register(api, op("list-events", "GET", "/api/v1/releases/{name}/events", "What happened to a release, oldest first."), s.listEvents)
	huma.Register(api, op("get-record", "GET", "/api/v1/judge/record", "How often runs of stable against itself would have been rolled back: the judge's realised false alarms."), s.getRecord)
	huma.Register(api, op("list-audit", "GET", "/api/v1/audit", "Who asked for what, newest first."), s.listAudit)
}

func (s *Server) listRuns(ctx context.Context, in *runsInput) (*answer[client.List[v1alpha1.Run]], error) {
	recs, err := s.o.Store.Runs(ctx, in.Name, in.Limit)
	if err != nil {
		return nil, s.problem(ctx, "list the runs of "+in.Name, err)
	}
	out := client.List[v1alpha1.Run]{Items: make([]v1alpha1.Run, 0, len(recs))}
	for _, r := range recs {
		out.Items = append(out.Items, status.RunOf(r))
	}
	return &answer[client.List[v1alpha1.Run]]{out}, nil
}

func (s *Server) getRecord(ctx context.Context, _ *struct{}) (*answer[client.Record], error) {
	r, err := s.o.Store.FalseAlarms(ctx)
	if err != nil {
		return nil, s.problem(ctx, "read the judge's record", err)
	}
	return &answer[client.Record]{client.Record{Record: r, Rate: r.Rate(), Contradicted: r.Contradicted(), Message: r.Words()}}, nil
}

func (s *Server) getRun(ctx context.Context, in *IDPath) (*answer[v1alpha1.Run], error) {
	r, err := s.o.Store.Run(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, "read run "+in.ID, err)
	}
	return &answer[v1alpha1.Run]{status.RunOf(r)}, nil
}

func (s *Server) listLooks(ctx context.Context, in *looksInput) (*answer[client.List[store.Look]], error) {
	looks, err := s.o.Store.Looks(ctx, in.ID, in.Limit)
	return list(ctx, s, "read the looks of run "+in.ID, looks, err)
}

func (s *Server) listEvents(ctx context.Context, in *eventsInput) (*answer[client.List[store.StoredEvent]], error) {
	events, err := s.o.Store.Events(ctx, in.Name, in.After, in.Limit)
	return list(ctx, s, "read the events of "+in.Name, events, err)
}

func (s *Server) listAudit(ctx context.Context, in *auditInput) (*answer[client.List[store.Audit]], error) {
	lines, err := s.o.Store.AuditTrail(ctx, in.Limit)
	return list(ctx, s, "read the audit trail", lines, err)
}

func list[T any](ctx context.Context, s *Server, what string, items []T, err error) (*answer[client.List[T]], error) {
	if err != nil {
		return nil, s.problem(ctx, what, err)
	}
	if items == nil {
		items = []T{}
	}
	return &answer[client.List[T]]{client.List[T]{Items: items}}, nil
}
