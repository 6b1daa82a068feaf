package modelserver

import "net/http"

type completionRequest struct {
	params
	Prompt        texts         `json:"prompt"`
	MaxTokens     *int          `json:"max_tokens"`
	StreamOptions streamOptions `json:"stream_options"`
}

func (s *Server) completions(w http.ResponseWriter, r *http.Request) {
	var q completionRequest
	body, ok := read(w, r, &q)
	if !ok {
		return
	}
	if q.MaxTokens == nil {
		most := 16 // the API's default
		q.MaxTokens = &most
	}
	a, err := q.ask(q.MaxTokens, "max_tokens")
	if err == nil && len(q.Prompt) != 1 {
		err = bad("prompt", "%d prompts were given, expected one text", len(q.Prompt))
	}
	if err == nil {
		a.prompt, a.user, a.continues = q.Prompt[0], q.Prompt[0], true
	}
	if s.accept(w, body, &a, err) {
		s.reply(w, r, a, q.Stream, completionForm{a, q.StreamOptions.IncludeUsage})
	}
}

// completionForm writes completions.
type completionForm struct {
	a     ask
	usage bool
}

type completion struct {
	ID          string             `json:"id"`
	Object      string             `json:"object"`
	Created     int64              `json:"created"`
	Model       string             `json:"model"`
	Fingerprint string             `json:"system_fingerprint"`
	Choices     []completionChoice `json:"choices"`
	Usage       *usage             `json:"usage,omitempty"`
}

type completionChoice struct {
	Text     string    `json:"text"`
	Index    int       `json:"index"`
	Logprobs *struct{} `json:"logprobs"`
	Finish   *string   `json:"finish_reason"`
}

func (f completionForm) frame(u *usage, choices ...completionChoice) completion {
	if choices == nil {
		choices = []completionChoice{}
	}
	return completion{ID: "cmpl-" + f.a.id, Object: "text_completion", Created: f.a.created, Model: f.a.name, Fingerprint: fingerprint(f.a.model), Choices: choices, Usage: u}
}

func (f completionForm) whole(x said) any {
	u := usageOf(x)
	return f.frame(&u, completionChoice{Text: x.text(), Finish: &x.finish})
}

func (f completionForm) open(*events) {}

func (f completionForm) piece(e *events, _ said, text string) {
	e.send("", f.frame(nil, completionChoice{Text: text}))
}

func (f completionForm) close(e *events, x said) {
	e.send("", f.frame(nil, completionChoice{Finish: &x.finish}))
	if f.usage {
		u := usageOf(x)
		e.send("", f.frame(&u))
	}
	e.done()
}

func (f completionForm) broken(e *events) { brokenEvent(e) }
