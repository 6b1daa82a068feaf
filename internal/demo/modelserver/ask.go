package modelserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/haldane-project/haldane/internal/demo/ngram"
)

// ask is what every endpoint makes of a request.
type ask struct {
	id        string // of the answer
	created   int64
	model     *ngram.Model
	name      string // of the model, as asked for
	prompt    string // all that was sent, for counting
	system    string // instructions
	user      string // the last message
	continues bool   // the answer goes on from the prompt
	most      int    // tokens of the answer
	sampling  ngram.Sampling
	seed      *int64
	stop      []string
	format    *schema // nil: text
	tools     []tool
	choice    string // none, auto, required or a tool's name
}

type tool struct {
	name, description string
	parameters        *schema
}

// defaultMost is the number of tokens where a request has no limit.
const defaultMost = 512

// params are the fields that the endpoints share.
type params struct {
	Model       string   `json:"model"`
	Temperature *float64 `json:"temperature"`
	TopP        *float64 `json:"top_p"`
	Seed        *int64   `json:"seed"`
	N           *int     `json:"n"`
	Stop        texts    `json:"stop"`
	Stream      bool     `json:"stream"`
}

// texts is a text or a list of them.
type texts []string

func (t *texts) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*t = nil
		if string(b) != "null" {
			*t = texts{one}
		}
		return nil
	}
	var many []string
	if err := json.Unmarshal(b, &many); err != nil {
		return fmt.Errorf("expected a text or a list of texts: %w", err)
	}
	*t = many
	return nil
}

// badParam is a request that is refused, with the field that is at fault.
type badParam struct{ param, message string }

func (e *badParam) Error() string { return e.message }

func bad(param, format string, args ...any) error {
	return &badParam{param, fmt.Sprintf(format, args...)}
}

// ask checks the shared fields. most is the request's limit, which may be nil.
func (p params) ask(most *int, limit string) (ask, error) {
	a := ask{name: p.Model, seed: p.Seed, stop: p.Stop, most: defaultMost, choice: "none", sampling: ngram.Sampling{Temperature: 1, TopP: 1}}
	if p.Temperature != nil {
		a.sampling.Temperature = *p.Temperature
	}
	if p.TopP != nil {
		a.sampling.TopP = *p.TopP
	}
	if most != nil {
		a.most = *most
	}
	switch {
	case p.N != nil && *p.N != 1:
		return a, bad("n", "n is %d, expected 1: this server gives one choice", *p.N)
	case a.sampling.Temperature < 0 || a.sampling.Temperature > 2:
		return a, bad("temperature", "the temperature is %g, expected 0 to 2", a.sampling.Temperature)
	case a.sampling.TopP <= 0 || a.sampling.TopP > 1:
		return a, bad("top_p", "top_p is %g, expected more than 0 and at most 1", a.sampling.TopP)
	case a.most < 1:
		return a, bad(limit, "%s is %d, expected at least 1", limit, a.most)
	case len(p.Stop) > 4:
		return a, bad("stop", "%d stop texts were given, expected at most 4", len(p.Stop))
	}
	return a, nil
}

// message is one of a conversation.
type message struct {
	Role      string  `json:"role"`
	Content   content `json:"content"`
	ToolCalls []struct {
		Function struct {
			Name      string `json:"name"`
			Arguments string `json:"arguments"`
		} `json:"function"`
	} `json:"tool_calls"`
}

// content is a text, a list of parts or null. Only parts of text are read.
type content string

func (c *content) UnmarshalJSON(b []byte) error {
	var text *string
	if json.Unmarshal(b, &text) == nil {
		if text != nil {
			*c = content(*text)
		}
		return nil
	}
	var parts []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	if err := json.Unmarshal(b, &parts); err != nil {
		return fmt.Errorf("content: expected a text or a list of parts: %w", err)
	}
	var sb strings.Builder
	for _, p := range parts {
		if p.Type != "text" && p.Type != "input_text" && p.Type != "output_text" {
			return fmt.Errorf("content: a part has the type %q; this model reads text only", p.Type)
		}
		sb.WriteString(p.Text)
	}
	*c = content(sb.String())
	return nil
}

// converse reads a conversation into the question.
func (a *ask) converse(messages []message, field string) error {
	if len(messages) == 0 {
		return bad(field, "%s is empty, expected at least one message", field)
	}
	var prompt, system strings.Builder
	prompt.WriteString(a.system)
	for i, m := range messages {
		switch m.Role {
		case "system", "developer":
			system.WriteString(string(m.Content) + "\n")
		case "user", "assistant", "tool":
		default:
			return bad(field, "%s[%d].role is %q, expected system, developer, user, assistant or tool", field, i, m.Role)
		}
		prompt.WriteString(string(m.Content))
		for _, c := range m.ToolCalls {
			prompt.WriteString(c.Function.Name + c.Function.Arguments)
		}
		a.user = string(m.Content)
	}
	a.prompt = prompt.String()
	a.system += system.String()
	if messages[len(messages)-1].Role == "tool" && a.choice == "auto" {
		a.choice = "none" // the tool has answered
	}
	return nil
}

// offer reads the tools and which of them is wanted: a word, or an object that
// names one.
func (a *ask) offer(tools []tool, choice json.RawMessage) error {
	a.tools = tools
	if len(tools) > 0 {
		a.choice = "auto"
	}
	if len(choice) == 0 || string(choice) == "null" {
		return nil
	}
	var word string
	var named struct {
		Name     string                `json:"name"`
		Function struct{ Name string } `json:"function"`
	}
	if json.Unmarshal(choice, &word) != nil {
		if err := json.Unmarshal(choice, &named); err != nil {
			return bad("tool_choice", "tool_choice: expected none, auto, required or an object with a name: %v", err)
		}
		word = named.Name + named.Function.Name
	}
	a.choice = word
	if word == "none" || word == "auto" {
		return nil
	}
	if len(tools) == 0 {
		return bad("tool_choice", "tool_choice is %q and there are no tools", word)
	}
	for _, t := range tools {
		if word == "required" || t.name == word {
			return nil
		}
	}
	return bad("tool_choice", "tool_choice is %q, which is no tool of this request", word)
}

// accept finishes the question with what only the server knows; it has answered
// where it returns false.
func (s *Server) accept(w http.ResponseWriter, body []byte, a *ask, err error) bool {
	if err != nil {
		param := ""
		if b, ok := err.(*badParam); ok { //nolint:errorlint // made by this package, never wrapped
			param = b.param
		}
		fail(w, http.StatusBadRequest, "invalid_request_error", param, "%v", err)
		return false
	}
	if a.model = s.model(w, a.name); a.model == nil {
		return false
	}
	a.id, a.created = s.identity(body, a.seed != nil), s.set.Now().Unix()
	return true
}
