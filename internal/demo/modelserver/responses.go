package modelserver

import (
	"encoding/json"
	"fmt"
	"net/http"
)

type responsesRequest struct {
	params
	Input        inputItems `json:"input"`
	Instructions string     `json:"instructions"`
	MaxOutput    *int       `json:"max_output_tokens"`
	Text         struct {
		Format struct {
			Type   string  `json:"type"`
			Schema *schema `json:"schema"`
		} `json:"format"`
	} `json:"text"`
	Tools []struct {
		Type string `json:"type"`
		toolObject
	} `json:"tools"`
	ToolChoice json.RawMessage `json:"tool_choice"`
}

// inputItems is a text, or a list of messages, calls and what they gave.
type inputItems []message

func (items *inputItems) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*items = inputItems{{Role: "user", Content: content(text)}}
		return nil
	}
	var list []struct {
		message
		Type      string `json:"type"`
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
		Output    string `json:"output"`
	}
	if err := json.Unmarshal(b, &list); err != nil {
		return fmt.Errorf("input: expected a text or a list of items: %w", err)
	}
	for i, it := range list {
		switch it.Type {
		case "", "message":
			*items = append(*items, it.message)
		case "function_call":
			*items = append(*items, message{Role: "assistant", Content: content(it.Name + it.Arguments)})
		case "function_call_output":
			*items = append(*items, message{Role: "tool", Content: content(it.Output)})
		default:
			return fmt.Errorf("input[%d] has the type %q; known are message, function_call and function_call_output", i, it.Type)
		}
	}
	return nil
}

func (q responsesRequest) ask() (ask, error) {
	a, err := q.params.ask(q.MaxOutput, "max_output_tokens")
	if err != nil {
		return a, err
	}
	if a.format, err = schemaOf(q.Text.Format.Type, q.Text.Format.Schema, "text.format"); err != nil {
		return a, err
	}
	var tools []tool
	for _, t := range q.Tools {
		if t.Type != "function" {
			return a, bad("tools", "a tool has the type %q; this server knows function", t.Type)
		}
		tools = append(tools, t.tool())
	}
	if err := a.offer(tools, q.ToolChoice); err != nil {
		return a, err
	}
	if q.Instructions != "" {
		a.system = q.Instructions + "\n"
	}
	return a, a.converse(q.Input, "input")
}

func (s *Server) responses(w http.ResponseWriter, r *http.Request) {
	var q responsesRequest
	body, ok := read(w, r, &q)
	if !ok {
		return
	}
	a, err := q.ask()
	if s.accept(w, body, &a, err) {
		s.reply(w, r, a, q.Stream, &responsesForm{a: a, instructions: q.Instructions})
	}
}

// responsesForm writes responses and their events.
type responsesForm struct {
	a            ask
	instructions string
	number       int  // of the next event
	started      bool // the output item was announced
}

type obj = map[string]any

func (f *responsesForm) send(e *events, kind string, more obj) {
	more["type"], more["sequence_number"] = kind, f.number
	f.number++
	e.send(kind, more)
}

// response is the object; output and usage are absent until there is one.
func (f *responsesForm) response(status string, x *said) obj {
	r := obj{
		"id": "resp_" + f.a.id, "object": "response", "created_at": f.a.created, "status": status, "error": nil, "incomplete_details": nil,
		"instructions": nil, "metadata": obj{}, "model": f.a.name, "output": []any{}, "parallel_tool_calls": false, "temperature": f.a.sampling.Temperature,
		"tool_choice": "auto", "tools": []any{}, "top_p": f.a.sampling.TopP, "usage": nil,
	}
	if f.instructions != "" {
		r["instructions"] = f.instructions
	}
	if x == nil {
		return r
	}
	if x.finish == "length" {
		r["incomplete_details"] = obj{"reason": "max_output_tokens"}
	}
	r["output"] = []any{f.item(*x, itemStatus(*x))}
	r["usage"] = obj{
		"input_tokens": x.input, "input_tokens_details": cachedTokens{}, "output_tokens": x.output, "output_tokens_details": thoughtTokens{},
		"total_tokens": x.input + x.output,
	}
	return r
}

func itemStatus(x said) string {
	if x.finish == "length" {
		return "incomplete"
	}
	return "completed"
}

// item is the one output item, a message or a call.
func (f *responsesForm) item(x said, status string) obj {
	if x.kind == "call" {
		return obj{"id": f.itemID(x), "type": "function_call", "status": status, "call_id": "call_" + f.a.id, "name": x.tool, "arguments": x.text()}
	}
	return obj{"id": f.itemID(x), "type": "message", "status": status, "role": "assistant", "content": []any{part(x, x.text())}}
}

func (f *responsesForm) itemID(x said) string {
	if x.kind == "call" {
		return "fc_" + f.a.id
	}
	return "msg_" + f.a.id
}

func part(x said, text string) obj {
	if x.kind == "refusal" {
		return obj{"type": "refusal", "refusal": text}
	}
	return obj{"type": "output_text", "text": text, "annotations": []any{}, "logprobs": []any{}}
}

func (f *responsesForm) whole(x said) any { return f.response(itemStatus(x), &x) }

func (f *responsesForm) open(e *events) {
	f.send(e, "response.created", obj{"response": f.response("in_progress", nil)})
	f.send(e, "response.in_progress", obj{"response": f.response("in_progress", nil)})
}

// begin announces the item and, of a message, its one part.
func (f *responsesForm) begin(e *events, x said) {
	if f.started {
		return
	}
	f.started = true
	blank := x
	blank.pieces = nil
	item := f.item(blank, "in_progress")
	if x.kind != "call" {
		item["content"] = []any{}
	}
	f.send(e, "response.output_item.added", obj{"output_index": 0, "item": item})
	if x.kind != "call" {
		f.send(e, "response.content_part.added", f.place(x, obj{"part": part(x, "")}))
	}
}

// place says which item, and of a message which part, an event is about.
func (f *responsesForm) place(x said, more obj) obj {
	more["item_id"], more["output_index"] = f.itemID(x), 0
	if x.kind != "call" {
		more["content_index"] = 0
	}
	return more
}

// stem is how the names of the events of a kind of answer begin.
func stem(x said) string {
	switch x.kind {
	case "call":
		return "response.function_call_arguments"
	case "refusal":
		return "response.refusal"
	}
	return "response.output_text"
}

func (f *responsesForm) piece(e *events, x said, text string) {
	f.begin(e, x)
	delta := obj{"delta": text}
	if x.kind == "text" {
		delta["logprobs"] = []any{}
	}
	f.send(e, stem(x)+".delta", f.place(x, delta))
}

func (f *responsesForm) close(e *events, x said) {
	f.begin(e, x)
	text := x.text()
	switch x.kind {
	case "call":
		f.send(e, stem(x)+".done", f.place(x, obj{"arguments": text, "name": x.tool}))
	case "refusal":
		f.send(e, stem(x)+".done", f.place(x, obj{"refusal": text}))
	default:
		f.send(e, stem(x)+".done", f.place(x, obj{"text": text, "logprobs": []any{}}))
	}
	if x.kind != "call" {
		f.send(e, "response.content_part.done", f.place(x, obj{"part": part(x, text)}))
	}
	status := itemStatus(x)
	f.send(e, "response.output_item.done", obj{"output_index": 0, "item": f.item(x, status)})
	f.send(e, "response."+status, obj{"response": f.response(status, &x)})
}

func (f *responsesForm) broken(e *events) {
	r := f.response("failed", nil)
	r["error"] = obj{"code": "server_error", "message": "the engine failed while it answered"}
	f.send(e, "response.failed", obj{"response": r})
}
