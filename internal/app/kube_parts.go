package app

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/traffic"
	"github.com/haldane-project/haldane/internal/traffic/gatewayapi"
	"github.com/haldane-project/haldane/internal/traffic/istio"
	"github.com/haldane-project/haldane/internal/traffic/nginx"
)

// trafficField names the field of spec.traffic that is set.
func trafficField(t release.Traffic) string {
	for name, set := range map[string]bool{
		"embedded": t.Embedded != nil, "gatewayAPI": t.GatewayAPI != nil, "istio": t.Istio != nil,
		"linkerd": t.Linkerd != nil, "nginx": t.NGINX != nil, "replicas": t.Replicas != nil,
	} {
		if set {
			return name
		}
	}
	return ""
}

// routers is the router of each release by the field of spec.traffic that it sets.
type routers map[string]traffic.Router

var _ traffic.Router = routers(nil)

func (r routers) of(rel release.Release) (traffic.Router, error) {
	field := trafficField(rel.Traffic)
	if router, ok := r[field]; ok {
		return router, nil
	}
	return nil, fmt.Errorf("spec.traffic.%s: this controller has no such router; it has %s", field, strings.Join(slices.Sorted(maps.Keys(r)), ", "))
}

// Apply implements traffic.Router.
func (r routers) Apply(ctx context.Context, t traffic.Target) error {
	one, err := r.of(t.Release)
	if err != nil {
		return err
	}
	return one.Apply(ctx, t)
}

// Observe implements traffic.Router.
func (r routers) Observe(ctx context.Context, rel release.Release) (rollout.ObservedSplit, error) {
	one, err := r.of(rel)
	if err != nil {
		return rollout.ObservedSplit{}, err
	}
	return one.Observe(ctx, rel)
}

// Remove implements traffic.Router.
func (r routers) Remove(ctx context.Context, rel release.Release) error {
	one, err := r.of(rel)
	if err != nil {
		return err
	}
	return one.Remove(ctx, rel)
}

// references are the objects beside its Deployment that a Release works with.
func references(rel *v1alpha1.Release) []string {
	var out []string
	add := func(kind, name string) {
		if name != "" {
			out = append(out, kind+"/"+name)
		}
	}
	if d := rel.Spec.Workload.Deployment; d != nil && d.Content != nil {
		for _, name := range d.Content.ConfigMaps {
			add("ConfigMap", name)
		}
		for _, name := range d.Content.Secrets {
			add("Secret", name)
		}
	}
	t := rel.Spec.Traffic
	if g := t.GatewayAPI; g != nil {
		add("Service", g.Service)
		for _, r := range g.Routes {
			kind := r.Kind
			if kind == "" {
				kind = "HTTPRoute"
			}
			add(kind, r.Name)
		}
	}
	if i := t.Istio; i != nil {
		add("Service", i.Service)
		add("VirtualService", i.Service)
		add("DestinationRule", i.Service)
		for _, v := range i.VirtualServices {
			add("VirtualService", v.Name)
		}
		if i.DestinationRule != nil {
			add("DestinationRule", i.DestinationRule.Name)
		}
	}
	if l := t.Linkerd; l != nil {
		add("Service", l.Service)
		add("HTTPRoute", l.Service)
	}
	if n := t.NGINX; n != nil {
		add("Service", n.Service)
		add("Ingress", n.Ingress)
	}
	if r := t.Replicas; r != nil {
		add("Service", r.Service)
	}
	return out
}

// optionalGVKs are the kinds of routes that a cluster may lack.
func optionalGVKs() []schema.GroupVersionKind {
	return []schema.GroupVersionKind{
		gatewayapi.HTTPRoute, gatewayapi.GRPCRoute,
		{Group: "policy.linkerd.io", Version: "v1beta3", Kind: "HTTPRoute"},
		istio.VirtualService, istio.DestinationRule, nginx.Ingress,
	}
}

// optionalKinds are objects of these kinds, as the routers read them.
func optionalKinds() []client.Object {
	var out []client.Object
	for _, kind := range optionalGVKs() {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(kind)
		out = append(out, u)
	}
	return out
}
