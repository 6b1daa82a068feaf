package inference

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/haldane-project/haldane/internal/release"
)

// format is what a request says about the form of its answer.
type format struct {
	object bool   // a JSON object
	schema string // a JSON schema; empty: none
}

// readFormat reads response_format of chat completions and text.format of the
// responses API.
func readFormat(raw []byte) format {
	var f struct {
		Type       string          `json:"type"`
		Schema     json.RawMessage `json:"schema"` // responses
		JSONSchema struct {
			Schema json.RawMessage `json:"schema"`
		} `json:"json_schema"` // chat completions
	}
	if json.Unmarshal(raw, &f) != nil {
		return format{} // the server's to refuse
	}
	switch f.Type {
	case "json_object":
		return format{object: true}
	case "json_schema":
		if f.JSONSchema.Schema != nil {
			f.Schema = f.JSONSchema.Schema
		}
		return format{object: f.Schema == nil, schema: string(f.Schema)}
	}
	return format{}
}

// readTools maps the functions that a request offers to the schemas of their
// parameters, nil where a function has none.
func readTools(raw []byte) map[string]json.RawMessage {
	type function struct {
		Name       string          `json:"name"`
		Parameters json.RawMessage `json:"parameters"`
	}
	var tools []struct {
		Type     string   `json:"type"`
		Function function `json:"function"` // chat completions
		function          // responses
	}
	if json.Unmarshal(raw, &tools) != nil {
		return nil // the server's to refuse
	}
	out := make(map[string]json.RawMessage, len(tools))
	for _, t := range tools {
		f := t.Function
		if f.Name == "" {
			f = t.function
		}
		out[f.Name] = f.Parameters
	}
	return out
}

// schemas keeps compiled schemas, for the same few come with every request.
type schemas struct {
	mu    sync.Mutex
	known map[string]*compiled
}

const maxSchemas = 128

// compiled is a schema, and what it costs to apply.
type compiled struct {
	doc    any
	schema *jsonschema.Schema
	err    error
	mu     sync.Mutex
	cheap  map[int]bool // by the nesting of what is checked
}

func (s *schemas) of(raw []byte) *compiled {
	s.mu.Lock()
	c := s.known[string(raw)]
	s.mu.Unlock()
	if c != nil {
		return c
	}
	c = compileSchema(raw)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil || len(s.known) >= maxSchemas {
		s.known = map[string]*compiled{} // rare: begin anew rather than keep a ranking
	}
	s.known[string(raw)] = c
	return c
}

// nothing loads no schema: a request must not make the proxy read files or ask
// other hosts.
type nothing struct{}

func (nothing) Load(url string) (any, error) {
	return nil, fmt.Errorf("%s is not part of the schema", url)
}

func compileSchema(raw []byte) *compiled {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return &compiled{err: err}
	}
	const here = "http://request.invalid/schema" // a name; nothing is loaded
	k := jsonschema.NewCompiler()
	k.UseLoader(nothing{})
	if err := k.AddResource(here, doc); err != nil {
		return &compiled{err: err}
	}
	sch, err := k.Compile(here)
	return &compiled{doc: doc, schema: sch, err: err, cheap: map[int]bool{}}
}

var errCostly = errors.New("the schema is too costly to check")

// check reports what is wrong with a JSON text; unchecked says that it could
// not be told.
func (s *schemas) check(raw, text []byte) (problem, unchecked error) {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return errors.New("is not JSON"), nil
	}
	c := s.of(raw)
	if c.err != nil {
		return nil, c.err
	}
	if !c.affordable(nesting(v)) {
		return nil, errCostly
	}
	return c.schema.Validate(v), nil
}

// affordable reports whether a value of the given nesting can be checked with a
// bounded number of steps. References let a small schema branch without end.
func (c *compiled) affordable(depth int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	ok, known := c.cheap[depth]
	if !known {
		budget := 20_000
		walk{c.doc, &budget}.visit(c.doc, depth)
		ok = budget > 0
		c.cheap[depth] = ok
	}
	return ok
}

// walk counts the schemas that may have to be applied to one place of a value.
type walk struct {
	doc    any
	budget *int
}

func (w walk) visit(schema any, depth int) {
	if *w.budget--; *w.budget <= 0 || depth < 0 {
		return
	}
	switch s := schema.(type) {
	case []any:
		for _, x := range s {
			w.visit(x, depth)
		}
	case map[string]any:
		for name, x := range s { // the order changes nothing but where the count stops
			w.keyword(name, x, depth)
		}
	}
}

func (w walk) keyword(name string, x any, depth int) {
	switch name {
	case "$defs", "definitions", "enum", "const", "default", "examples", "required":
	case "$ref":
		w.follow(x, depth)
	case "$dynamicRef", "$recursiveRef":
		*w.budget = 0 // where they lead is not known before
	case "$id", "id":
		if root, _ := w.doc.(map[string]any); root[name] != x {
			*w.budget = 0 // pointers below it begin elsewhere
		}
	case "properties", "patternProperties", "dependentSchemas", "dependencies":
		inner, _ := x.(map[string]any)
		for _, y := range inner {
			if strings.HasPrefix(name, "dependen") {
				w.visit(y, depth)
			} else {
				w.visit(y, depth-1)
			}
		}
	case "additionalProperties", "items", "prefixItems", "contains", "propertyNames",
		"unevaluatedProperties", "unevaluatedItems", "additionalItems":
		w.visit(x, depth-1)
	default:
		w.visit(x, depth)
	}
}

// follow visits what a reference points at; one that is not a plain pointer into
// the schema is taken for costly.
func (w walk) follow(ref any, depth int) {
	text, _ := ref.(string)
	at := w.doc
	if text != "#" {
		pointer, ok := strings.CutPrefix(text, "#/")
		if !ok || strings.Contains(pointer, "%") {
			*w.budget = 0
			return
		}
		for part := range strings.SplitSeq(pointer, "/") {
			object, ok := at.(map[string]any)
			if !ok {
				*w.budget = 0
				return
			}
			at = object[strings.NewReplacer("~1", "/", "~0", "~").Replace(part)]
		}
	}
	w.visit(at, depth)
}

// nesting is how deep objects and arrays lie in each other.
func nesting(v any) int {
	deepest := 0
	switch v := v.(type) {
	case map[string]any:
		for _, x := range v {
			deepest = max(deepest, nesting(x)+1)
		}
	case []any:
		for _, x := range v {
			deepest = max(deepest, nesting(x)+1)
		}
	}
	return deepest
}

// checkFormat says whether the answer has the form that its request asked for.
func (r *Reply) checkFormat() {
	a := r.facts
	switch {
	case r.asked.unread:
		a.FormatProblem = "the request's formats are too large to be kept"
	case r.asked.choices > 1:
		if r.asked.format != nil || r.asked.tools != nil {
			a.FormatProblem = "the request asked for more than one answer"
		}
	case len(r.calls) > 0:
		r.checkCalls()
	case r.wanted != (format{}):
		r.checkText()
	}
	if len(a.FormatProblem) > maxProblem {
		a.FormatProblem = a.FormatProblem[:maxProblem]
	}
}

// maxProblem bounds what is kept of a problem.
const maxProblem = 200

func (r *Reply) judgeFormat(what string, problem, unchecked error) bool {
	switch {
	case problem != nil:
		r.facts.Format, r.facts.FormatProblem = release.FormatInvalid, what+": "+firstProblem(problem)
		return false
	case unchecked != nil:
		r.facts.Format, r.facts.FormatProblem = release.FormatUnchecked, what+": "+unchecked.Error()
		return false
	}
	r.facts.Format = release.FormatValid
	return true
}

// firstProblem tells the place and keyword of a violation, not the value: it is
// the user's text.
func firstProblem(err error) string {
	var v *jsonschema.ValidationError
	if !errors.As(err, &v) {
		return err.Error()
	}
	for len(v.Causes) > 0 {
		v = v.Causes[0]
	}
	return "/" + strings.Join(v.InstanceLocation, "/") + " violates " + strings.Join(v.ErrorKind.KeywordPath(), "/")
}

var errTooLong = errors.New("is too long to be kept")

// checkText holds the text against response_format. A text of JSON is read along
// however long it is; a schema needs it whole, within maxKept. A refusal, and an
// answer that was cut at the limit of tokens, is none that could have the form:
// the first is unchecked, the second invalid.
func (r *Reply) checkText() {
	const what = "the text"
	if r.facts.Refusal {
		r.facts.FormatProblem = "the model refused"
		return
	}
	whole := r.nested.end()
	switch {
	case !whole:
		r.judgeFormat(what, errors.New("is not JSON"), nil)
	case r.wanted.schema == "":
		var problem error
		if !r.outline.object {
			problem = errors.New("is not a JSON object")
		}
		r.judgeFormat(what, problem, nil)
	case r.overlong:
		r.judgeFormat(what, nil, errTooLong)
	default:
		problem, unchecked := r.i.schemas.check([]byte(r.wanted.schema), r.kept)
		r.judgeFormat(what, problem, unchecked)
	}
}

// checkCalls holds the arguments of each tool call against the tool's schema.
func (r *Reply) checkCalls() {
	if r.asked.tools == nil || r.overlong {
		if r.overlong {
			r.facts.FormatProblem = "the tool calls: " + errTooLong.Error()
		}
		return
	}
	tools := readTools(r.asked.tools)
	for _, c := range r.calls {
		schema, known := tools[c.name]
		what := "the call of a tool"
		switch {
		case !known:
			r.judgeFormat(what, errors.New("names none of the request's tools"), nil)
			return
		case schema == nil:
			schema = json.RawMessage("true")
		}
		if len(bytes.TrimSpace(c.arguments)) == 0 {
			c.arguments = []byte("{}") // servers leave out an empty object
		}
		problem, unchecked := r.i.schemas.check(schema, c.arguments)
		if !r.judgeFormat(what, problem, unchecked) {
			return
		}
	}
}
