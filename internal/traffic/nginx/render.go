package nginx

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/traffic/route"
)

// prefix of the annotations that make an Ingress a canary.
const prefix = "nginx.ingress.kubernetes.io/canary"

// writer writes splits into the rules of the user's Ingress.
type writer struct {
	service string
	slots   [2]string
}

// render implements route.Part.Render.
func (w writer) render(original []any, split release.Split, slots route.Slots) (route.Rendering, error) {
	var out route.Rendering
	if len(w.ours(original)) == 0 {
		return out, fmt.Errorf("no path of its rules leads to Service %s (they lead to %s): name the Service that they lead to in spec.traffic; a default backend can not be split",
			w.service, services(original))
	}
	base, _ := w.base(split, slots)
	for i, item := range original {
		out.Items, out.From = append(out.Items, w.led(item, base)), append(out.From, i)
	}
	return out, nil
}

// led is a rule whose paths to the Service, or to a slot's, lead to another one.
func (w writer) led(item any, service string) any {
	rule, _ := route.Clone(item).(map[string]any)
	for _, p := range paths(rule) {
		if s := backend(p); w.is(s) {
			s["name"] = service
		}
	}
	return rule
}

func (w writer) is(service map[string]any) bool {
	name, _ := service["name"].(string)
	return name == w.service || slices.Contains(w.slots[:], name)
}

func paths(rule map[string]any) []any {
	http, _ := rule["http"].(map[string]any)
	list, _ := http["paths"].([]any)
	return list
}

// backend is the Service that a path leads to; nil: it leads elsewhere.
func backend(p any) map[string]any {
	m, _ := p.(map[string]any)
	b, _ := m["backend"].(map[string]any)
	s, _ := b["service"].(map[string]any)
	return s
}

func services(rules []any) string {
	var names []string
	for _, item := range rules {
		rule, _ := item.(map[string]any)
		for _, p := range paths(rule) {
			if n, _ := backend(p)["name"].(string); n != "" && !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	if len(names) == 0 {
		return "no Service"
	}
	return strings.Join(names, ", ")
}

// ours are the rules with only those paths that lead to the Service or a slot's.
func (w writer) ours(rules []any) []any {
	var out []any
	for _, item := range rules {
		rule, _ := route.Clone(item).(map[string]any)
		var list []any
		for _, p := range paths(rule) {
			if w.is(backend(p)) {
				list = append(list, p)
			}
		}
		if len(list) > 0 {
			rule["http"].(map[string]any)["paths"] = list
			out = append(out, rule)
		}
	}
	return out
}

// reset implements route.Part.Reset: the slots' paths lead to the Service.
func (w writer) reset(rule map[string]any, _ []any) bool {
	done := false
	for _, p := range paths(rule) {
		if s := backend(p); w.is(s) && s["name"] != w.service {
			s["name"], done = w.service, true
		}
	}
	return done
}

// canary writes splits into the second Ingress.
type canary struct {
	writer
	rules []any // of the user's Ingress, as it is now
}

// render implements route.Part.Render: the rules are those of the user's Ingress.
func (c canary) render(_ []any, split release.Split, slots route.Slots) (route.Rendering, error) {
	base, other := c.base(split, slots)
	annotations, err := canaryAnnotations(split, slots, other)
	if err != nil {
		return route.Rendering{}, err
	}
	if other == "" {
		other = base // of no effect beside the user's
	}
	out := route.Rendering{Annotations: annotations}
	for _, item := range c.rules {
		out.Items, out.From = append(out.Items, c.led(item, other)), append(out.From, -1)
	}
	return out, nil
}

// reset implements route.Part.Reset: all of it is Haldane's.
func (canary) reset(map[string]any, []any) bool { return true }

// canaryAnnotations say which requests go to a Service.
func canaryAnnotations(split release.Split, slots route.Slots, service string) (map[string]string, error) {
	if split.Mirror != nil {
		return nil, errors.New("the NGINX ingress controller copies all requests or none: use a plan without mirror, or another router")
	}
	out := map[string]string{prefix: "true"}
	var weight release.Weight
	for _, x := range split.Shares {
		if slots[x.Version].Name == service && service != "" {
			weight = x.Weight
		}
	}
	if weight%100 == 0 {
		out[prefix+"-weight"] = strconv.Itoa(int(weight / 100))
	} else {
		out[prefix+"-weight"], out[prefix+"-weight-total"] = strconv.Itoa(int(weight)), strconv.Itoa(int(release.Full))
	}
	matched := slices.DeleteFunc(slices.Clone(split.Matched), func(m release.Matched) bool { return slots[m.Version].Name != service })
	if len(matched) != len(split.Matched) {
		return nil, errors.New("the NGINX ingress controller matches requests for the canary only, not for the version that has the rest: use another router")
	}
	if len(matched) > 1 {
		return nil, fmt.Errorf("the NGINX ingress controller takes one condition, and the step has %d: match one header, or use another router", len(matched))
	}
	if len(matched) == 0 {
		return out, nil
	}
	return out, condition(out, matched[0].Match)
}

// condition adds what a request must have to go to the canary.
func condition(out map[string]string, m release.Match) error {
	header := prefix + "-by-header"
	switch {
	case m.Path != "":
		return fmt.Errorf("the NGINX ingress controller can not match the path %s for a canary: match a header", m.Path)
	case len(m.Headers) == 1 && m.Cookie == nil:
		h := m.Headers[0]
		out[header] = h.Name
		switch {
		case h.Exact != "":
			out[header+"-value"] = h.Exact
		case h.Prefix != "":
			out[header+"-pattern"] = "^" + regexp.QuoteMeta(h.Prefix)
		default:
			out[header+"-pattern"] = "^(?:" + h.Regexp + ")$"
		}
	case len(m.Headers) == 0 && m.Cookie != nil:
		if m.Cookie.Exact != "always" {
			return fmt.Errorf("the NGINX ingress controller takes the canary's cookie %s with the value always only: write exact: always, or match a header", m.Cookie.Name)
		}
		out[prefix+"-by-cookie"] = m.Cookie.Name
	default:
		return errors.New("the NGINX ingress controller takes one header or one cookie as a condition: expected exactly one of them")
	}
	return nil
}
