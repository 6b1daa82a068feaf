package modelserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
)

// schema is the part of JSON Schema that answers can be held to.
type schema struct {
	Type       texts              `json:"type"`
	Properties properties         `json:"properties"`
	Required   []string           `json:"required"`
	Items      *schema            `json:"items"`
	Enum       []json.RawMessage  `json:"enum"`
	Const      json.RawMessage    `json:"const"`
	AnyOf      []*schema          `json:"anyOf"`
	OneOf      []*schema          `json:"oneOf"`
	Ref        string             `json:"$ref"`
	Defs       map[string]*schema `json:"$defs"`
	Old        map[string]*schema `json:"definitions"`
	Minimum    *float64           `json:"minimum"`
	Maximum    *float64           `json:"maximum"`
	Above      *float64           `json:"exclusiveMinimum"`
	Below      *float64           `json:"exclusiveMaximum"`
	MinLength  int                `json:"minLength"`
	MaxLength  *int               `json:"maxLength"`
	MinItems   int                `json:"minItems"`
	MaxItems   *int               `json:"maxItems"`

	// What this server can not write answers for.
	Pattern    *string         `json:"pattern"`
	AllOf      json.RawMessage `json:"allOf"`
	Not        json.RawMessage `json:"not"`
	If         json.RawMessage `json:"if"`
	MultipleOf *float64        `json:"multipleOf"`
}

// properties keep the order in which they were written.
type properties []property

type property struct {
	name string
	is   *schema
}

func (p *properties) UnmarshalJSON(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("properties: expected an object")
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		name, _ := t.(string) // the key of an object is a text
		one := new(schema)
		if err := d.Decode(one); err != nil {
			return fmt.Errorf("properties.%s: %w", name, err)
		}
		*p = append(*p, property{name, one})
	}
	return nil
}

// anyObject is what response_format json_object asks for.
var anyObject = &schema{Type: texts{"object"}, Required: []string{"answer", "subject"},
	Properties: properties{{"answer", &schema{Type: texts{"string"}}}, {"subject", &schema{Type: texts{"string"}}}}}

// depth bounds schemas that contain themselves.
const depth = 8

// writer writes one value that its schema allows.
type writer struct {
	speaker
	defs map[string]*schema
	out  strings.Builder
}

// value is a JSON text that the schema allows.
func (s speaker) value(is *schema) (string, error) {
	w := writer{speaker: s, defs: map[string]*schema{"#": is}}
	for name, d := range is.Defs {
		w.defs["#/$defs/"+name] = d
	}
	for name, d := range is.Old {
		w.defs["#/definitions/"+name] = d
	}
	err := w.write(is, "", depth)
	return w.out.String(), err
}

func (w *writer) write(is *schema, name string, left int) error {
	is, err := w.resolve(is, name, left)
	if err != nil {
		return err
	}
	switch {
	case len(is.Const) > 0:
		return w.raw(is.Const)
	case len(is.Enum) > 0:
		return w.raw(is.Enum[w.dice.IntN(len(is.Enum))])
	}
	switch kind := is.kind(); kind {
	case "object":
		return w.object(is, name, left)
	case "array":
		return w.array(is, name, left)
	case "string":
		return w.text(is, name)
	case "integer":
		lo, hi := is.bounds(0, 100, 1)
		if lo > hi {
			return fmt.Errorf("the schema of %q allows no whole number", name)
		}
		w.json(int64(lo) + w.dice.Int64N(int64(hi)-int64(lo)+1))
	case "number":
		lo, hi := is.bounds(0, 100, 1e-3)
		w.json(math.Round((lo+w.dice.Float64()*(hi-lo))*1e4) / 1e4)
	case "boolean":
		w.json(w.dice.IntN(2) == 1)
	case "null":
		w.json(nil)
	default:
		return fmt.Errorf("the schema of %q has the type %q; known are object, array, string, integer, number, boolean and null", name, kind)
	}
	return nil
}

// resolve follows references and picks one of the alternatives.
func (w *writer) resolve(is *schema, name string, left int) (*schema, error) {
	for range depth {
		if is == nil {
			return &schema{Type: texts{"string"}}, nil
		}
		if is.Pattern != nil || len(is.AllOf) > 0 || len(is.Not) > 0 || len(is.If) > 0 || is.MultipleOf != nil {
			return nil, fmt.Errorf("the schema of %q uses pattern, allOf, not, if or multipleOf, which this server can not write answers for", name)
		}
		switch options := append(slices.Clip(is.AnyOf), is.OneOf...); {
		case is.Ref != "":
			to, ok := w.defs[is.Ref]
			if !ok {
				return nil, fmt.Errorf("the schema of %q refers to %q, which is not in its $defs", name, is.Ref)
			}
			is = to
		case len(options) > 0 && left <= 2:
			is = options[len(options)-1] // by custom the way out of a recursion, often null
		case len(options) > 0:
			is = options[w.dice.IntN(len(options))]
		default:
			return is, nil
		}
	}
	return nil, fmt.Errorf("the schema of %q refers to itself", name)
}

func (s *schema) kind() string {
	switch {
	case len(s.Type) > 0:
		return s.Type[0]
	case len(s.Properties) > 0:
		return "object"
	case s.Items != nil:
		return "array"
	}
	return "string"
}

func (s *schema) bounds(lo, hi, step float64) (float64, float64) {
	width := hi - lo
	low, high := s.Minimum, s.Maximum
	if s.Above != nil {
		x := *s.Above + step
		low = &x
	}
	if s.Below != nil {
		x := *s.Below - step
		high = &x
	}
	switch {
	case low != nil && high != nil:
		lo, hi = *low, *high
	case low != nil:
		lo, hi = *low, *low+width
	case high != nil:
		lo, hi = *high-width, *high
	}
	if step == 1 {
		lo, hi = math.Ceil(lo), math.Floor(hi)
	}
	return lo, hi
}

func (w *writer) object(is *schema, name string, left int) error {
	if left == 0 {
		return fmt.Errorf("the schema of %q is nested deeper than %d", name, depth)
	}
	w.out.WriteByte('{')
	first := true
	for _, p := range is.Properties {
		if !slices.Contains(is.Required, p.name) && (left <= 2 || w.dice.IntN(2) == 0) {
			continue
		}
		if !first {
			w.out.WriteString(", ")
		}
		first = false
		w.json(p.name)
		w.out.WriteString(": ")
		if err := w.write(p.is, p.name, left-1); err != nil {
			return err
		}
	}
	w.out.WriteByte('}')
	return nil
}

func (w *writer) array(is *schema, name string, left int) error {
	if left == 0 {
		return fmt.Errorf("the schema of %q is nested deeper than %d", name, depth)
	}
	n := is.MinItems
	if left > 2 {
		n += w.dice.IntN(3)
	}
	if is.MaxItems != nil {
		n = min(n, *is.MaxItems)
	}
	w.out.WriteByte('[')
	for i := range n {
		if i > 0 {
			w.out.WriteString(", ")
		}
		if err := w.write(is.Items, name, left-1); err != nil {
			return err
		}
	}
	w.out.WriteByte(']')
	return nil
}

// text is a phrase on the field's subject; an argument of a tool is a name from
// the question where there is one.
func (w *writer) text(is *schema, name string) error {
	text := w.phrase(strings.ReplaceAll(name, "_", " "))
	if called := named(w.user); w.choice != "none" && len(called) > 0 {
		text = called[w.dice.IntN(len(called))]
	}
	letters := []rune(text)
	for len(letters) < is.MinLength {
		letters = append(letters, []rune(" "+w.phrase(name))...)
	}
	if is.MaxLength != nil && len(letters) > *is.MaxLength {
		letters = letters[:*is.MaxLength]
	}
	w.json(string(letters))
	return nil
}

// named are the words of a text that begin large though no sentence does.
func named(text string) []string {
	var out []string
	words := strings.Fields(text)
	for i, w := range words {
		if i > 0 && w[0] >= 'A' && w[0] <= 'Z' && !strings.HasSuffix(words[i-1], ".") && len(w) > 1 {
			out = append(out, strings.Trim(w, ".,;:!?\"'"))
		}
	}
	return out
}

func (w *writer) raw(value json.RawMessage) error {
	var b bytes.Buffer
	if err := json.Compact(&b, value); err != nil {
		return fmt.Errorf("a value of the schema is no JSON: %w", err)
	}
	w.out.Write(b.Bytes())
	return nil
}

func (w *writer) json(v any) {
	b, _ := json.Marshal(v) // texts and numbers always marshal
	w.out.Write(b)
}
