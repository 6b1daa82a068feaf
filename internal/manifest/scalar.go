package manifest

import (
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// plainNumber is a number as JSON writes it.
var plainNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]{1,2})?$`)

// scalar converts a node to a duration, percent, text, number or boolean.
func (d *document) scalar(n *yaml.Node, t reflect.Type, path string) (any, bool) {
	if n.Kind != yaml.ScalarNode {
		return d.refuse(path, "is "+describe(n)+"; expected "+wanted(t), "")
	}
	isText := n.Tag == "!!str" || n.Tag == "!!timestamp"
	switch {
	case t == durationType:
		return d.duration(n, path)
	case t == percentType:
		if !isText {
			return d.percent(n, path)
		}
	case t.Kind() == reflect.Bool:
		if n.Tag == "!!bool" {
			return strings.EqualFold(n.Value, "true"), true
		}
		return d.refuse(path, "is "+describe(n)+"; expected true or false", "")
	case isInt(t):
		return d.integer(n, t, path)
	}
	if !isText || ambiguous(n) {
		return d.refuse(path, "is "+describe(n)+"; expected "+wanted(t), "put it in quotes: "+strconv.Quote(n.Value))
	}
	return n.Value, true
}

func (d *document) duration(n *yaml.Node, path string) (any, bool) {
	if _, err := time.ParseDuration(n.Value); err == nil && n.Tag == "!!str" {
		return n.Value, true
	}
	hint := "write a number with its unit: 250ms, 30s, 5m, 1h30m"
	if n.Tag == "!!int" {
		hint = "write the unit: " + n.Value + "s or " + n.Value + "m"
	} else if strings.HasSuffix(n.Value, "d") {
		hint = "the largest unit is the hour: 24h for a day"
	}
	return d.refuse(path, "is "+describe(n)+"; expected a duration", hint)
}

func (d *document) percent(n *yaml.Node, path string) (any, bool) {
	if n.Tag == "!!int" {
		return d.integer(n, reflect.TypeFor[int32](), path)
	}
	hint := "write a whole number of percent, such as 5, or text with a percent sign, such as \"0.5%\""
	if f, err := strconv.ParseFloat(n.Value, 64); err == nil && n.Tag == "!!float" && !math.IsNaN(f) && !math.IsInf(f, 0) {
		hint = "write \"" + n.Value + "%\" if percent is meant"
	}
	return d.refuse(path, "is "+describe(n)+"; expected a share", hint)
}

func (d *document) integer(n *yaml.Node, t reflect.Type, path string) (any, bool) {
	if n.Tag != "!!int" || !plainNumber.MatchString(n.Value) {
		return d.refuse(path, "is "+describe(n)+"; expected "+wanted(t), "")
	}
	i, err := strconv.ParseInt(n.Value, 10, t.Bits())
	if err != nil {
		return d.refuse(path, n.Value+" is out of range", "")
	}
	return i, true
}

// ambiguous finds plain words that YAML 1.1 (kubectl) reads as booleans and
// YAML 1.2 as text.
func ambiguous(n *yaml.Node) bool {
	return n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0 &&
		slices.Contains([]string{"y", "n", "yes", "no", "on", "off"}, strings.ToLower(n.Value))
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func isInt(t reflect.Type) bool { return t.Kind() == reflect.Int32 || t.Kind() == reflect.Int64 }

// describe says what a node is, for "is ...; expected ...".
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.Tag {
	case "!!int", "!!float":
		return "the number " + n.Value
	case "!!bool":
		return "the boolean " + n.Value
	case "!!null":
		return "nothing"
	}
	if ambiguous(n) {
		return n.Value + ", a boolean to some readers"
	}
	return "the text " + printable(n.Value)
}

// wanted says what a type takes.
func wanted(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == durationType:
		return "a duration, such as 30s"
	case t == percentType:
		return "a share, such as 5 or \"0.5%\""
	case isInt(t):
		return "a whole number"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "a mapping"
	}
	return "text"
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
