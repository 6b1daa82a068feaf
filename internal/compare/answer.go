package compare

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/haldane-project/haldane/internal/release"
)

// answer is one answer as far as it is understood.
type answer struct {
	body    []byte
	isJSON  bool
	value   any // of JSON; numbers are json.Number
	hasText bool
	text    string // prose: a model's words, or text/plain
	class   string // predicted; empty: none found
}

// maxUnpacked bounds a compressed answer.
const maxUnpacked = 4 * release.MaxCaptured

// read understands an answer; why says that it can not be compared.
func read(l *release.Leg) (a *answer, why string) {
	a = &answer{body: l.Body}
	switch strings.ToLower(l.Encoding) {
	case "", "identity":
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(bytes.NewReader(l.Body))
		if err == nil {
			a.body, err = io.ReadAll(io.LimitReader(z, maxUnpacked+1))
		}
		if err != nil || len(a.body) > maxUnpacked {
			return nil, "it is badly compressed or too long"
		}
	default:
		return nil, fmt.Sprintf("its encoding %.20q is not read", l.Encoding)
	}
	kind, _, _ := mime.ParseMediaType(l.Type) // a bad one is none
	switch {
	case kind == "text/event-stream":
		a.events()
	case kind == "application/json" || strings.HasSuffix(kind, "+json") || kind == "":
		a.json()
	case strings.HasPrefix(kind, "text/") && utf8.Valid(a.body):
		a.hasText, a.text = kind == "text/plain", string(a.body)
	}
	return a, ""
}

func decode(b []byte) (v any, ok bool) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return nil, false
	}
	_, err := d.Token()
	return v, err == io.EOF
}

func (a *answer) json() {
	if a.value, a.isJSON = decode(a.body); !a.isJSON {
		return
	}
	var words strings.Builder
	a.hasText = say(&words, a.value)
	a.text = words.String()
	if !a.hasText {
		a.class = classOf(a.value)
	}
}

// events joins the words of a stream of a model's answer; the text of other
// streams is their data.
func (a *answer) events() {
	var words, data strings.Builder
	for line := range strings.Lines(string(a.body)) {
		value, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "data:")
		if !ok {
			continue
		}
		value = strings.TrimPrefix(value, " ")
		if v, ok := decode([]byte(value)); ok {
			if say(&words, v) {
				a.hasText = true
			}
		}
		data.WriteString(value)
		data.WriteByte('\n')
	}
	a.text = words.String()
	if !a.hasText {
		a.hasText, a.text = true, data.String()
	}
}

// say appends the words of an OpenAI-compatible answer, or of a chunk of one.
func say(words *strings.Builder, v any) bool {
	o, _ := v.(map[string]any)
	if o == nil {
		return false
	}
	if kind := text(o["type"]); strings.HasPrefix(kind, "response.") {
		return sayEvent(words, kind, o)
	}
	choices, isChat := o["choices"].([]any)
	for _, x := range choices {
		c, _ := x.(map[string]any)
		for _, part := range []any{c["message"], c["delta"]} {
			m, _ := part.(map[string]any)
			words.WriteString(text(m["content"]))
			words.WriteString(text(m["refusal"]))
			if calls, ok := m["tool_calls"]; ok && calls != nil {
				sayCalls(words, calls)
			}
		}
		words.WriteString(text(c["text"]))
	}
	output, isResponse := o["output"].([]any)
	isResponse = isResponse && text(o["object"]) == "response"
	for _, x := range output {
		if item, _ := x.(map[string]any); isResponse {
			sayItem(words, item)
		}
	}
	return isChat || isResponse
}

// sayEvent appends what an event of the responses API says to the user.
func sayEvent(words *strings.Builder, kind string, o map[string]any) bool {
	switch {
	case kind == "response.output_item.added":
		item, _ := o["item"].(map[string]any)
		if text(item["type"]) == "function_call" {
			words.WriteString(text(item["name"]))
		}
	case strings.HasPrefix(kind, "response.output_text"), strings.HasPrefix(kind, "response.refusal"), strings.HasPrefix(kind, "response.function_call_arguments"):
		words.WriteString(text(o["delta"]))
	}
	return true
}

// sayItem appends an output item of the responses API: a call, or the parts of a
// message; what a model thinks is no answer.
func sayItem(words *strings.Builder, item map[string]any) {
	switch text(item["type"]) {
	case "function_call":
		words.WriteString(text(item["name"]))
		words.WriteString(text(item["arguments"]))
		return
	case "reasoning":
		return
	}
	content, _ := item["content"].([]any)
	for _, p := range content {
		m, _ := p.(map[string]any)
		if !strings.HasPrefix(text(m["type"]), "reasoning") {
			words.WriteString(text(m["text"]))
			words.WriteString(text(m["refusal"]))
		}
	}
}

// sayCalls appends the names and arguments of tool calls.
func sayCalls(words *strings.Builder, calls any) {
	list, _ := calls.([]any)
	for _, x := range list {
		c, _ := x.(map[string]any)
		f, _ := c["function"].(map[string]any)
		words.WriteString(text(f["name"]))
		words.WriteString(text(f["arguments"]))
	}
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// classOf finds the prediction in an answer of the Open Inference Protocol (the
// first output: a single value, or the index of its largest) or a member named
// class, label or prediction.
func classOf(v any) string {
	o, _ := v.(map[string]any)
	outputs, _ := o["outputs"].([]any)
	if len(outputs) == 0 {
		for _, name := range []string{"class", "label", "prediction"} {
			switch x := o[name].(type) {
			case string:
				return x
			case json.Number:
				return x.String()
			}
		}
		return ""
	}
	first, _ := outputs[0].(map[string]any)
	data, _ := first["data"].([]any)
	switch {
	case len(data) == 0:
		return ""
	case strings.HasPrefix(text(first["datatype"]), "FP"):
		return largest(first["shape"], data)
	}
	return join(data)
}

// largest gives the index of the largest value of each row.
func largest(shape any, data []any) string {
	width := len(data)
	if s, _ := shape.([]any); len(s) > 0 {
		if n, err := strconv.Atoi(fmt.Sprint(s[len(s)-1])); err == nil && n > 0 && n <= len(data) {
			width = n
		}
	}
	if width == 1 {
		return ""
	}
	var out []any
	for row := 0; row+width <= len(data); row += width {
		best, at := 0.0, -1
		for i, x := range data[row : row+width] {
			n, _ := x.(json.Number)
			if f, err := n.Float64(); err == nil && (at < 0 || f > best) {
				best, at = f, i
			}
		}
		out = append(out, at)
	}
	return join(out)
}

func join(list []any) string {
	var out []string
	for _, x := range list {
		out = append(out, fmt.Sprint(x))
	}
	return strings.Join(out, " ")
}

// Words are what an answer says: a model's words, or the body where it is a
// text. Empty: neither.
func Words(l *release.Leg) string {
	a, why := read(l)
	switch {
	case why != "":
		return ""
	case a.hasText:
		return a.text
	case utf8.Valid(a.body):
		return string(a.body)
	}
	return ""
}
