package istio

import (
	"fmt"
	"slices"
	"strings"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/traffic/route"
)

// writer writes splits into the HTTP routes of one VirtualService.
type writer struct {
	host   host
	slots  [2]string // the subsets' names
	routes []string  // by name; empty: all that send requests to the host
	own    bool      // the original has the route that keeps the subsets known
}

// render implements route.Part.Render.
func (w writer) render(original []any, split release.Split, slots route.Slots) (route.Rendering, error) {
	var out route.Rendering
	var ours []any
	for i, item := range original {
		rule, _ := item.(map[string]any)
		if !w.wants(rule) {
			out.Items, out.From = append(out.Items, item), append(out.From, i)
			continue
		}
		ours = append(ours, rule)
		for _, m := range split.Matched {
			extra, err := w.matched(rule, m.Match, slots[m.Version].Name)
			if err != nil {
				return out, fmt.Errorf("HTTP route %d: %w", i, err)
			}
			if extra != nil {
				out.Items, out.From = append(out.Items, extra), append(out.From, -1)
			}
		}
		parted, err := w.parted(rule, split, slots)
		if err != nil {
			return out, fmt.Errorf("HTTP route %d: %w", i, err)
		}
		out.Items, out.From = append(out.Items, parted), append(out.From, i)
	}
	if len(ours) == 0 {
		return out, fmt.Errorf("no HTTP route%s sends requests to Service %s (they go to %s): name the Service that they go to in spec.traffic, or another VirtualService",
			w.named(), w.host.service, hosts(original))
	}
	if !w.own {
		out.Items, out.From = slices.Insert(out.Items, 0, any(keep(ours, w.host, w.slots))), slices.Insert(out.From, 0, -1)
	}
	return out, nil
}

func (w writer) named() string {
	if len(w.routes) == 0 {
		return ""
	}
	return " of " + strings.Join(w.routes, ", ")
}

// wants reports whether a route is to be split.
func (w writer) wants(rule map[string]any) bool {
	return nameOf(rule) != keepName && (len(w.routes) == 0 || slices.Contains(w.routes, nameOf(rule))) &&
		slices.ContainsFunc(destinations(rule), w.parts)
}

// parts reports whether a destination is the host, as a whole or as one of the
// two subsets.
func (w writer) parts(d any) bool {
	subset, _ := to(d)["subset"].(string)
	name, _ := to(d)["host"].(string)
	return w.host.is(name) && (subset == "" || slices.Contains(w.slots[:], subset))
}

func destinations(rule map[string]any) []any {
	list, _ := rule["route"].([]any)
	return list
}

func to(d any) map[string]any {
	m, _ := d.(map[string]any)
	t, _ := m["destination"].(map[string]any)
	return t
}

func hosts(rules []any) string {
	var names []string
	for _, item := range rules {
		rule, _ := item.(map[string]any)
		for _, d := range destinations(rule) {
			if n, _ := to(d)["host"].(string); n != "" && !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	if len(names) == 0 {
		return "no host"
	}
	return strings.Join(names, ", ")
}

// keepName is the route that keeps the subsets known.
const keepName = "haldane-keep-subsets"

// keep is a route that matches nothing and refers to all that a split may lead
// to. A client asks for what routes refer to when they first do, and a gRPC
// client without a proxy fails requests until it has it.
func keep(rules []any, h host, slots [2]string) map[string]any {
	var list []any
	seen := map[string]bool{}
	w := writer{host: h, slots: slots}
	for _, item := range rules {
		rule, _ := item.(map[string]any)
		for _, d := range destinations(rule) {
			port := fmt.Sprint(to(d)["port"])
			if !w.parts(d) || seen[port] {
				continue
			}
			seen[port] = true
			for _, subset := range []string{"", slots[0], slots[1]} {
				list = append(list, lead(map[string]any{"destination": to(d)}, subset, 0))
			}
		}
	}
	for i, d := range list {
		d.(map[string]any)["weight"] = int64(100 / len(list))
		if i == 0 {
			d.(map[string]any)["weight"] = int64(100 - (len(list)-1)*(100/len(list)))
		}
	}
	never := map[string]any{"x-haldane": map[string]any{"exact": "never"}}
	return map[string]any{"name": keepName, "route": list,
		"match": []any{map[string]any{"headers": never, "withoutHeaders": copyOf(never)}}}
}

// lead is a copy of a destination that leads to a subset; empty: to the host.
func lead(d any, subset string, weight int64) map[string]any {
	c := copyOf(d)
	t := copyOf(c["destination"])
	if t["subset"] = subset; subset == "" {
		delete(t, "subset")
	}
	c["destination"], c["weight"] = t, weight
	return c
}

// parted is a route whose destinations of the host lead to the subsets. Those
// of the user's keep their share of the whole.
func (w writer) parted(rule map[string]any, split release.Split, slots route.Slots) (map[string]any, error) {
	if err := sums(rule); err != nil {
		return nil, err
	}
	out := copyOf(rule)
	var list []any
	at, ours := -1, int64(0)
	for _, d := range destinations(rule) {
		if w.parts(d) {
			if ours += weightOf(rule, d); at < 0 {
				at = len(list)
			}
			continue
		}
		c := copyOf(d)
		c["weight"] = weightOf(rule, d) * int64(release.Full)
		list = append(list, c)
	}
	first := slices.IndexFunc(destinations(rule), w.parts)
	for _, x := range slices.Backward(split.Shares) {
		if x.Weight > 0 {
			list = slices.Insert(list, at, any(lead(destinations(rule)[first], slots[x.Version].Name, ours*int64(x.Weight))))
		}
	}
	out["route"] = reduce(list)
	if split.Mirror != nil {
		return out, w.mirror(out, split.Mirror, destinations(rule)[first], slots)
	}
	return out, nil
}

// sums refuses weights of the user's that are not percents of a whole: Istio
// takes 90 and 20 and divides by 110.
func sums(rule map[string]any) error {
	var sum int64
	for _, d := range destinations(rule) {
		sum += weightOf(rule, d)
	}
	if sum != 100 {
		return fmt.Errorf("the weights of its destinations sum to %d, of which Istio takes each one's part: expected 100; write the percents that you mean", sum)
	}
	return nil
}

// weightOf is a destination's weight; the only one has all.
func weightOf(rule map[string]any, d any) int64 {
	if len(destinations(rule)) == 1 {
		return 100
	}
	m, _ := d.(map[string]any)
	switch n := m["weight"].(type) {
	case int64:
		return n
	case float64:
		return int64(n)
	}
	return 0
}

// reduce brings weights of 1,000,000 in all to those of 100, or where they are
// no whole percents of 10,000 or more.
func reduce(list []any) []any {
	by := int64(release.Full)
	for _, d := range list {
		for n := d.(map[string]any)["weight"].(int64); n%by != 0; {
			by /= 100
		}
	}
	for _, d := range list {
		m := d.(map[string]any)
		m["weight"] = m["weight"].(int64) / by
	}
	return list
}

// mirror adds the copying of requests.
func (w writer) mirror(out map[string]any, m *release.Mirror, d any, slots route.Slots) error {
	if out["mirror"] != nil || out["mirrors"] != nil {
		return fmt.Errorf("it copies requests already: use a plan without mirror, or take the mirror out")
	}
	out["mirror"] = lead(d, slots[m.Version].Name, 0)["destination"]
	out["mirrorPercentage"] = map[string]any{"value": float64(m.Share) / 100}
	return nil
}

// reset implements route.Part.Reset: the destinations of the host become those
// of the user's route of the same name and match, or the host.
func (w writer) reset(rule map[string]any, original []any) bool {
	ours := func(d any) bool { _, has := to(d)["subset"]; return has && w.parts(d) }
	if !slices.ContainsFunc(destinations(rule), ours) {
		return false
	}
	back := []any{}
	i := slices.IndexFunc(original, func(o any) bool { return w.same(rule, copyOf(o)) })
	if i >= 0 {
		back = destinations(copyOf(original[i]))
	} else {
		first := slices.IndexFunc(destinations(rule), ours)
		share := int64(100)
		for _, d := range destinations(rule) {
			if !w.parts(d) {
				back, share = append(back, d), share-weightOf(rule, d)
			}
		}
		back = append(back, lead(destinations(rule)[first], "", share))
	}
	rule["route"] = back
	if subset, _ := to(map[string]any{"destination": rule["mirror"]})["subset"].(string); slices.Contains(w.slots[:], subset) {
		delete(rule, "mirror")
		delete(rule, "mirrorPercentage")
	}
	return true
}

// same reports whether two states of a route are of one.
func (w writer) same(a, b map[string]any) bool {
	if !w.wants(b) {
		return false
	}
	if nameOf(a) != "" || nameOf(b) != "" {
		return nameOf(a) == nameOf(b)
	}
	return fmt.Sprint(a["match"]) == fmt.Sprint(b["match"])
}
