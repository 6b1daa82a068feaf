package gatewayapi

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/features"

	"github.com/haldane-project/haldane/internal/release"
)

func key(ns, name string) types.NamespacedName {
	return types.NamespacedName{Namespace: ns, Name: name}
}

// route is what the kinds have in common.
type common struct {
	Spec   gatewayv1.CommonRouteSpec `json:"spec"`
	Status gatewayv1.RouteStatus     `json:"status"`
}

func commonOf(u *unstructured.Unstructured) (common, error) {
	var c common
	err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &c)
	return c, err
}

// accepted implements route.Part.Accepted: every parent says Accepted and
// ResolvedRefs, for this generation where it says for which one.
func accepted(u *unstructured.Unstructured) (bool, error) {
	c, err := commonOf(u)
	if err != nil {
		return false, err
	}
	all := len(c.Status.Parents) > 0
	for _, p := range c.Status.Parents {
		for _, want := range []string{string(gatewayv1.RouteConditionAccepted), string(gatewayv1.RouteConditionResolvedRefs)} {
			ok := false
			for _, x := range p.Conditions {
				if x.Type != want || x.ObservedGeneration != 0 && x.ObservedGeneration < u.GetGeneration() {
					continue
				}
				if x.Status == "False" {
					return false, fmt.Errorf("%s says that it is not %s (%s): %s", p.ControllerName, want, x.Reason, x.Message)
				}
				ok = x.Status == "True"
			}
			all = all && ok
		}
	}
	return all && len(c.Status.Parents) >= len(c.Spec.ParentRefs), nil
}

// mirrors reports why an implementation does not copy requests of a route. The
// Gateway and its class are asked for at the server: nothing else needs them. Of
// GRPCRoutes the Gateway API has no feature by which a class could say that it does.
func (t technology) mirrors(ctx context.Context, u *unstructured.Unstructured, share release.Weight) error {
	if u.GetKind() != "HTTPRoute" {
		return fmt.Errorf("%s %s: no gateway can say that it copies requests of this kind of route, so none is copied: use a plan without mirror, or an HTTPRoute", u.GetKind(), u.GetName())
	}
	c, err := commonOf(u)
	if err != nil {
		return err
	}
	for _, p := range c.Spec.ParentRefs {
		if p.Kind != nil && *p.Kind != "Gateway" {
			return fmt.Errorf("%s %s has a %s as its parent, and nothing says that requests are copied there: use a plan without mirror", u.GetKind(), u.GetName(), *p.Kind)
		}
		ns := u.GetNamespace()
		if p.Namespace != nil {
			ns = string(*p.Namespace)
		}
		var g gatewayv1.Gateway
		if err := t.client.Live(ctx, key(ns, string(p.Name)), &g); err != nil {
			return fmt.Errorf("read Gateway %s/%s: %w", ns, p.Name, err)
		}
		var class gatewayv1.GatewayClass
		if err := t.client.Live(ctx, key("", string(g.Spec.GatewayClassName)), &class); err != nil {
			return fmt.Errorf("read GatewayClass %s: %w", g.Spec.GatewayClassName, err)
		}
		for _, f := range mirrorFeatures(share) {
			if !slices.ContainsFunc(class.Status.SupportedFeatures, func(s gatewayv1.SupportedFeature) bool { return string(s.Name) == f }) {
				return fmt.Errorf("GatewayClass %s does not list %s among its supported features, so no request is copied: use a plan without mirror, or another gateway", class.Name, f)
			}
		}
	}
	return nil
}

func mirrorFeatures(share release.Weight) []string {
	list := []string{string(features.SupportHTTPRouteRequestMirror)}
	if share != release.Full {
		list = append(list, string(features.SupportHTTPRouteRequestPercentageMirror))
	}
	return list
}
