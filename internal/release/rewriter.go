package release

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
)

// Rewriter is a compiled Rewrite: what changes a request, be it a user's or one of
// a warm-up, on its way to a version.
type Rewriter struct {
	Prefix string // of the path
	Set    []Header
	Remove []string

	fields []jsonField
	system json.RawMessage // text; nil: none
}

// Header is a header, by its canonical name, and its value.
type Header struct{ Name, Value string }

// jsonField is a dotted path in a JSON object and the value that it gets.
type jsonField struct {
	path  []string
	value json.RawMessage
}

// NewRewriter compiles a rewrite.
func NewRewriter(r *Rewrite) (*Rewriter, error) {
	c := &Rewriter{Prefix: strings.TrimSuffix(r.PathPrefix, "/")}
	if c.Prefix != "" && !strings.HasPrefix(c.Prefix, "/") {
		return nil, fmt.Errorf("rewrite: path prefix %q: expected it to begin with a slash", r.PathPrefix)
	}
	for _, name := range slices.Sorted(maps.Keys(r.SetHeaders)) {
		c.Set = append(c.Set, Header{textproto.CanonicalMIMEHeaderKey(name), r.SetHeaders[name]})
	}
	for _, name := range r.RemoveHeaders {
		c.Remove = append(c.Remove, textproto.CanonicalMIMEHeaderKey(name))
	}
	for _, path := range slices.Sorted(maps.Keys(r.SetJSON)) {
		b, err := json.Marshal(r.SetJSON[path])
		if err != nil {
			return nil, fmt.Errorf("rewrite: JSON field %s: %w", path, err)
		}
		c.fields = append(c.fields, jsonField{path: strings.Split(path, "."), value: b})
	}
	if r.System != "" {
		c.system, _ = json.Marshal(r.System) // a string always marshals
	}
	slices.SortFunc(c.fields, func(a, b jsonField) int { return slices.Compare(a.path, b.path) })
	return c, nil
}

// EditsBody reports whether Edit changes anything.
func (c *Rewriter) EditsBody() bool { return len(c.fields) > 0 || c.system != nil }

// SetsSystem reports whether a chat gets a prompt.
func (c *Rewriter) SetsSystem() bool { return c.system != nil }

// Edit returns a JSON object with the prompt and the fields set; another body as
// it is.
func (c *Rewriter) Edit(body []byte) []byte {
	if c.system != nil {
		body = setSystem(body, c.system)
	}
	for _, f := range c.fields {
		if n, ok := setField(body, f.path, f.value); ok {
			body = n
		}
	}
	return body
}

// setField sets the value at a path of JSON objects, making those that are
// absent. In an array a number names an element, the number after the last one
// a new one. Everything else keeps its bytes and its order.
func setField(object []byte, path []string, value json.RawMessage) ([]byte, bool) {
	if b := bytes.TrimLeft(object, " \t\r\n"); len(b) > 0 && b[0] == '[' {
		return setElement(b, path, value)
	}
	d := json.NewDecoder(bytes.NewReader(object))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	var out bytes.Buffer
	out.WriteByte('{')
	found := false
	member := func(name string, v []byte) {
		if out.Len() > 1 {
			out.WriteByte(',')
		}
		n, _ := json.Marshal(name) // a string always marshals
		out.Write(n)
		out.WriteByte(':')
		out.Write(v)
	}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		var v json.RawMessage
		if err != nil || !ok || d.Decode(&v) != nil {
			return nil, false
		}
		if name == path[0] {
			found, v = true, replaced(v, path[1:], value)
		}
		member(name, v)
	}
	if t, err := d.Token(); err != nil || t != json.Delim('}') {
		return nil, false
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, false
	}
	if !found {
		member(path[0], replaced(json.RawMessage("{}"), path[1:], value))
	}
	out.WriteByte('}')
	return out.Bytes(), true
}

// replaced is what a member becomes: the value, or itself with a deeper field set.
func replaced(old json.RawMessage, path []string, value json.RawMessage) json.RawMessage {
	if len(path) == 0 {
		return value
	}
	if n, ok := setField(old, path, value); ok {
		return n
	}
	n, _ := setField([]byte("{}"), path, value)
	return n
}

func setElement(array []byte, path []string, value json.RawMessage) ([]byte, bool) {
	at, err := strconv.Atoi(path[0])
	var elements []json.RawMessage
	if err != nil || at < 0 || json.Unmarshal(array, &elements) != nil || at > len(elements) {
		return nil, false
	}
	if at == len(elements) {
		elements = append(elements, json.RawMessage("{}"))
	}
	elements[at] = replaced(elements[at], path[1:], value)
	return joinArray(elements), true
}

func joinArray(elements []json.RawMessage) []byte {
	out := []byte{'['}
	for i, e := range elements {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, e...)
	}
	return append(out, ']')
}

// setSystem makes text the system prompt of a chat: in place of the first
// message where that is one (role system or developer), else before it. A request
// of the responses API gets it as its instructions. Other bodies stay.
func setSystem(body []byte, text json.RawMessage) []byte {
	var chat struct {
		Messages []json.RawMessage `json:"messages"`
		Input    json.RawMessage   `json:"input"`
	}
	if json.Unmarshal(body, &chat) != nil {
		return body
	}
	path, value := []string{"instructions"}, text
	switch {
	case chat.Messages != nil:
		var first struct {
			Role string `json:"role"`
		}
		if len(chat.Messages) > 0 && json.Unmarshal(chat.Messages[0], &first) == nil && (first.Role == "system" || first.Role == "developer") {
			chat.Messages[0] = replaced(chat.Messages[0], []string{"content"}, text)
		} else {
			chat.Messages = append([]json.RawMessage{[]byte(`{"role":"system","content":` + string(text) + `}`)}, chat.Messages...)
		}
		path, value = []string{"messages"}, joinArray(chat.Messages)
	case chat.Input == nil:
		return body
	}
	out, ok := setField(body, path, value)
	if !ok {
		return body
	}
	return out
}
