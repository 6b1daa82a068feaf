// Package gatewayapi is the traffic.Router of the Gateway API: any
// implementation's HTTPRoutes and GRPCRoutes, the user's own, and Linkerd's, which
// are HTTPRoutes with a Service as their parent. It knows what a rule looks like
// and how its status reads; how a split comes and goes, package route knows.
//
// Read this file first, then render.go (a split in rules), match.go (header
// matches) and status.go (what was taken in, what is supported).
package gatewayapi

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/traffic/route"
)

const group = "gateway.networking.k8s.io"

// HTTPRoute and GRPCRoute are the kinds that are written.
var (
	HTTPRoute = schema.GroupVersionKind{Group: group, Version: "v1", Kind: "HTTPRoute"}
	GRPCRoute = schema.GroupVersionKind{Group: group, Version: "v1", Kind: "GRPCRoute"}
)

// technology implements route.Technology.
type technology struct{ client *cluster.Client }

// New makes a router for releases with spec.traffic.gatewayAPI or linkerd. A nil
// now is the clock.
func New(c *cluster.Client, now func() time.Time) *route.Router {
	return route.New(c, technology{c}, now)
}

// Setup implements route.Technology.
func (t technology) Setup(ctx context.Context, rel release.Release) (route.Setup, error) {
	s := route.Setup{Namespace: cluster.Key(rel.Name).Namespace}
	switch g, l := rel.Traffic.GatewayAPI, rel.Traffic.Linkerd; {
	case g != nil:
		s.Service, s.Settle = g.Service, g.Settle
		for _, r := range g.Routes {
			s.Parts = append(s.Parts, userRoute(g.Service, r))
		}
	case l != nil:
		s.Service, s.Settle = l.Service, l.Settle
		part, err := t.meshRoute(ctx, s, *l)
		if err != nil {
			return s, err
		}
		s.Parts = []route.Part{part}
	default:
		return s, fmt.Errorf("the traffic of release %s is of another kind: expected spec.traffic.gatewayAPI or linkerd", rel.Name)
	}
	s.Slots = [2]string{cluster.StableService(s.Service), cluster.CanaryService(s.Service)}
	return s, nil
}

func userRoute(service string, r release.RouteRef) route.Part {
	kind := HTTPRoute
	if r.Kind == GRPCRoute.Kind {
		kind = GRPCRoute
	}
	w := writer{kind: kind, service: service, rules: r.Rules}
	return route.Part{Kind: kind, Name: r.Name, Path: []string{"spec", "rules"}, Render: w.render, Reset: w.reset, Accepted: accepted}
}

// linkerdKinds are where an HTTPRoute with a Service as parent may be written,
// the wider known first.
var linkerdKinds = []schema.GroupVersionKind{HTTPRoute, {Group: "policy.linkerd.io", Version: "v1beta3", Kind: "HTTPRoute"}}

// meshRoute is the route of a Service that clients in a mesh ask. Haldane owns
// it; at rest there is none.
func (t technology) meshRoute(ctx context.Context, s route.Setup, l release.Linkerd) (route.Part, error) {
	kind, err := t.served(linkerdKinds)
	if err != nil {
		return route.Part{}, err
	}
	if l.Port == 0 {
		if l.Port, err = t.port(ctx, s); err != nil {
			return route.Part{}, err
		}
	}
	w := writer{kind: kind, service: l.Service}
	return route.Part{Kind: kind, Name: l.Service, Path: []string{"spec", "rules"}, Render: w.render, Reset: w.reset, Accepted: accepted,
		Transient: true, Own: func() map[string]any { return meshObject(kind, l) }}, nil
}

// served is the first of the kinds that the cluster has.
func (t technology) served(kinds []schema.GroupVersionKind) (schema.GroupVersionKind, error) {
	for _, k := range kinds {
		ok, err := t.client.Serves(k)
		if err != nil {
			return k, fmt.Errorf("ask whether the cluster has %s: %w", k, err)
		}
		if ok {
			return k, nil
		}
	}
	return kinds[0], fmt.Errorf("this cluster has no HTTPRoute, neither of %s nor of policy.linkerd.io: install the Gateway API's or Linkerd's definitions", group)
}

// meshObject is the route as a mesh behaves without it.
func meshObject(kind schema.GroupVersionKind, l release.Linkerd) map[string]any {
	parentGroup := ""
	if kind.Group != group {
		parentGroup = "core" // policy.linkerd.io's name for it
	}
	parent := map[string]any{"group": parentGroup, "kind": "Service", "name": l.Service, "port": int64(l.Port)}
	ref := map[string]any{"group": "", "kind": "Service", "name": l.Service, "port": int64(l.Port), "weight": int64(1)}
	rule := map[string]any{
		"matches":     []any{map[string]any{"path": map[string]any{"type": "PathPrefix", "value": "/"}}},
		"backendRefs": []any{ref},
	}
	return map[string]any{"spec": map[string]any{"parentRefs": []any{parent}, "rules": []any{rule}}}
}

// Check implements route.Technology: a mirror is refused where the gateway's
// class does not list it, since some then fail every request of the rule.
func (t technology) Check(ctx context.Context, s route.Setup, split release.Split) error {
	if split.Mirror == nil {
		return nil
	}
	for _, p := range s.Parts {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(p.Kind)
		if err := t.client.Get(ctx, key(s.Namespace, p.Name), u); err != nil {
			return fmt.Errorf("read %s: %w", p, err)
		}
		if err := t.mirrors(ctx, u, split.Mirror.Share); err != nil {
			return err
		}
	}
	return nil
}

// port is the port of the user's Service, where it has one only.
func (t technology) port(ctx context.Context, s route.Setup) (int32, error) {
	var svc corev1.Service
	if err := t.client.Get(ctx, key(s.Namespace, s.Service), &svc); err != nil {
		return 0, fmt.Errorf("read Service %s: %w", s.Service, err)
	}
	if len(svc.Spec.Ports) != 1 {
		return 0, fmt.Errorf("Service %s has %d ports: say which one is split in spec.traffic.linkerd.port", s.Service, len(svc.Spec.Ports))
	}
	return svc.Spec.Ports[0].Port, nil
}
