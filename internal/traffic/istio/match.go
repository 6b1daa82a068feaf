package istio

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/haldane-project/haldane/internal/release"
)

// matched is a copy of a route for the requests that a match selects, nil where
// the route has none of them. The first route that matches counts, so it goes
// before the one that it is of.
func (w writer) matched(rule map[string]any, m release.Match, subset string) (map[string]any, error) {
	list, _ := rule["match"].([]any)
	if len(list) == 0 {
		list = []any{map[string]any{}}
	}
	var matches []any
	for _, item := range list {
		c := copyOf(item)
		ok, err := narrow(c, m)
		if err != nil {
			return nil, err
		}
		if ok {
			delete(c, "name")
			matches = append(matches, c)
		}
	}
	if len(matches) == 0 {
		return nil, nil
	}
	out := copyOf(rule)
	delete(out, "name")
	delete(out, "mirror")
	delete(out, "mirrorPercentage")
	delete(out, "mirrors")
	out["match"] = matches
	for _, d := range destinations(rule) {
		if w.parts(d) {
			out["route"] = []any{lead(d, subset, 100)}
			break
		}
	}
	return out, nil
}

// narrow adds conditions to one match request; false: they exclude each other.
func narrow(match map[string]any, m release.Match) (bool, error) {
	headers := copyOf(match["headers"])
	if headers == nil {
		headers = map[string]any{}
	}
	add := func(name string, condition map[string]any) error {
		name = strings.ToLower(name) // as Istio wants them
		if have, ok := headers[name]; ok && !reflect.DeepEqual(have, any(condition)) {
			return fmt.Errorf("its match has a condition on the header %s already, and only one is taken: match another header", name)
		}
		headers[name] = condition
		return nil
	}
	for _, h := range m.Headers {
		if err := add(h.Name, condition(h)); err != nil {
			return false, err
		}
	}
	if c := m.Cookie; c != nil {
		if err := add("cookie", map[string]any{"regex": `(.*;\s*)?` + regexp.QuoteMeta(c.Name) + "=" + cookieValue(*c) + `(;.*)?`}); err != nil {
			return false, err
		}
	}
	if len(headers) > 0 {
		match["headers"] = headers
	}
	return narrowPath(match, m.Path)
}

// condition is how one header is compared; expressions match as a whole.
func condition(h release.HeaderMatch) map[string]any {
	switch {
	case h.Exact != "":
		return map[string]any{"exact": h.Exact}
	case h.Prefix != "":
		return map[string]any{"prefix": h.Prefix}
	}
	return map[string]any{"regex": h.Regexp}
}

func cookieValue(h release.HeaderMatch) string {
	switch {
	case h.Exact != "":
		return regexp.QuoteMeta(h.Exact)
	case h.Prefix != "":
		return regexp.QuoteMeta(h.Prefix) + "[^;]*"
	}
	return "(" + h.Regexp + ")"
}

func narrowPath(match map[string]any, prefix string) (bool, error) {
	if prefix == "" {
		return true, nil
	}
	uri, _ := match["uri"].(map[string]any)
	if match["ignoreUriCase"] == true {
		return false, fmt.Errorf("its path is matched without regard to case, which can not be joined with the prefix %s: match a header", prefix)
	}
	if exact, ok := uri["exact"].(string); ok {
		return strings.HasPrefix(exact, prefix), nil
	}
	if expression, ok := uri["regex"].(string); ok {
		return false, fmt.Errorf("its path is matched by the expression %s, which can not be joined with the prefix %s: match a header", expression, prefix)
	}
	have, _ := uri["prefix"].(string)
	if strings.HasPrefix(have, prefix) {
		return true, nil
	}
	match["uri"] = map[string]any{"prefix": prefix}
	return strings.HasPrefix(prefix, have), nil
}
