package app

import (
	"context"
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/features"

	"github.com/haldane-project/haldane/internal/traffic/gatewayapi"
	"github.com/haldane-project/haldane/internal/traffic/istio"
)

// routers says which of them the cluster has. None has to be there: what a release
// needs is looked at with the release.
func (k *clusterCheck) routers(ctx context.Context) {
	have, lack := []string{}, []string{}
	for _, r := range []struct {
		name string
		kind schema.GroupVersionKind
		more func(context.Context) string
	}{
		{"Gateway API", gatewayapi.HTTPRoute, k.gatewayClasses},
		{"Istio", istio.VirtualService, nil},
		{"Linkerd", schema.GroupVersionKind{Group: "policy.linkerd.io", Version: "v1beta3", Kind: "HTTPRoute"}, nil},
		{"NGINX", networkingv1.SchemeGroupVersion.WithKind("IngressClass"), k.ingressClasses},
	} {
		served, err := k.client.Serves(r.kind)
		more := ""
		if err == nil && served && r.more != nil {
			more = r.more(ctx)
		}
		switch {
		case err != nil:
			k.warn("routers", fmt.Sprintf("whether there is %s is not known: %v", r.name, err), "try it again")
		case !served || more == "" && r.more != nil:
			lack = append(lack, r.name)
		case more != "":
			have = append(have, r.name+" ("+more+")")
		default:
			have = append(have, r.name)
		}
	}
	found := "replicas alone"
	if len(have) > 0 {
		found = strings.Join(have, "; ")
	}
	if len(lack) > 0 {
		found += "; not here: " + strings.Join(lack, ", ")
	}
	k.ok("routers", found)
}

// gatewayClasses are the implementations of the Gateway API, and whether they say
// that they copy requests.
func (k *clusterCheck) gatewayClasses(ctx context.Context) string {
	var list gatewayv1.GatewayClassList
	if err := k.live.List(ctx, &list); err != nil {
		return "its classes can not be seen: " + err.Error()
	}
	var out []string
	for _, c := range list.Items {
		copies := "copies no requests"
		if slices.ContainsFunc(c.Status.SupportedFeatures, func(f gatewayv1.SupportedFeature) bool {
			return string(f.Name) == string(features.SupportHTTPRouteRequestMirror)
		}) {
			copies = "copies requests"
		}
		out = append(out, fmt.Sprintf("class %s of %s, which %s", c.Name, c.Spec.ControllerName, copies))
	}
	if len(out) == 0 {
		return "its kinds, but no GatewayClass"
	}
	return strings.Join(out, ", ")
}

// ingressClasses are those of the NGINX ingress controller; empty: there is none.
func (k *clusterCheck) ingressClasses(ctx context.Context) string {
	var list networkingv1.IngressClassList
	if err := k.live.List(ctx, &list); err != nil {
		return "its classes can not be seen: " + err.Error()
	}
	var out []string
	for _, c := range list.Items {
		if c.Spec.Controller == "k8s.io/ingress-nginx" {
			out = append(out, "class "+c.Name)
		}
	}
	return strings.Join(out, ", ")
}
