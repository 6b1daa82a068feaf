package web

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/haldane-project/haldane/internal/release"
)

type feedbackInput struct {
	NamePath
	RawBody []byte `contentType:"application/json"`
}

func (s *Server) feedbackRoute(api huma.API) {
	o := op("give-feedback", "POST", "/api/v1/releases/{name}/feedback", "Say of an answer of the release's what a user thought of it: `id` (its X-Request-Id, or the id that it gives itself) or `session`, and a `vote` (up, down), a `score` (0 to 1) or a `label`. The same said again counts once.", 400, 404, 409, 501)
	o.DefaultStatus, o.MaxBodyBytes = http.StatusNoContent, maxForm
	o.SkipValidateBody = true // ParseFeedback does, and the raw body passes for a text
	huma.Register(api, o, s.giveFeedback)
}

func (s *Server) giveFeedback(_ context.Context, in *feedbackInput) (*struct{}, error) {
	if s.o.Feedback == nil {
		return nil, huma.Error501NotImplemented("this daemon takes no feedback: its proxy does not serve the releases")
	}
	f, session, err := release.ParseFeedback(in.RawBody)
	if err != nil {
		return nil, huma.Error400BadRequest(err.Error())
	}
	err = s.o.Feedback(in.Name, f, session)
	switch {
	case err == nil:
		return nil, nil
	case errors.As(err, new(release.UnknownAnswer)):
		return nil, huma.Error404NotFound(err.Error())
	case errors.As(err, new(release.TakenFeedback)):
		return nil, huma.Error409Conflict(err.Error())
	}
	return nil, huma.Error400BadRequest(err.Error())
}
