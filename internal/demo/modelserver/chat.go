package modelserver

import (
	"encoding/json"
	"net/http"
)

type chatRequest struct {
	params
	Messages       []message       `json:"messages"`
	MaxTokens      *int            `json:"max_tokens"`
	MaxCompletion  *int            `json:"max_completion_tokens"`
	StreamOptions  streamOptions   `json:"stream_options"`
	ResponseFormat *responseFormat `json:"response_format"`
	Tools          []struct {
		Type     string     `json:"type"`
		Function toolObject `json:"function"`
	} `json:"tools"`
	ToolChoice json.RawMessage `json:"tool_choice"`
}

type toolObject struct {
	Name        string  `json:"name"`
	Description string  `json:"description"`
	Parameters  *schema `json:"parameters"`
}

func (t toolObject) tool() tool {
	if t.Parameters == nil {
		t.Parameters = &schema{Type: texts{"object"}}
	}
	return tool{t.Name, t.Description, t.Parameters}
}

type responseFormat struct {
	Type       string `json:"type"`
	JSONSchema struct {
		Name   string  `json:"name"`
		Schema *schema `json:"schema"`
	} `json:"json_schema"`
}

// schemaOf is what a format asks for; nil: text.
func schemaOf(kind string, is *schema, field string) (*schema, error) {
	switch kind {
	case "", "text":
		return nil, nil
	case "json_object":
		return anyObject, nil
	case "json_schema":
		if is == nil {
			return nil, bad(field, "%s has the type json_schema and no schema", field)
		}
		return is, nil
	}
	return nil, bad(field, "%s has the type %q, expected text, json_object or json_schema", field, kind)
}

func (q chatRequest) ask() (ask, error) {
	most, limit := q.MaxTokens, "max_tokens"
	if q.MaxCompletion != nil {
		most, limit = q.MaxCompletion, "max_completion_tokens"
	}
	a, err := q.params.ask(most, limit)
	if err != nil {
		return a, err
	}
	if q.ResponseFormat != nil {
		if a.format, err = schemaOf(q.ResponseFormat.Type, q.ResponseFormat.JSONSchema.Schema, "response_format"); err != nil {
			return a, err
		}
	}
	var tools []tool
	for _, t := range q.Tools {
		tools = append(tools, t.Function.tool())
	}
	if err := a.offer(tools, q.ToolChoice); err != nil {
		return a, err
	}
	return a, a.converse(q.Messages, "messages")
}

func (s *Server) chat(w http.ResponseWriter, r *http.Request) {
	var q chatRequest
	body, ok := read(w, r, &q)
	if !ok {
		return
	}
	a, err := q.ask()
	if s.accept(w, body, &a, err) {
		s.reply(w, r, a, q.Stream, &chatForm{a: a, usage: q.StreamOptions.IncludeUsage})
	}
}

// chatForm writes chat completions.
type chatForm struct {
	a       ask
	usage   bool
	started bool // the call was announced
}

type chatCompletion struct {
	ID          string       `json:"id"`
	Object      string       `json:"object"`
	Created     int64        `json:"created"`
	Model       string       `json:"model"`
	Fingerprint string       `json:"system_fingerprint"`
	Choices     []chatChoice `json:"choices"`
	Usage       *usage       `json:"usage,omitempty"`
}

type chatChoice struct {
	Index    int       `json:"index"`
	Message  *chatText `json:"message,omitempty"`
	Delta    any       `json:"delta,omitempty"`
	Logprobs *struct{} `json:"logprobs"`
	Finish   *string   `json:"finish_reason"`
}

type chatText struct {
	Role      string     `json:"role"`
	Content   *string    `json:"content"`
	Refusal   *string    `json:"refusal"`
	ToolCalls []toolCall `json:"tool_calls,omitempty"`
}

type toolCall struct {
	Index    *int         `json:"index,omitempty"`
	ID       string       `json:"id,omitempty"`
	Type     string       `json:"type,omitempty"`
	Function functionCall `json:"function"`
}

type functionCall struct {
	Name      string `json:"name,omitempty"`
	Arguments string `json:"arguments"`
}

func (f *chatForm) frame(object string, choices ...chatChoice) chatCompletion {
	if choices == nil {
		choices = []chatChoice{}
	}
	return chatCompletion{ID: "chatcmpl-" + f.a.id, Object: object, Created: f.a.created, Model: f.a.name, Fingerprint: fingerprint(f.a.model), Choices: choices}
}

func (f *chatForm) callID() string { return "call_" + f.a.id }

// refusesApart reports whether a refusal goes into its own field: that is so
// where the content is structured, which a refusal is not.
func (f *chatForm) refusesApart(x said) bool { return x.kind == "refusal" && f.a.format != nil }

func (f *chatForm) whole(x said) any {
	text := x.text()
	m := &chatText{Role: "assistant"}
	switch {
	case x.kind == "call":
		m.ToolCalls = []toolCall{{ID: f.callID(), Type: "function", Function: functionCall{x.tool, text}}}
	case f.refusesApart(x):
		m.Refusal = &text
	default:
		m.Content = &text
	}
	c := f.frame("chat.completion", chatChoice{Message: m, Finish: &x.finish})
	u := usageOf(x)
	c.Usage = &u
	return c
}

// chunk is one event. Where usage was asked for, every chunk has the field.
func (f *chatForm) chunk(e *events, delta any, finish *string) {
	e.send("", f.counted(f.frame("chat.completion.chunk", chatChoice{Delta: delta, Finish: finish}), nil))
}

func (f *chatForm) counted(c chatCompletion, u *usage) any {
	if !f.usage {
		return c
	}
	return struct {
		chatCompletion
		Usage *usage `json:"usage"`
	}{c, u}
}

func (f *chatForm) open(e *events) {
	f.chunk(e, map[string]any{"role": "assistant", "content": ""}, nil)
}

func (f *chatForm) piece(e *events, x said, text string) {
	switch {
	case x.kind == "call":
		call := toolCall{Index: new(int), Function: functionCall{Arguments: text}}
		if !f.started {
			f.started = true
			first := toolCall{Index: new(int), ID: f.callID(), Type: "function", Function: functionCall{Name: x.tool}}
			f.chunk(e, map[string]any{"tool_calls": []toolCall{first}}, nil)
		}
		f.chunk(e, map[string]any{"tool_calls": []toolCall{call}}, nil)
	case f.refusesApart(x):
		f.chunk(e, map[string]string{"refusal": text}, nil)
	default:
		f.chunk(e, map[string]string{"content": text}, nil)
	}
}

func (f *chatForm) close(e *events, x said) {
	f.chunk(e, struct{}{}, &x.finish)
	if f.usage {
		u := usageOf(x)
		e.send("", f.counted(f.frame("chat.completion.chunk"), &u))
	}
	e.done()
}

func (f *chatForm) broken(e *events) { brokenEvent(e) }
