package gatewayapi

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/haldane-project/haldane/internal/release"
)

// matched is a copy of a rule for the requests that a match selects, nil where
// the rule has none of them. A match with more conditions goes before those
// with fewer, wherever it stands.
func (w writer) matched(rule map[string]any, m release.Match, slot string) (map[string]any, error) {
	var headers []any
	for _, h := range m.Headers {
		headers = append(headers, header(h.Name, h))
	}
	if m.Cookie != nil {
		headers = append(headers, map[string]any{"type": "RegularExpression", "name": "Cookie",
			"value": `^(.*;\s*)?` + regexp.QuoteMeta(m.Cookie.Name) + "=" + value(*m.Cookie) + `(;.*)?$`})
	}
	if m.Path != "" && w.kind.Kind == GRPCRoute.Kind {
		return nil, fmt.Errorf("a GRPCRoute can not match the path %s: match a header", m.Path)
	}
	list, _ := rule["matches"].([]any)
	if len(list) == 0 {
		list = []any{map[string]any{}}
	}
	var matches []any
	for _, item := range list {
		c := copyOf(item)
		ok, err := narrow(c, m.Path)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if len(headers) > 0 {
			own, _ := c["headers"].([]any)
			c["headers"] = append(own, headers...)
		}
		matches = append(matches, c)
	}
	if len(matches) == 0 {
		return nil, nil
	}
	out := copyOf(rule)
	delete(out, "name") // a name stands once in a route
	out["matches"] = matches
	for _, r := range refs(rule) {
		if to(r) == w.service {
			out["backendRefs"] = []any{lead(r, slot, 1)}
			break
		}
	}
	return out, nil
}

func header(name string, h release.HeaderMatch) map[string]any {
	if h.Exact != "" {
		return map[string]any{"type": "Exact", "name": name, "value": h.Exact}
	}
	expression := "(" + h.Regexp + ")"
	if h.Prefix != "" {
		expression = regexp.QuoteMeta(h.Prefix) + ".*"
	}
	return map[string]any{"type": "RegularExpression", "name": name, "value": "^" + expression + "$"}
}

// value is a regular expression for what a condition on a cookie accepts.
func value(h release.HeaderMatch) string {
	switch {
	case h.Exact != "":
		return regexp.QuoteMeta(h.Exact)
	case h.Prefix != "":
		return regexp.QuoteMeta(h.Prefix) + "[^;]*"
	}
	return "(" + h.Regexp + ")"
}

// narrow restricts a match to a path's prefix; false: they exclude each other.
func narrow(match map[string]any, prefix string) (bool, error) {
	if prefix == "" {
		return true, nil
	}
	path, _ := match["path"].(map[string]any)
	kind, _ := path["type"].(string)
	have, _ := path["value"].(string)
	switch {
	case path == nil || under(prefix, have) && kind == "PathPrefix":
		match["path"] = map[string]any{"type": "PathPrefix", "value": prefix}
		return true, nil
	case kind == "RegularExpression":
		return false, fmt.Errorf("its path is matched by the expression %s, which can not be joined with the prefix %s: match a header", have, prefix)
	}
	return under(have, prefix), nil
}

// under reports whether a path lies under a prefix, by whole elements.
func under(path, prefix string) bool {
	p := strings.TrimSuffix(prefix, "/")
	return path == p || strings.HasPrefix(path, p+"/")
}
