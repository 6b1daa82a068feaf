package web

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/compare"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/status"
)

func (s *Server) differenceRoutes(api huma.API) {
	huma.Register(api, op("get-differences", "GET", "/api/v1/releases/{name}/differences", "What was found when requests were copied to the new version, with the last answers that differ, secrets masked. Operators only.", 404, 501), s.getDifferences)
}

func (s *Server) getDifferences(ctx context.Context, in *NamePath) (*answer[client.Differences], error) {
	d, err := s.differences(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	return &answer[client.Differences]{d}, nil
}

func (s *Server) differences(ctx context.Context, name string) (client.Differences, error) {
	if s.o.Differences == nil {
		return client.Differences{}, huma.Error501NotImplemented("this daemon compares no answers: its own proxy is not in the way of requests")
	}
	if _, err := s.o.Store.Get(ctx, name); err != nil {
		return client.Differences{}, s.problem(ctx, "read release "+name, err)
	}
	return s.o.Differences(name), nil
}

// pairView is one pair of answers on a page.
type pairView struct {
	compare.Pair
	When           stamp
	Stable, Canary string
	Left, Right    []lineView
}

// lineView is a line of one answer; Other: the other answer has another one.
type lineView struct {
	Text  string
	Other bool
}

func (s *Server) differencesPage(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	d, err := s.differences(r.Context(), name)
	if err != nil {
		s.pageError(w, r, "read the differences of "+name, err)
		return
	}
	rec, err := s.o.Store.Get(r.Context(), name)
	if err != nil {
		s.pageError(w, r, "read release "+name, err)
		return
	}
	names := map[release.VersionID]string{}
	if st := rec.State.Stable; st != nil {
		names[st.ID] = st.Name
	}
	if run := rec.State.Run; run != nil {
		names[run.To.ID] = run.To.Name
		if run.From != nil {
			names[run.From.ID] = run.From.Name
		}
	}
	called := func(v release.VersionID) string {
		if n := names[v]; n != "" {
			return n
		}
		return string(v)
	}
	var pairs []pairView
	for _, p := range d.Pairs {
		left, right := compare.Lines(p.Answers[0], p.Answers[1])
		v := pairView{Pair: p, When: s.ago(p.At), Stable: called(p.Stable), Canary: called(p.Canary)}
		for _, l := range left {
			v.Left = append(v.Left, lineView(l))
		}
		for _, l := range right {
			v.Right = append(v.Right, lineView(l))
		}
		pairs = append(pairs, v)
	}
	f := s.frame(r, "Differences of "+name, map[string]any{"Name": name, "Counts": d.Counts, "Dropped": d.Dropped,
		"Differ": shareOf(d.Counts.Differ, d.Counts.Compared), "Noise": shareOf(d.Counts.Noise, d.Counts.Again), "Pairs": pairs})
	f.Nav = "releases"
	s.render(w, r, http.StatusOK, "differences", f)
}

// shareOf is a share in words.
func shareOf(n, of int64) string {
	if of == 0 {
		return "–"
	}
	return status.Share(float64(n) / float64(of))
}
