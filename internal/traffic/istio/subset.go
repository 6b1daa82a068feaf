package istio

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/traffic/route"
)

// rulePart is the DestinationRule. The one that Haldane owns has two subsets of
// all pods at rest.
func rulePart(i release.Istio) route.Part {
	d := subsets{i.DestinationRule.Stable, i.DestinationRule.Canary}
	p := route.Part{Kind: DestinationRule, Name: i.DestinationRule.Name, Path: []string{"spec", "subsets"}, Render: d.render, Reset: d.reset}
	if p.Name == "" {
		p.Name = i.Service
		p.Own = func() map[string]any {
			all := []any{map[string]any{"name": d[0]}, map[string]any{"name": d[1]}}
			return map[string]any{"spec": map[string]any{"host": i.Service, "subsets": all}}
		}
	}
	return p
}

// subsets are the names of stable's and canary's.
type subsets [2]string

// render implements route.Part.Render: each of the two subsets selects the pods
// of its version. One whose version has none yet keeps its labels; nothing is
// sent there.
func (d subsets) render(original []any, _ release.Split, slots route.Slots) (route.Rendering, error) {
	var out route.Rendering
	for i, item := range original {
		out.Items, out.From = append(out.Items, d.selecting(item, slots)), append(out.From, i)
	}
	for _, name := range d {
		if !slices.ContainsFunc(original, func(x any) bool { return nameOf(x) == name }) {
			out.Items, out.From = append(out.Items, d.selecting(map[string]any{"name": name}, slots)), append(out.From, -1)
		}
	}
	return out, nil
}

func (d subsets) selecting(item any, slots route.Slots) any {
	for _, slot := range slots {
		if slot.Name == nameOf(item) {
			c := copyOf(item)
			c["labels"] = map[string]any{appsv1.DefaultDeploymentUniqueLabelKey: slot.Hash}
			return c
		}
	}
	return item
}

// reset implements route.Part.Reset: the labels that the user wrote.
func (d subsets) reset(item map[string]any, original []any) bool {
	labels, _ := item["labels"].(map[string]any)
	if _, ours := labels[appsv1.DefaultDeploymentUniqueLabelKey]; !ours || !slices.Contains(d[:], nameOf(item)) {
		return false
	}
	delete(item, "labels")
	for _, o := range original {
		if was, ok := copyOf(o)["labels"]; ok && nameOf(o) == nameOf(item) {
			item["labels"] = was
		}
	}
	return true
}

func nameOf(item any) string {
	m, _ := item.(map[string]any)
	name, _ := m["name"].(string)
	return name
}

// copyOf copies an object of plain data, so that the original stays whole.
func copyOf(v any) map[string]any {
	m, _ := route.Clone(v).(map[string]any)
	return m
}
