package manifest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/haldane-project/haldane/api/v1alpha1"
)

var (
	durationType = reflect.TypeFor[metav1.Duration]()
	timeType     = reflect.TypeFor[metav1.Time]()
	fieldsType   = reflect.TypeFor[metav1.FieldsV1]()
	percentType  = reflect.TypeFor[v1alpha1.Percent]()
	jsonType     = reflect.TypeFor[v1alpha1.JSONValue]()
)

// walk compares the document with the types of the API and returns the JSON of
// what fits. What does not fit is reported and left out, so that the rules can
// still be applied to the rest.
func (d *document) walk() []byte {
	d.mark("", d.root, d.root)
	v, _ := d.value(d.root, reflect.TypeFor[v1alpha1.Release](), "", 0)
	raw, err := json.Marshal(v)
	if err != nil {
		d.add("", "cannot be written as JSON: "+err.Error(), "")
	}
	return raw
}

// refuse reports a field that is then left out.
func (d *document) refuse(path, message, hint string) (any, bool) {
	d.suspect[path] = true
	d.add(path, message, hint)
	return nil, false
}

// value returns the JSON value of a node; ok is false where it does not fit.
func (d *document) value(n *yaml.Node, t reflect.Type, path string, depth int) (v any, ok bool) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	anything := t == jsonType || t.Kind() == reflect.Interface
	switch {
	case d.exhausted(path, depth):
		return nil, false
	case !strings.HasPrefix(n.Tag, "!!") || slices.Contains([]string{"!!binary", "!!set", "!!omap"}, n.Tag):
		return d.refuse(path, "the tag "+n.Tag+" is not taken", "remove it")
	case isNull(n) && (anything || nullable(path)):
		return nil, anything
	case isNull(n):
		return d.refuse(path, "has no value; expected "+wanted(t), "give it one or remove the key")
	case anything || t == fieldsType:
		return d.free(n, path, depth)
	}
	return d.typed(n, t, path, depth)
}

// nullable fields are written as null by servers.
func nullable(path string) bool {
	return strings.HasPrefix(path, "metadata") || strings.HasPrefix(path, "status")
}

// typed converts a node that has a value to a type that is not free.
func (d *document) typed(n *yaml.Node, t reflect.Type, path string, depth int) (any, bool) {
	switch {
	case t == durationType, t == timeType, t == percentType, t.Kind() == reflect.String, t.Kind() == reflect.Bool, isInt(t):
		return d.scalar(n, t, path)
	case t.Kind() == reflect.Struct:
		return d.object(n, t, path, depth)
	case t.Kind() == reflect.Map:
		return d.dict(n, t, path, depth)
	case t.Kind() == reflect.Slice:
		return d.list(n, t, path, depth)
	}
	return d.refuse(path, "is of a kind that manifests do not have: "+t.String(), "")
}

// exhausted counts a value and ends the reading when a limit is passed; that
// is reported once.
func (d *document) exhausted(path string, depth int) bool {
	if d.nodes++; d.nodes <= maxNodes && depth <= maxDepth && len(d.problems) <= maxRefused {
		return false
	}
	if !d.ended {
		d.ended = true
		d.suspect[""] = true // what was not read is not missing
		d.add(path, d.excess(depth), "")
	}
	return true
}

// excess says which limit ends the reading.
func (d *document) excess(depth int) string {
	switch {
	case depth > maxDepth:
		return fmt.Sprintf("more than %d levels of nesting (aliases followed)", maxDepth)
	case d.nodes > maxNodes:
		return fmt.Sprintf("more than %d values (aliases followed)", maxNodes)
	}
	return fmt.Sprintf("more than %d problems; what follows was not read", maxRefused)
}

func (d *document) list(n *yaml.Node, t reflect.Type, path string, depth int) (any, bool) {
	if n.Kind != yaml.SequenceNode {
		return d.refuse(path, "is "+describe(n)+"; expected a list", "begin each item with a dash, or write [a, b]")
	}
	out := make([]any, 0, len(n.Content))
	for i, item := range n.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		d.values[at] = place{item.Line, item.Column}
		v, ok := d.value(item, t.Elem(), at, depth+1)
		if !ok { // the place is kept, so that the paths of later items stay true
			v = reflect.Zero(t.Elem()).Interface()
		}
		out = append(out, v)
	}
	return out, true
}

func (d *document) dict(n *yaml.Node, t reflect.Type, path string, depth int) (any, bool) {
	if n.Kind != yaml.MappingNode {
		return d.refuse(path, "is "+describe(n)+"; expected a mapping of names to "+wanted(t.Elem()), "")
	}
	out := map[string]any{}
	for _, e := range d.entries(n, path, depth) {
		at := path + "[" + e.name + "]"
		d.mark(at, e.key, e.value)
		if v, ok := d.value(e.value, t.Elem(), at, depth+1); ok {
			out[e.name] = v
		}
	}
	return out, true
}

func (d *document) object(n *yaml.Node, t reflect.Type, path string, depth int) (any, bool) {
	if n.Kind != yaml.MappingNode {
		return d.refuse(path, "is "+describe(n)+"; expected a mapping with "+strings.Join(fieldNames(t), ", "), "")
	}
	fields := fieldsOf(t)
	out := map[string]any{}
	for _, e := range d.entries(n, path, depth) {
		at := join(path, e.name)
		d.mark(at, e.key, e.value)
		ft, known := fields[e.name]
		if !known {
			if len(d.problems) <= maxRefused {
				d.unknown(e.name, at, path, t)
			}
			continue
		}
		if v, ok := d.value(e.value, ft, at, depth+1); ok {
			out[e.name] = v
		}
	}
	d.needShare(t, out, path)
	return out, true
}

// needShare reports a share that must be given: decoded, it could not be told
// from 0.
func (d *document) needShare(t reflect.Type, out map[string]any, path string) {
	for i := range t.NumField() {
		f := t.Field(i)
		if name := f.Tag.Get("json"); f.Type == percentType && !strings.Contains(name, ",") {
			if _, given := out[name]; !given && !d.suspect[join(path, name)] {
				d.refuse(join(path, name), "is missing; expected "+wanted(percentType), "")
			}
		}
	}
}

// unknown reports a key that its object does not have.
func (d *document) unknown(name, at, path string, t reflect.Type) {
	known := fieldNames(t)
	d.values[at] = d.keys[at]
	hint := didYouMean(name, known)
	if near := nearest(name, known); near != "" {
		d.suspect[join(path, near)] = true // do not also say that it is missing
	} else if inner := holder(t, name); inner != "" {
		hint = name + " belongs into " + inner + "; " + hint
	}
	d.suspect[at] = true
	d.add(at, "unknown field "+printable(name), hint)
}

// holder names the field of t whose own fields include name.
func holder(t reflect.Type, name string) string {
	fields := fieldsOf(t)
	for _, f := range fieldNames(t) {
		inner := fields[f]
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct {
			if _, ok := fieldsOf(inner)[name]; ok {
				return f
			}
		}
	}
	return ""
}

type entry struct {
	name       string
	key, value *yaml.Node
}

// entries lists a mapping's keys, merged ones ("<<") behind its own, which
// override them. A key that stands twice is reported.
func (d *document) entries(n *yaml.Node, path string, depth int) []entry {
	var out []entry
	var merged []*yaml.Node
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Tag == "!!merge" {
			merged = append(merged, v)
			continue
		}
		if k.Kind == yaml.AliasNode {
			k = k.Alias
		}
		if k.Kind != yaml.ScalarNode || k.Tag != "!!str" || ambiguous(k) {
			d.problems = append(d.problems, Problem{Path: path, Line: k.Line, Column: k.Column,
				Message: "a key must be text; this is " + describe(k), Hint: `put it in quotes, such as "` + k.Value + `"`})
			continue
		}
		if line, twice := seen[k.Value]; twice {
			d.problems = append(d.problems, Problem{Path: join(path, k.Value), Line: k.Line, Column: k.Column,
				Message: fmt.Sprintf("stands twice; the first one is in line %d", line), Hint: "remove one of them"})
			continue
		}
		seen[k.Value] = k.Line
		out = append(out, entry{k.Value, k, v})
	}
	for _, m := range merged {
		for _, e := range d.merge(m, path, depth) {
			if _, own := seen[e.name]; !own {
				seen[e.name] = e.key.Line
				out = append(out, e)
			}
		}
	}
	return out
}

func (d *document) merge(n *yaml.Node, path string, depth int) []entry {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if d.nodes++; d.nodes > maxNodes || depth > maxDepth {
		return nil // reported by the next value
	}
	switch n.Kind {
	case yaml.MappingNode:
		return d.entries(n, path, depth+1)
	case yaml.SequenceNode:
		var out []entry
		for _, m := range n.Content {
			out = append(out, d.merge(m, path, depth+1)...)
		}
		return out
	}
	d.problems = append(d.problems, Problem{Path: path, Line: n.Line, Column: n.Column, Message: "a merge (<<) takes a mapping; this is " + describe(n)})
	return nil
}

// free converts a node of any shape.
func (d *document) free(n *yaml.Node, path string, depth int) (any, bool) {
	anything := reflect.TypeFor[any]()
	switch n.Kind {
	case yaml.MappingNode:
		return d.dict(n, reflect.TypeFor[map[string]any](), path, depth)
	case yaml.SequenceNode:
		return d.list(n, reflect.SliceOf(anything), path, depth)
	}
	switch n.Tag {
	case "!!int", "!!float":
		if !plainNumber.MatchString(n.Value) {
			return d.refuse(path, n.Value+" is a number that not every reader reads alike", "write it in plain decimal digits, or in quotes if it is text")
		}
		return json.Number(n.Value), true
	case "!!bool":
		return n.Value[0] == 't' || n.Value[0] == 'T', true
	}
	if ambiguous(n) {
		return d.refuse(path, n.Value+" is a boolean to some readers and text to others", "write true, false or "+strconv.Quote(n.Value))
	}
	return n.Value, true
}
