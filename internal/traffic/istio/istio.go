// Package istio is the traffic.Router of Istio: VirtualServices with a share for
// each of two subsets, and a DestinationRule whose subsets select one version's
// pods each. Both are the user's own or Haldane's. It knows what an HTTP route
// and a subset look like; how a split comes and goes, package route knows.
//
// Read this file first, then render.go (a split in HTTP routes), match.go
// (conditions on requests) and subset.go (a version's pods as a subset).
package istio

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/traffic/route"
)

// VirtualService and DestinationRule are the kinds that are written.
var (
	VirtualService  = schema.GroupVersionKind{Group: "networking.istio.io", Version: "v1", Kind: "VirtualService"}
	DestinationRule = schema.GroupVersionKind{Group: "networking.istio.io", Version: "v1", Kind: "DestinationRule"}
)

// technology implements route.Technology.
type technology struct{ client *cluster.Client }

// New makes a router for releases with spec.traffic.istio. A nil now is the clock.
func New(c *cluster.Client, now func() time.Time) *route.Router {
	return route.New(c, technology{c}, now)
}

// Setup implements route.Technology. The subsets are written before the routes
// that lead to them.
func (t technology) Setup(_ context.Context, rel release.Release) (route.Setup, error) {
	i := rel.Traffic.Istio
	if i == nil {
		return route.Setup{}, fmt.Errorf("the traffic of release %s is of another kind: expected spec.traffic.istio", rel.Name)
	}
	for _, kind := range []schema.GroupVersionKind{VirtualService, DestinationRule} {
		if ok, err := t.client.Serves(kind); err != nil {
			return route.Setup{}, fmt.Errorf("ask whether the cluster has %s: %w", kind, err)
		} else if !ok {
			return route.Setup{}, fmt.Errorf("this cluster has no kind %s of %s: install Istio, or choose another router in spec.traffic", kind.Kind, kind.GroupVersion())
		}
	}
	s := route.Setup{Namespace: cluster.Key(rel.Name).Namespace, Service: i.Service, Settle: i.Settle,
		Slots: [2]string{i.DestinationRule.Stable, i.DestinationRule.Canary}, Subsets: true}
	h := host{service: i.Service, namespace: s.Namespace}
	s.Parts = []route.Part{rulePart(*i)}
	for _, v := range i.VirtualServices {
		s.Parts = append(s.Parts, servicePart(writer{host: h, slots: s.Slots, routes: v.Routes}, v.Name))
	}
	if len(i.VirtualServices) == 0 {
		p := servicePart(writer{host: h, slots: s.Slots, own: true}, i.Service)
		p.Own = func() map[string]any { return ownService(h, s.Slots) }
		s.Parts = append(s.Parts, p)
	}
	return s, nil
}

func servicePart(w writer, name string) route.Part {
	return route.Part{Kind: VirtualService, Name: name, Path: []string{"spec", "http"}, Render: w.render, Reset: w.reset}
}

// ownService is the VirtualService as a mesh behaves without it, apart from the
// route that keeps the subsets known.
func ownService(h host, slots [2]string) map[string]any {
	all := map[string]any{"route": []any{map[string]any{"destination": map[string]any{"host": h.service}}}}
	return map[string]any{"spec": map[string]any{"hosts": []any{h.service}, "http": []any{keep([]any{all}, h, slots), all}}}
}

// Check implements route.Technology: a second VirtualService for the host would
// leave it to Istio which of the two counts.
func (t technology) Check(ctx context.Context, s route.Setup, _ release.Split) error {
	i := slices.IndexFunc(s.Parts, func(p route.Part) bool { return p.Kind == VirtualService && p.Own != nil })
	if i < 0 {
		return nil
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(VirtualService)
	if err := t.client.List(ctx, list, client.InNamespace(s.Namespace)); err != nil {
		return fmt.Errorf("list the VirtualServices: %w", err)
	}
	h := host{service: s.Service, namespace: s.Namespace}
	for _, u := range list.Items {
		hosts, _, _ := unstructured.NestedStringSlice(u.Object, "spec", "hosts")
		if u.GetName() != s.Parts[i].Name && slices.ContainsFunc(hosts, h.is) {
			return fmt.Errorf("VirtualService %s has the host %s already: name it in spec.traffic.istio.virtualServices", u.GetName(), s.Service)
		}
	}
	return nil
}

// host is the Service under the names that Istio knows it by.
type host struct{ service, namespace string }

func (h host) is(name string) bool {
	full := h.service + "." + h.namespace
	return name == h.service || name == full || name == full+".svc" || strings.HasPrefix(name, full+".svc.")
}
