package manifest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/haldane-project/haldane/api/v1alpha1"
)

// Reference returns the page docs/reference.md: every field of a release with
// its type, default and description, from the same schema as everything else.
func Reference() []byte {
	var root schema
	if err := json.Unmarshal(Schema(), &root); err != nil {
		panic("manifest: the schema does not read back: " + err.Error())
	}
	r := &reference{places: map[reflect.Type]string{}}
	r.out.WriteString("# Manifest reference\n\n" +
		"<!-- Generated from api/v1alpha1 by `make generate`. -->\n\n" +
		"One file declares one release (or several, separated by lines of `---`). Unknown fields are refused. " +
		"A share is a whole number of percent (`5`) or text with a percent sign (`\"0.5%\"`), at a resolution of 0.01 %. " +
		"A duration is a number with its unit: `250ms`, `30s`, `5m`, `1h30m`; at most `720h`. " +
		"`haldane schema` prints the JSON Schema for editors, `haldane validate -f FILE` checks a file.\n\n" +
		"A file begins with `apiVersion: " + apiVersion + "`, `kind: " + Kind + "` and `metadata: {name: NAME}`; " +
		"the name has lower-case letters, digits and dashes, at most 63.\n")
	spec := root["properties"].(schema)["spec"].(schema)
	r.table("spec", spec, reflect.TypeFor[v1alpha1.ReleaseSpec]())
	return []byte(r.out.String())
}

type reference struct {
	out    strings.Builder
	places map[reflect.Type]string // where each type is described
}

// table writes the section of one type, then those of the types in its fields.
// A type that several fields have is described at the first one.
func (r *reference) table(path string, s schema, t reflect.Type) {
	fmt.Fprintf(&r.out, "\n## %s\n\n", path)
	if text, _ := splitDefault(s); text != "" {
		r.out.WriteString(text + "\n\n")
	}
	r.out.WriteString(choices(s))
	fields := fieldsOf(t)
	if len(fields) == 0 {
		r.out.WriteString("No fields: write `{}`.\n")
		return
	}
	r.out.WriteString("| field | type | default | description |\n|---|---|---|---|\n")
	properties := s["properties"].(schema)
	required := map[string]bool{}
	list, _ := s["required"].([]any)
	for _, name := range list {
		required[name.(string)] = true
	}
	var follow []func()
	for _, name := range fieldNames(t) {
		p, it, at := properties[name].(schema), element(fields[name]), path+"."+name
		text, otherwise := splitDefault(p)
		if required[name] {
			otherwise = "**required**"
		}
		words := typeWords(p, fields[name])
		if it.Kind() == reflect.Struct && !leaf(it) {
			if items, ok := p["items"].(schema); ok {
				p, at = items, at+"[]"
			}
			if _, described := r.places[it]; !described {
				r.places[it] = at
				follow = append(follow, func() { r.table(at, p, it) })
			}
			words = "[" + words + "](#" + anchor(r.places[it]) + ")"
		}
		fmt.Fprintf(&r.out, "| `%s` | %s | %s | %s |\n", name, words, cell(otherwise), cell(text))
	}
	for _, f := range follow {
		f()
	}
}

// choices says in words which of the fields exclude each other.
func choices(s schema) string {
	for key, words := range map[string]string{"oneOf": "Exactly one", "anyOf": "At least one"} {
		branches, ok := s[key].([]any)
		if !ok {
			continue
		}
		var names []string
		for _, b := range branches {
			names = append(names, fmt.Sprintf("`%v`", b.(schema)["required"].([]any)[0]))
		}
		if len(names) > 1 {
			return words + " of " + strings.Join(names, ", ") + " is set.\n\n"
		}
	}
	return ""
}

// anchor is how a page's heading is linked to.
func anchor(heading string) string {
	return strings.ToLower(strings.NewReplacer(".", "", "[", "", "]", "").Replace(heading))
}

// leaf are structs that a user writes as one value.
func leaf(t reflect.Type) bool { return t == durationType || t == percentType || t == jsonType }

func element(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	return t
}

var defaultText = regexp.MustCompile(`(?s)\s*Default: (.*?)\.?$`)

// splitDefault cuts the default off a description.
func splitDefault(s schema) (text, otherwise string) {
	text, _ = s["description"].(string)
	if m := defaultText.FindStringSubmatchIndex(text); m != nil {
		return text[:m[0]], text[m[2]:m[3]]
	}
	return text, ""
}

// typeWords says what a field takes.
func typeWords(s schema, t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case percentType:
		return "share"
	case durationType:
		return "duration"
	case jsonType:
		return "any value"
	}
	if words, ok := s["enum"].([]any); ok {
		var quoted []string
		for _, w := range words {
			quoted = append(quoted, fmt.Sprintf("`%v`", w))
		}
		return strings.Join(quoted, ", ")
	}
	switch t.Kind() {
	case reflect.Slice:
		return "list of " + plural(typeWords(s["items"].(schema), t.Elem()))
	case reflect.Map:
		return "mapping of names to " + plural(typeWords(s["additionalProperties"].(schema), t.Elem()))
	case reflect.Struct:
		return "object"
	case reflect.Bool:
		return "true or false"
	case reflect.Int32, reflect.Int64:
		return "whole number" + between(s)
	}
	return "text"
}

func plural(words string) string {
	switch words {
	case "object":
		return "objects"
	case "any value":
		return "any values"
	}
	return words
}

func between(s schema) string {
	low, hasLow := s["minimum"].(float64)
	high, hasHigh := s["maximum"].(float64)
	number := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
	switch {
	case hasLow && hasHigh:
		return ", " + number(low) + " to " + number(high)
	case hasLow:
		return ", at least " + number(low)
	}
	return ""
}

// cell makes text fit for a table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;").Replace(text)
}
