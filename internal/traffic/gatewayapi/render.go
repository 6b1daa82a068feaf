package gatewayapi

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/traffic/route"
)

// maxWeight is the largest weight that the API takes.
const maxWeight = 1_000_000

// writer writes splits into the rules of one route.
type writer struct {
	kind    schema.GroupVersionKind
	service string
	rules   []string // by name or number; empty: all that refer to the Service
}

// render implements route.Part.Render.
func (w writer) render(original []any, split release.Split, slots route.Slots) (route.Rendering, error) {
	var out route.Rendering
	found := false
	for i, item := range original {
		rule, _ := item.(map[string]any)
		if !w.wants(i, rule) || !w.refers(rule) {
			out.Items, out.From = append(out.Items, item), append(out.From, i)
			continue
		}
		found = true
		for _, m := range split.Matched {
			extra, err := w.matched(rule, m.Match, slots[m.Version].Name)
			if err != nil {
				return out, fmt.Errorf("rule %d: %w", i, err)
			}
			if extra != nil {
				out.Items, out.From = append(out.Items, extra), append(out.From, -1)
			}
		}
		parted, err := w.parted(rule, split, slots)
		if err != nil {
			return out, fmt.Errorf("rule %d: %w", i, err)
		}
		out.Items, out.From = append(out.Items, parted), append(out.From, i)
	}
	if !found {
		return out, fmt.Errorf("no rule%s sends requests to Service %s (they go to %s): name the Service that they go to in spec.traffic, or another route",
			w.named(), w.service, backends(original))
	}
	return out, nil
}

func (w writer) named() string {
	if len(w.rules) == 0 {
		return ""
	}
	return " of " + strings.Join(w.rules, ", ")
}

// wants reports whether a rule is to be split.
func (w writer) wants(i int, rule map[string]any) bool {
	name, _ := rule["name"].(string)
	return len(w.rules) == 0 || name != "" && slices.Contains(w.rules, name) || slices.Contains(w.rules, strconv.Itoa(i))
}

func refs(rule map[string]any) []any {
	list, _ := rule["backendRefs"].([]any)
	return list
}

// to is the Service that a reference leads to; empty: it leads elsewhere.
func to(item any) string {
	ref, _ := item.(map[string]any)
	if g, _ := ref["group"].(string); g != "" {
		return ""
	}
	if k, ok := ref["kind"].(string); ok && k != "Service" {
		return ""
	}
	if ns, _ := ref["namespace"].(string); ns != "" {
		return ""
	}
	name, _ := ref["name"].(string)
	return name
}

func (w writer) refers(rule map[string]any) bool {
	return slices.ContainsFunc(refs(rule), func(r any) bool { return to(r) == w.service })
}

func backends(rules []any) string {
	var names []string
	for _, item := range rules {
		rule, _ := item.(map[string]any)
		for _, r := range refs(rule) {
			if n := to(r); n != "" && !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	if len(names) == 0 {
		return "no Service"
	}
	return strings.Join(names, ", ")
}

// lead is a copy of a reference that leads to another Service.
func lead(ref any, service string, weight int64) map[string]any {
	c := copyOf(ref)
	c["name"], c["weight"] = service, weight
	return c
}

// parted is a rule whose references to the Service lead to the slots. A version
// without weight is left out: an implementation may drop a rule for the sake of
// one Service without endpoints.
func (w writer) parted(rule map[string]any, split release.Split, slots route.Slots) (map[string]any, error) {
	out := copyOf(rule)
	var list []any
	for _, item := range refs(rule) {
		ref, _ := item.(map[string]any)
		weight := weightOf(ref)
		if to(item) != w.service {
			list = append(list, lead(ref, name(ref), weight*int64(release.Full)))
			continue
		}
		for _, x := range split.Shares {
			if x.Weight > 0 {
				list = append(list, lead(ref, slots[x.Version].Name, weight*int64(x.Weight)))
			}
		}
	}
	if err := reduce(list); err != nil {
		return nil, err
	}
	out["backendRefs"] = list
	if split.Mirror != nil {
		w.mirror(out, rule, split.Mirror, slots)
	}
	return out, nil
}

func name(ref map[string]any) string { s, _ := ref["name"].(string); return s }

func weightOf(ref map[string]any) int64 {
	switch n := ref["weight"].(type) {
	case int64:
		return n
	case float64:
		return int64(n)
	}
	return 1
}

// reduce brings weights to hundredths where they are whole percents, and within
// what the API takes.
func reduce(list []any) error {
	var total, d int64
	for _, r := range list {
		n := weightOf(r.(map[string]any))
		total, d = total+n, gcd(d, n)
	}
	if total == 0 {
		return nil
	}
	by := d
	if total%100 == 0 && d%(total/100) == 0 {
		by = total / 100 // whole percents are written as such
	}
	for _, r := range list {
		ref := r.(map[string]any)
		n := weightOf(ref) / by
		if n > maxWeight {
			return fmt.Errorf("its weights are too far apart to be split by 0.01 %%: the largest would be %d of at most %d; use smaller weights", n, maxWeight)
		}
		ref["weight"] = n
	}
	return nil
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// mirror adds the filter that copies requests.
func (w writer) mirror(out, rule map[string]any, m *release.Mirror, slots route.Slots) {
	i := slices.IndexFunc(refs(rule), func(r any) bool { return to(r) == w.service })
	ref, _ := refs(rule)[i].(map[string]any)
	backend := map[string]any{"group": "", "kind": "Service", "name": slots[m.Version].Name}
	if port, ok := ref["port"]; ok {
		backend["port"] = port
	}
	copying := map[string]any{"backendRef": backend}
	switch {
	case m.Share == release.Full:
	case m.Share%100 == 0:
		copying["percent"] = int64(m.Share / 100)
	default:
		copying["fraction"] = map[string]any{"numerator": int64(m.Share), "denominator": int64(release.Full)}
	}
	filters, _ := out["filters"].([]any)
	out["filters"] = append(slices.Clone(filters), map[string]any{"type": "RequestMirror", "requestMirror": copying})
}

// reset implements route.Part.Reset: the slots' references become one to the Service.
func (w writer) reset(rule map[string]any, _ []any) bool {
	ours := []string{cluster.StableService(w.service), cluster.CanaryService(w.service)}
	var list []any
	done := false
	for _, r := range refs(rule) {
		if !slices.Contains(ours, to(r)) {
			list = append(list, r)
			continue
		}
		if !done {
			list = append(list, lead(r, w.service, 1))
		}
		done = true
	}
	if done {
		rule["backendRefs"] = list
	}
	filters, _ := rule["filters"].([]any)
	left := slices.DeleteFunc(slices.Clone(filters), func(f any) bool {
		m, _ := f.(map[string]any)
		r, _ := m["requestMirror"].(map[string]any)
		return slices.Contains(ours, to(r["backendRef"]))
	})
	if len(left) < len(filters) {
		done = true
		if rule["filters"] = left; len(left) == 0 {
			delete(rule, "filters")
		}
	}
	return done
}

// copyOf copies an object of plain data, so that the original stays whole.
func copyOf(v any) map[string]any {
	m, _ := route.Clone(v).(map[string]any)
	return m
}
