package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/status"
	"github.com/haldane-project/haldane/internal/store"
)

// action is a button.
type action struct {
	Verb, Run, Label, Icon, Tone string
	Confirm                      bool   // asks first, with a reason
	Effect                       string // what it does, on the confirmation
	Versions                     []string
}

// actions are the buttons that make sense now, in their order.
func actions(rec store.Record) []action {
	run := rec.State.Run
	if run == nil {
		return nil
	}
	stable := "the stable version"
	if run.From != nil {
		stable = run.From.Name
	}
	all := []action{
		{Verb: "promote", Label: "Promote one step", Icon: "up", Tone: "main", Confirm: true,
			Effect: fmt.Sprintf("%s goes on to the next step now, without waiting for the evidence and time that this step still needs. It goes on being judged.", run.To.Name)},
		{Verb: "promoteFull", Label: "Promote fully", Icon: "top", Confirm: true,
			Effect: fmt.Sprintf("%s gets all of the traffic at once. All evidence that is still missing is skipped.", run.To.Name)},
		{Verb: "pause", Label: "Pause", Icon: "pause"},
		{Verb: "resume", Label: "Resume", Icon: "play", Tone: "main"},
		{Verb: "retry", Label: "Retry", Icon: "again", Tone: "main", Confirm: true,
			Effect: fmt.Sprintf("%s is tried again in a new run, from its first step.", run.To.Name)},
		{Verb: "rollback", Label: "Roll back", Icon: "back", Tone: "danger", Confirm: true,
			Effect: "An earlier version gets the traffic again."},
		{Verb: "abort", Label: "Abort", Icon: "stop", Tone: "danger", Confirm: true,
			Effect: fmt.Sprintf("All of the traffic goes back to %s at once; then the instances of %s stop.", stable, run.To.Name)},
	}
	allowed := status.Allowed(rec)
	var out []action
	for _, a := range all {
		if !slices.Contains(allowed, a.Verb) {
			continue
		}
		a.Run = run.ID
		if a.Verb == "rollback" {
			for _, v := range rec.State.Earlier {
				a.Versions = append(a.Versions, v.Name)
			}
		}
		out = append(out, a)
	}
	return out
}

// askPage asks for confirmation and a reason. It changes nothing.
func (s *Server) askPage(w http.ResponseWriter, r *http.Request) {
	name, verb := r.PathValue("name"), r.URL.Query().Get("verb")
	rec, err := s.o.Store.Get(r.Context(), name)
	if err != nil {
		s.pageError(w, r, "read release "+name, err)
		return
	}
	for _, a := range actions(rec) {
		if a.Verb == verb {
			f := s.frame(r, a.Label+" "+name, map[string]any{"Name": name, "Action": a, "Sentence": status.Sentence(rec)})
			f.Nav = "releases"
			s.render(w, r, http.StatusOK, "ask", f)
			return
		}
	}
	s.fail(w, r, http.StatusConflict, fmt.Sprintf("release %s is %s: this can not be asked of it now", name, lookOf(status.Phase(rec)).Word))
}

// askForm records what was asked and goes back to the release.
func (s *Server) askForm(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	a, err := s.recordForm(r.Context(), name, r)
	if err != nil {
		s.pageError(w, r, "ask release "+name, err)
		return
	}
	http.Redirect(w, r, fmt.Sprintf("/releases/%s?asked=%d", url.PathEscape(name), a.ID), http.StatusSeeOther)
}

// formWait is how long a click waits for its answer before the page comes back.
const formWait = 3

func (s *Server) recordForm(ctx context.Context, name string, r *http.Request) (client.Answer, error) {
	verb := rollout.Verb(r.PostFormValue("verb"))
	if !slices.Contains(verbs, verb) {
		return client.Answer{}, huma.Error400BadRequest(fmt.Sprintf("verb %q: expected one of %v", verb, verbs))
	}
	reason := r.PostFormValue("reason")
	if len(reason) > 1000 {
		return client.Answer{}, huma.Error400BadRequest("the reason is longer than 1000 bytes")
	}
	return s.record(ctx, name, client.Ask{Verb: verb, Run: r.PostFormValue("run"), Version: r.PostFormValue("version"),
		Reason: reason, WaitSeconds: formWait})
}

var verbs = []rollout.Verb{rollout.AskPause, rollout.AskResume, rollout.AskPromote, rollout.AskPromoteFull,
	rollout.AskAbort, rollout.AskRetry, rollout.AskRollback}
