package web

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/store"
)

// jsonLines is the media type of evidence.
const jsonLines = "application/jsonl"

func (s *Server) evidenceRoute(mux *http.ServeMux, api huma.API) {
	o := op("get-evidence", "GET", "/api/v1/runs/{id}/evidence", "What the judge took in during a run: one JSON object a line, as `haldane judge replay` reads it. Empty where nothing is kept. The header `"+client.EvidenceCut+"` says that the end is missing.", 404)
	o.Parameters = []*huma.Param{{Name: "id", In: "path", Required: true, Description: "Name of the run.", Schema: &huma.Schema{Type: "string"}}}
	o.Responses = map[string]*huma.Response{"200": {Description: "JSON lines, oldest first.", Content: map[string]*huma.MediaType{jsonLines: {Schema: &huma.Schema{Type: "string"}}}}}
	api.OpenAPI().AddOperation(&o)
	mux.HandleFunc("GET /api/v1/runs/{id}/evidence", s.evidence)
}

// evidence streams what is kept of a run. A stream that breaks off midway ends
// without its last chunk, so that nobody takes it for whole.
func (s *Server) evidence(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	e, err := s.o.Store.Evidence(r.Context(), id)
	if errors.Is(err, store.ErrNotFound) {
		s.fail(w, r, http.StatusNotFound, fmt.Sprintf("there is no run %q", id))
		return
	} else if err != nil {
		s.o.Log.Error("request failed", "what", "read the evidence of run "+id, "error", err)
		s.fail(w, r, http.StatusInternalServerError, fmt.Sprintf("read the evidence of run %s: %v", id, err))
		return
	}
	defer e.Close()
	w.Header().Set("Content-Type", jsonLines)
	if e.Cut {
		w.Header().Set(client.EvidenceCut, "true")
	}
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	if _, err := io.Copy(&unhurried{w, http.NewResponseController(w)}, e); err != nil {
		s.o.Log.Debug("evidence broke off", "run", id, "error", err)
		panic(http.ErrAbortHandler)
	}
}

// unhurried gives every piece the time that a whole answer has.
type unhurried struct {
	w  io.Writer
	rc *http.ResponseController
}

// Write implements io.Writer.
func (u *unhurried) Write(p []byte) (int, error) {
	_ = u.rc.SetWriteDeadline(time.Now().Add(answerTimeout))
	return u.w.Write(p)
}
