package proxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sort"
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

// rewritesBody reports whether the body of this request is to be changed.
func (c *rewrite) rewritesBody(r *http.Request) bool {
	if c == nil || len(c.fields) == 0 || r.Header.Get("Content-Encoding") != "" {
		return false
	}
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	return kind == "application/json" || strings.HasSuffix(kind, "+json")
}

// readJSON reads a body and returns it with the fields set. A body that is not
// a JSON object, or is too large, passes as it is.
func (c *rewrite) readJSON(src io.Reader) (io.Reader, int64, error) {
	b, err := io.ReadAll(io.LimitReader(src, maxJSON+1))
	if err != nil {
		return nil, 0, err
	}
	if len(b) > maxJSON {
		return io.MultiReader(bytes.NewReader(b), src), -1, nil
	}
	for _, f := range c.fields {
		if n, ok := setField(b, f.path, f.value); ok {
			b = n
		}
	}
	return bytes.NewReader(b), int64(len(b)), nil
}

// setField sets the value at a path of JSON objects, making those that are
// absent. Everything else keeps its bytes and its order.
func setField(object []byte, path []string, value json.RawMessage) ([]byte, bool) {
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
