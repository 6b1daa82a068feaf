package proxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/haldane-project/haldane/internal/release"
)

// maxJSON bounds a request body whose fields are rewritten.
const maxJSON = 16 << 20

// rewrite is a compiled release.Rewrite.
type rewrite struct {
	prefix string
	set    []headerValue
	remove []string
	fields []jsonField
	system json.RawMessage // text; nil: none
}

type headerValue struct{ name, value string }

// jsonField is a dotted path in a JSON object and the value that it gets.
type jsonField struct {
	path  []string
	value json.RawMessage
}

func compileRewrite(r *release.Rewrite) (*rewrite, error) {
	if r == nil {
		return nil, nil
	}
	c := &rewrite{prefix: strings.TrimSuffix(r.PathPrefix, "/")}
	if c.prefix != "" && !strings.HasPrefix(c.prefix, "/") {
		return nil, fmt.Errorf("rewrite: path prefix %q: expected it to begin with a slash", r.PathPrefix)
	}
	for name, value := range r.SetHeaders {
		c.set = append(c.set, headerValue{http.CanonicalHeaderKey(name), value})
	}
	for _, name := range r.RemoveHeaders {
		c.remove = append(c.remove, http.CanonicalHeaderKey(name))
	}
	for path, value := range r.SetJSON {
		b, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("rewrite: JSON field %s: %w", path, err)
		}
		c.fields = append(c.fields, jsonField{path: strings.Split(path, "."), value: b})
	}
	if r.System != "" {
		c.system, _ = json.Marshal(r.System) // a string always marshals
	}
	sort.Slice(c.fields, func(i, j int) bool { return slices.Compare(c.fields[i].path, c.fields[j].path) < 0 })
	return c, nil
}

// apply changes a request on its way to the version; the client's header map is
// left as it is, for another try may need it.
func (c *rewrite) apply(out *http.Request) {
	if c.prefix != "" {
		u := out.URL
		if u.Opaque != "" {
			u.Opaque = c.prefix + u.Opaque
		}
		if u.RawPath != "" {
			u.RawPath = c.prefix + u.RawPath
		}
		u.Path = c.prefix + u.Path
	}
	if len(c.set)+len(c.remove) > 0 {
		out.Header = out.Header.Clone()
		for _, name := range c.remove {
			delete(out.Header, name)
		}
		for _, v := range c.set {
			if v.name == "Host" {
				out.Host = v.value
				continue
			}
			out.Header[v.name] = []string{v.value}
		}
	}
}

// edits reports whether it changes bodies.
func (c *rewrite) edits() bool { return c != nil && (len(c.fields) > 0 || c.system != nil) }

// rewritesBody reports whether the body of this request is to be changed.
func (c *rewrite) rewritesBody(r *http.Request) bool { return c.edits() && unreadable(r) == "" }

// unreadable says why the body of a request can not be rewritten by anyone.
func unreadable(r *http.Request) release.Unfit {
	if r.Header.Get("Content-Encoding") != "" {
		return release.UnfitCompressed
	}
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	if kind != "application/json" && !strings.HasSuffix(kind, "+json") {
		return release.UnfitNotJSON
	}
	return ""
}

// unfit says why it can not be applied to a request, whole.
func (c *rewrite) unfit(r *http.Request) release.Unfit {
	if why := unreadable(r); why != "" {
		return why
	}
	switch path := r.URL.Path; {
	case r.ContentLength > maxJSON:
		return release.UnfitTooLarge
	case c.system == nil, strings.HasSuffix(path, "/chat/completions"):
	case strings.HasSuffix(path, "/completions"), strings.HasSuffix(path, "/embeddings"):
		return release.UnfitNoPrompt
	}
	return ""
}

// unfit says why some version's rewrite can not be applied to a request. It does
// not ask which version was drawn, so that what is left out of the comparison is
// left out of both sides.
func (t *Table) unfit(r *http.Request) release.Unfit {
	if r.Body == nil || r.Body == http.NoBody {
		return ""
	}
	for _, c := range t.editing {
		if why := c.unfit(r); why != "" {
			return why
		}
	}
	return ""
}

// checkFit leaves a request out of the comparison that a rewrite does not fit.
func (x *exchange) checkFit() {
	if x.pick.route != release.BySplit {
		return
	}
	if x.unfit = x.table.unfit(x.r); x.unfit != "" {
		x.pick.route = release.ByOriginal
	}
}

// outgrown notes that a request turned out to be too large to be rewritten.
func (x *exchange) outgrown(o *release.Observation) {
	if o.Route == release.BySplit && len(x.table.editing) > 0 && o.In > maxJSON {
		o.Route, o.Unfit = release.ByOriginal, release.UnfitTooLarge
	}
}

// edit returns a JSON object with the prompt and the fields set; another body as
// it is.
func (c *rewrite) edit(body []byte) []byte {
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
