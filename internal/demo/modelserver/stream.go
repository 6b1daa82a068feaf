package modelserver

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// form is how an endpoint writes an answer, whole or as events.
type form interface {
	whole(x said) any
	open(e *events)
	piece(e *events, x said, text string)
	close(e *events, x said) // with the end marker, where there is one
	broken(e *events)        // the error event of an answer that fails midway
}

// events writes server-sent events, each at once.
type events struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func newEvents(w http.ResponseWriter) *events {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	return &events{w, http.NewResponseController(w)}
}

// send writes one event; a name of "" leaves its line out. A client that left
// shows in the request's context.
func (e *events) send(name string, data any) {
	b, err := json.Marshal(data)
	if err != nil {
		panic("modelserver: " + err.Error()) // events are the package's own types
	}
	line := make([]byte, 0, len(b)+64)
	if name != "" {
		line = append(append(append(line, "event: "...), name...), '\n')
	}
	line = append(append(append(line, "data: "...), b...), "\n\n"...)
	e.write(line)
}

func (e *events) done() { e.write([]byte("data: [DONE]\n\n")) }

func (e *events) write(line []byte) {
	_ = e.rc.SetWriteDeadline(time.Now().Add(readLimit)) // test recorders have none
	_, _ = e.w.Write(line)
	_ = e.rc.Flush()
}

// reply answers a question at the pace of the version, with its faults.
func (s *Server) reply(w http.ResponseWriter, r *http.Request, a ask, stream bool, f form) {
	luck := s.draw()
	if luck.errors {
		fail(w, http.StatusServiceUnavailable, "server_error", "", "the model is overloaded; try again")
		return
	}
	x, err := compose(a, luck, s.dice(a))
	if err != nil {
		fail(w, http.StatusBadRequest, "invalid_request_error", "response_format", "%v", err)
		return
	}
	s.meters.begin(a.name)
	t, finish := timing{begun: time.Now()}, "abort"
	defer func() { s.meters.end(a.name, x, t, finish) }() // also where the connection is broken on purpose
	if stream {
		e := newEvents(w)
		f.open(e)
		if play(r.Context(), e, f, x, luck, &t) {
			finish = x.finish
		}
		return
	}
	if luck.stall {
		t.late += stalled
	}
	if !t.pass(r.Context(), luck, len(x.pieces)) {
		return
	}
	if luck.endless {
		<-r.Context().Done()
		return
	}
	switch {
	case luck.streamError:
		fail(w, http.StatusInternalServerError, "server_error", "", "the engine failed while it answered")
	case luck.cut, luck.abort:
		breakOff(w, f.whole(x))
	default:
		answer(w, http.StatusOK, f.whole(x))
		finish = x.finish
	}
}

// dice decide what is said: the request's seed, or chance.
func (s *Server) dice(a ask) *rand.Rand {
	if a.seed != nil && !s.set.IgnoreSeed {
		return rand.New(rand.NewPCG(uint64(*a.seed), 2))
	}
	return rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
}

// stalled is how long an answer stands still that stalls.
const stalled = 400 * time.Millisecond

// play sends the pieces and reports whether the answer came to its end.
func play(ctx context.Context, e *events, f form, x said, luck fate, t *timing) bool {
	middle := len(x.pieces) / 2
	for i, text := range x.pieces {
		if i == middle && (luck.cut || luck.abort || luck.streamError) {
			break
		}
		if i == middle && luck.stall {
			t.late += stalled
		}
		if !t.pass(ctx, luck, 1) {
			return false
		}
		f.piece(e, x, text)
	}
	switch {
	case luck.streamError:
		f.broken(e)
	case luck.abort:
		panic(http.ErrAbortHandler)
	case luck.cut:
	default:
		if t.sent == 0 && !pause(ctx, t.begun.Add(luck.first)) { // an empty answer takes its time too
			return false
		}
		if luck.endless {
			goOn(ctx, e, f, x, luck, t)
			return false
		}
		f.close(e, x)
		return true
	}
	return false
}

// goOn says the answer again and again until the client leaves.
func goOn(ctx context.Context, e *events, f form, x said, luck fate, t *timing) {
	for len(x.pieces) > 0 && t.pass(ctx, luck, 1) {
		f.piece(e, x, x.pieces[t.sent%len(x.pieces)])
	}
	<-ctx.Done()
}

// pass waits until n more tokens are due and counts them; false: the client left.
func (t *timing) pass(ctx context.Context, luck fate, n int) bool {
	if n == 0 {
		return pause(ctx, t.begun.Add(luck.first))
	}
	last := t.begun.Add(t.late + luck.first + time.Duration(t.sent+n-1)*luck.per)
	if !pause(ctx, last) {
		return false
	}
	t.last = time.Now()
	if t.sent == 0 {
		t.first = t.last.Add(-time.Duration(n-1) * luck.per)
	}
	t.sent += n
	return true
}

func pause(ctx context.Context, until time.Time) bool {
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// breakOff sends half of an answer and breaks the connection.
func breakOff(w http.ResponseWriter, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		panic("modelserver: " + err.Error()) // bodies are the package's own types
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	_, _ = w.Write(b[:len(b)/2])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// usage is what an answer cost, in the words of chat completions.
type usage struct {
	PromptTokens            int           `json:"prompt_tokens"`
	CompletionTokens        int           `json:"completion_tokens"`
	TotalTokens             int           `json:"total_tokens"`
	PromptTokensDetails     cachedTokens  `json:"prompt_tokens_details"`
	CompletionTokensDetails thoughtTokens `json:"completion_tokens_details"`
}

type cachedTokens struct {
	CachedTokens int `json:"cached_tokens"`
}

type thoughtTokens struct {
	ReasoningTokens int `json:"reasoning_tokens"`
}

func usageOf(x said) usage {
	return usage{PromptTokens: x.input, CompletionTokens: x.output, TotalTokens: x.input + x.output}
}

// streamOptions are those of chat completions and completions.
type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

// brokenEvent is what vLLM sends where the engine fails midway.
func brokenEvent(e *events) {
	e.send("", map[string]any{"error": map[string]any{"message": "the engine failed while it answered", "type": "InternalServerError", "param": nil, "code": 500}})
	e.done()
}
