// Package inference is the engine that understands requests to models: it reads
// a request and its answer along, as they pass, and says in a release.Answer
// what the model did: how soon its first token came and how evenly the others,
// what it counted and cost, why it ended, whether it refused, and whether the
// answer has the form that the request asked for. It reads OpenAI-compatible
// chat completions, completions, embeddings and responses, whole and as
// server-sent events, the Open Inference Protocol v2 over REST, and any JSON by
// path.
//
// Nothing waits for it and nothing is kept whole: its scanners take pieces of
// any size and hold a few KiB for each answer. The only bytes it ever changes are
// those that Config.Usage asks for. It knows no proxy, no version and no
// verdict, and must not decide what an answer is worth beyond its protocol.
//
// Read this file first, then scan.go (JSON in pieces), event.go (server-sent
// events), fields.go (what is wanted of each protocol) and reply.go (facts).
package inference

import (
	"net/http"
	"path"
	"strings"
	"sync/atomic"

	"github.com/haldane-project/haldane/internal/release"
)

// Interpreter understands the model traffic of one release. Its methods may be
// called from any goroutine.
type Interpreter struct {
	config    release.Model
	json      *node // of answers
	input     *node // of requests
	schemas   schemas
	inflating atomic.Int64 // compressed answers under way
}

// New makes an Interpreter. The config is valid: see package manifest.
func New(c release.Model) *Interpreter {
	return &Interpreter{config: c, json: byPath(jsonFields, c.JSON), input: byPath(jsonInputs, c.Input)}
}

// Interpret begins to read a request along; nil: it is none to a model.
func (i *Interpreter) Interpret(r *http.Request) *Dialogue {
	api := i.apiOf(r)
	if api == "" {
		return nil
	}
	d := &Dialogue{i: i, api: api}
	if r.Header.Get("Content-Encoding") == "" {
		d.request = newRequest(i.asked(api))
		kind := mediaType(r.Header)
		d.asks = i.config.Usage && (api == release.ChatAPI || api == release.CompletionAPI) && (kind == "application/json" || strings.HasSuffix(kind, "+json"))
	}
	return d
}

// endings are the paths of the protocols, by their last parts.
var endings = []struct {
	path string
	api  release.ModelAPI
}{
	{"/chat/completions", release.ChatAPI},
	{"/completions", release.CompletionAPI},
	{"/embeddings", release.EmbeddingAPI},
	{"/responses", release.ResponseAPI},
}

// apiOf tells the protocol by the path: those that the release names first, then
// those that the protocols lay down.
func (i *Interpreter) apiOf(r *http.Request) release.ModelAPI {
	if r.Method != http.MethodPost {
		return ""
	}
	at := r.URL.Path
	for _, p := range i.config.Paths {
		if ok, err := path.Match(p.Path, at); ok && err == nil {
			return p.API
		}
	}
	for _, e := range endings {
		if strings.HasSuffix(at, e.path) {
			return e.api
		}
	}
	if strings.HasSuffix(at, "/infer") && strings.Contains(at, "/v2/models/") {
		return release.InferAPI
	}
	return ""
}

// mediaType is the content type without its parameters, in lower case.
func mediaType(h http.Header) string {
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(kind))
}

// price sets the cost of an answer whose tokens the server counted.
func (i *Interpreter) price(a *release.Answer) {
	if a.Estimated || a.InputTokens+a.OutputTokens == 0 {
		return
	}
	for _, name := range []string{a.Model, a.RequestModel, "*"} {
		p, known := i.config.Prices[name]
		if !known {
			continue
		}
		cached := min(a.CachedTokens, a.InputTokens)
		reasoning := min(a.ReasoningTokens, a.OutputTokens)
		a.Cost = (p.Input*float64(a.InputTokens-cached) + p.Cached*float64(cached) +
			p.Output*float64(a.OutputTokens-reasoning) + p.Reasoning*float64(reasoning)) / 1e6
		a.Priced = true
		return
	}
}
