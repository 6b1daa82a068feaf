// Package modelserver is a sample model server: the OpenAI API (chat
// completions, completions, responses, embeddings, models; JSON and server-sent
// events) and vLLM's metrics around the small language model of package ngram,
// with faults that can be planted. The example, the demo and tests release
// versions of it. It knows no release and nothing of Haldane.
//
// Read this file first, then ask.go (what every endpoint makes of a request),
// compose.go (what is said), stream.go (how it is sent) and the endpoints.
package modelserver

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/haldane-project/haldane/internal/demo/ngram"
)

// VersionHeader is in every answer of a sample service.
const VersionHeader = "X-Sample-Version"

// DefaultModel is the name under which Settings.Order is served. A model of any
// order is served as DefaultModel-ORDER beside it.
const DefaultModel = "ngram"

const (
	maxBody   = 4 << 20
	readLimit = 30 * time.Second // of a request, and of one write
	drain     = 10 * time.Second
)

// Server is an http.Handler. Make it with New.
type Server struct {
	set    Settings
	models map[string]*ngram.Model
	mux    *http.ServeMux
	meters *meters

	mu   sync.Mutex
	luck *rand.Rand
}

// New trains the models.
func New(set Settings) (*Server, error) {
	if set.Now == nil {
		set.Now = time.Now
	}
	s := &Server{set: set, models: map[string]*ngram.Model{}, mux: http.NewServeMux(), luck: rand.New(rand.NewPCG(set.Seed, 1))}
	if set.Seed == 0 {
		s.luck = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	for order := 1; order <= ngram.MaxOrder; order++ {
		m, err := ngram.Train(ngram.Text, order)
		if err != nil {
			return nil, fmt.Errorf("model server: train order %d: %w", order, err)
		}
		s.models[DefaultModel+"-"+strconv.Itoa(order)] = m
	}
	m, ok := s.models[DefaultModel+"-"+strconv.Itoa(set.Order)]
	if !ok {
		return nil, fmt.Errorf("model server: the order is %d, expected 1 to %d", set.Order, ngram.MaxOrder)
	}
	s.models[DefaultModel] = m
	s.meters = newMeters()
	s.mux.HandleFunc("GET /health", func(http.ResponseWriter, *http.Request) {})
	s.mux.HandleFunc("GET /metrics", s.meters.serve)
	s.mux.HandleFunc("GET /v1/models", s.listModels)
	s.mux.HandleFunc("GET /v1/models/{id}", s.getModel)
	s.mux.HandleFunc("POST /v1/chat/completions", s.chat)
	s.mux.HandleFunc("POST /v1/completions", s.completions)
	s.mux.HandleFunc("POST /v1/responses", s.responses)
	s.mux.HandleFunc("POST /v1/embeddings", s.embeddings)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, "not_found", "", "%s %s is not served here; known are /v1/chat/completions, /v1/completions, /v1/responses, /v1/embeddings, /v1/models, /health and /metrics",
			r.Method, r.URL.Path)
	})
	return s, nil
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(VersionHeader, s.set.Version)
	s.mux.ServeHTTP(w, r)
}

// Run serves on HOST and PORT (127.0.0.1:8000) until ctx ends, then lets open
// answers end.
func Run(ctx context.Context, env func(string) string) error {
	set, err := SettingsFrom(env)
	if err != nil {
		return err
	}
	s, err := New(set)
	if err != nil {
		return err
	}
	l, err := listen(env)
	if err != nil {
		return err
	}
	return s.serve(ctx, l)
}

func listen(env func(string) string) (net.Listener, error) {
	address := net.JoinHostPort(cmp.Or(env("HOST"), "127.0.0.1"), cmp.Or(env("PORT"), "8000"))
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("model server: listen on HOST and PORT, %s: %w", address, err)
	}
	return l, nil
}

func (s *Server) serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: readLimit}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("model server: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		return fmt.Errorf("model server: finish the open answers: %w", err)
	}
	return nil
}

// fate is what luck has in store for one request.
type fate struct {
	first, per                                                                                time.Duration
	errors, ramble, refuse, breakJSON, repeat, empty, cut, abort, streamError, stall, endless bool
	how                                                                                       uint64 // which of several ways
}

// spread is the standard deviation of the logarithm of waits.
const spread = 0.2

// draw takes the same number of draws for every request, so that one fault does
// not move the others.
func (s *Server) draw() fate {
	s.mu.Lock()
	defer s.mu.Unlock()
	wait := func(d time.Duration) time.Duration {
		return time.Duration(float64(d) * math.Exp(spread*s.luck.NormFloat64()))
	}
	hit := func(share float64) bool { return s.luck.Float64() < share }
	set := s.set
	return fate{
		first: wait(set.FirstToken), per: wait(set.PerToken), errors: hit(set.Errors), ramble: hit(set.Ramble), refuse: hit(set.Refuse), breakJSON: hit(set.BreakJSON),
		repeat: hit(set.Repeat), empty: hit(set.Empty), cut: hit(set.Cut), abort: hit(set.Abort), streamError: hit(set.StreamError), how: s.luck.Uint64(),
		stall: hit(set.Stall), endless: hit(set.Endless),
	}
}

// read decodes a request's body; it has answered where it returns false.
func read(w http.ResponseWriter, r *http.Request, into any) (body []byte, ok bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			fail(w, http.StatusRequestEntityTooLarge, "invalid_request_error", "", "the body is larger than %d bytes", maxBody)
		}
		return nil, false // else the client is gone
	}
	if err := json.Unmarshal(body, into); err != nil {
		fail(w, http.StatusBadRequest, "invalid_request_error", "", "the body is not the JSON that is expected here: %v", err)
		return nil, false
	}
	return body, true
}

// model finds a model; it has answered where it returns nil.
func (s *Server) model(w http.ResponseWriter, name string) *ngram.Model {
	m := s.models[name]
	if m == nil {
		fail(w, http.StatusNotFound, "invalid_request_error", "model", "the model %q does not exist; known are %s", name, strings.Join(s.names(), ", "))
	}
	return m
}

func (s *Server) names() []string { return slices.Sorted(maps.Keys(s.models)) }

type problem struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

// fail answers in the API's form of errors.
func fail(w http.ResponseWriter, status int, kind, param, format string, args ...any) {
	p := problem{Message: fmt.Sprintf(format, args...), Type: kind}
	if param != "" {
		p.Param = &param
	}
	if param == "model" {
		code := "model_not_found"
		p.Code = &code
	}
	answer(w, status, map[string]problem{"error": p})
}

// answer writes a whole JSON answer.
func answer(w http.ResponseWriter, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		panic("modelserver: " + err.Error()) // bodies are the package's own types
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b) // an error means that the client is gone
}

// identity names an answer: by its request where that has a seed, so that equal
// requests get equal bytes, else at random. How a stream is told is no part of what
// is asked.
func (s *Server) identity(body []byte, seeded bool) string {
	if seeded && !s.set.IgnoreSeed {
		var asked map[string]json.RawMessage
		if json.Unmarshal(body, &asked) == nil {
			delete(asked, "stream_options")
			body, _ = json.Marshal(asked) // it was JSON
		}
		sum := sha256.Sum256(body)
		return hex.EncodeToString(sum[:12])
	}
	return fmt.Sprintf("%016x%08x", rand.Uint64(), rand.Uint32())
}

// fingerprint names what answers: equal ones give equal answers to equal seeds.
func fingerprint(m *ngram.Model) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d\n%s", m.Order(), ngram.Text))
	return "fp_" + hex.EncodeToString(sum[:5])
}

type modelObject struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

func (s *Server) object(name string) modelObject {
	return modelObject{ID: name, Object: "model", Created: s.set.Now().Unix(), OwnedBy: "haldane"}
}

func (s *Server) listModels(w http.ResponseWriter, _ *http.Request) {
	var data []modelObject
	for _, name := range s.names() {
		data = append(data, s.object(name))
	}
	answer(w, http.StatusOK, map[string]any{"object": "list", "data": data})
}

func (s *Server) getModel(w http.ResponseWriter, r *http.Request) {
	if name := r.PathValue("id"); s.model(w, name) != nil {
		answer(w, http.StatusOK, s.object(name))
	}
}
