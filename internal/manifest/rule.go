package manifest

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The rules of a definition that an API server evaluates say what Parse says, in
// the same words: both take them from here. Types, fields that are not known or
// missing, and the lengths of texts and lists an API server words itself.

// needs is what Parse says where none of some fields is set.
func needs(names []string) string {
	if len(names) == 1 {
		return "needs " + names[0]
	}
	return "needs one of " + strings.Join(names, ", ")
}

// needsSome is the same where several may be.
func needsSome(names ...string) string { return "needs at least one of " + strings.Join(names, ", ") }

// onlyOne is what Parse says of a field beside another that is set already.
func onlyOne(names []string, set string) string {
	return fmt.Sprintf("only one of %s may be set; %s is set too", strings.Join(names, ", "), set)
}

const (
	unknownWord = "unknown word "
	notBetween  = "is not between %s and %s"
	notAPercent = "is not between 0 and 100 (percent)"
	notAShare   = "is not a share"
	notAName    = " is not a name"
	notATime    = ` is not a time of day; expected one such as "09:00"`
	negative    = " is negative; expected a duration from 0s to 720h"
	tooLong     = " is too long; at most 720h is taken"
)

// patterns are those whose values Parse words, by the pattern.
var patterns = map[string]string{
	label.String():                      notAName,
	`^([01]\d|2[0-3]):[0-5]\d$`:         notATime,
	`^(([01]\d|2[0-3]):[0-5]\d|24:00)$`: notATime,
}

// mostWord bounds the texts that rules look at, so that the API server can tell
// beforehand what they cost.
const mostWord = 128

// reword gives a node of a definition rules in the words of Parse. It is
// idempotent.
func reword(s schema) {
	old, _ := s["x-kubernetes-validations"].([]any)
	delete(s, "x-kubernetes-validations")
	for _, r := range old {
		m, _ := r.(schema)
		rule, _ := m["rule"].(string)
		names := fieldsIn(rule)
		switch {
		case strings.HasSuffix(rule, "== 1"):
			exactlyOne(s, names)
		case isSome.MatchString(rule) && m["messageExpression"] == nil && strings.HasPrefix(fmt.Sprint(m["message"]), "at least"):
			addRule(s, schema{"rule": rule, "message": needsSome(names...)})
		default:
			addRule(s, m)
		}
	}
	low, hasLow := s["minimum"]
	high, hasHigh := s["maximum"]
	words, _ := s["enum"].([]any)
	pattern, _ := s["pattern"].(string)
	switch {
	case s["type"] == "integer" && hasLow && hasHigh:
		addRule(s, schema{"rule": fmt.Sprintf("self >= %s && self <= %s", number(low), number(high)),
			"message": fmt.Sprintf(notBetween, number(low), number(high))})
	case len(words) > 0:
		list, _ := json.Marshal(words) // texts
		delete(s, "enum")
		bound(s)
		addRule(s, schema{"rule": "self == '' || self in " + string(list),
			"messageExpression": strconv.Quote(unknownWord) + quotedSelf + strconv.Quote("; known: "+strings.Join(texts(words), ", "))})
	case patterns[pattern] != "":
		bound(s)
		addRule(s, schema{"rule": "self == '' || self.matches(" + strconv.Quote(pattern) + ")",
			"messageExpression": strings.TrimPrefix(quotedSelf, " + ") + strconv.Quote(patterns[pattern])})
	}
}

// quotedSelf adds the value in quotes to a message.
const quotedSelf = ` + "\"" + self + "\"" + `

// shared gives a share its rules. Nothing bounds such a text, so that an API server
// would find a message with the value in it, or a pattern, too dear: it shows the
// value in front of the message. In a list no rule is cheap enough: what is wrong
// there the controller says.
func shared(s schema, listed bool) {
	if listed {
		return
	}
	addRule(s, schema{"rule": "type(self) != int || (self >= 0 && self <= 100)", "message": notAPercent})
	addRule(s, schema{"rule": `type(self) != string || self.endsWith("%")`, "message": notAShare})
}

// timed gives a duration its rules.
func timed(s schema) {
	s["maxLength"] = mostWord
	addRule(s, schema{"rule": "!self.startsWith('-')", "messageExpression": "self + " + strconv.Quote(negative)})
	addRule(s, schema{"rule": `!self.matches("^[+]?([0-9]{1,9}([.][0-9]{1,9})?(ns|us|ms|s|m|h))+$") || duration(self) <= duration("720h")`,
		"messageExpression": "self + " + strconv.Quote(tooLong)})
}

func bound(s schema) {
	if _, ok := s["maxLength"]; !ok {
		s["maxLength"] = mostWord
	}
}

// exactlyOne are the rules that say which field is missing or too many.
func exactlyOne(s schema, names []string) {
	var has []string
	for _, n := range names {
		has = append(has, "has(self."+n+")")
	}
	addRule(s, schema{"rule": strings.Join(has, "||"), "message": needs(names)})
	for i, n := range names {
		for _, before := range names[:i] {
			addRule(s, schema{"rule": fmt.Sprintf("!(has(self.%s)&&has(self.%s))", before, n), "message": onlyOne(names, before), "fieldPath": "." + n})
		}
	}
}

// addRule adds a rule that is not there yet.
func addRule(s schema, rule schema) {
	list, _ := s["x-kubernetes-validations"].([]any)
	same := func(r any) bool { m, _ := r.(schema); return m["rule"] == rule["rule"] }
	if !slices.ContainsFunc(list, same) {
		s["x-kubernetes-validations"] = append(list, rule)
	}
}

var (
	hasField = regexp.MustCompile(`has\(self\.(\w+)\)`)
	isSome   = regexp.MustCompile(`^(has\(self\.\w+\)(\|\|)?)+$`)
	isWord   = regexp.MustCompile(`^self == '' \|\| self in (\[.*\])$`)
)

// fieldsIn are the fields that a rule asks for, in its order.
func fieldsIn(rule string) (out []string) {
	for _, m := range hasField.FindAllStringSubmatch(rule, -1) {
		out = append(out, m[1])
	}
	return out
}

func number(v any) string {
	switch n := v.(type) {
	case float64:
		return strconv.FormatFloat(n, 'f', -1, 64)
	default:
		return fmt.Sprint(v)
	}
}

func texts(list []any) (out []string) {
	for _, v := range list {
		out = append(out, fmt.Sprint(v))
	}
	return out
}

// plainRules translates rules into the keywords of JSON Schema: exactly one of some
// fields, at least one of them, one of some words.
func plainRules(s schema) {
	rules, _ := s["x-kubernetes-validations"].([]any)
	some, one := []any(nil), false
	for _, r := range rules {
		rule, _ := r.(schema)["rule"].(string)
		switch m := isWord.FindStringSubmatch(rule); {
		case m != nil:
			var words []any
			if json.Unmarshal([]byte(m[1]), &words) == nil {
				s["enum"] = words
				delete(s, "maxLength")
			}
		case isSome.MatchString(rule):
			for _, name := range fieldsIn(rule) {
				some = append(some, schema{"required": []any{name}})
			}
		default:
			one = one || strings.HasPrefix(rule, "!(has(self.")
		}
	}
	switch {
	case one:
		s["oneOf"] = some
	case some != nil:
		s["anyOf"] = some
	}
}
