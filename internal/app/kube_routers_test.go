package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/haldane-project/haldane/internal/kube"
	"github.com/haldane-project/haldane/test/cluster"
)

// routed are the routers of a cluster with what their users have.
var routed = []struct{ name, traffic, objects string }{
	{"gatewayAPI", "{gatewayAPI: {service: hello, routes: [{name: web}, {kind: GRPCRoute, name: rpc}]}}", `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec: {parentRefs: [{name: gateway}], rules: [{backendRefs: [{name: hello, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: rpc}
spec: {parentRefs: [{name: gateway}], rules: [{backendRefs: [{name: hello, port: 80}]}]}
`},
	{"istio", "{istio: {service: hello}}", ""},
	{"linkerd", "{linkerd: {service: hello}}", ""},
	{"nginx", "{nginx: {service: hello, ingress: web}}", `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec:
  ingressClassName: nginx
  rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: hello, port: {number: 80}}}}]}}]
`},
	{"replicas", "{replicas: {}}", ""},
}

const shopService = `
apiVersion: v1
kind: Service
metadata: {name: hello}
spec: {selector: {app: hello}, ports: [{name: http, port: 80, targetPort: 8080}]}
`

// linkerdKind is enough of Linkerd's own definition to be served and watched.
const linkerdKind = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: httproutes.policy.linkerd.io}
spec:
  group: policy.linkerd.io
  scope: Namespaced
  names: {kind: HTTPRoute, listKind: HTTPRouteList, plural: httproutes, singular: httproute}
  versions:
  - {name: v1beta3, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`

// TestClusterRouters makes a whole run with each router, from apply to a deleted
// Release, under the rights of deploy/rbac: nothing is refused. That is checked
// whenever a controller of these tests ends (hadRights).
func TestClusterRouters(t *testing.T) {
	c := cluster.New(t) // other tests want a cluster that lacks these kinds
	c.GatewayAPI(t)
	c.IstioCRDs(t)
	c.Apply(t, "", linkerdKind)
	for _, r := range routed {
		t.Run(r.name, func(t *testing.T) {
			s, stop := newRoutedShop(t, c, r.traffic, r.objects)
			s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v2"))
			s.until("v2 has half of the traffic", s.weighs("hello", "50%"))
			s.annotate("hello", `{"haldane.dev/promote-full": "hello-2"}`)
			s.until("v2 serves", s.serves("hello", "v2"))
			s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v3"))
			s.until("v3 has half of the traffic", s.weighs("hello", "50%"))
			rel := s.release("hello")
			if err := s.live.Delete(t.Context(), &rel); err != nil {
				t.Fatal(err)
			}
			s.until("the Release is gone", func() error {
				if rel := s.release("hello"); rel.Name != "" {
					return errors.New(rel.Status.Message)
				}
				return nil
			})
			stop()
		})
	}
	t.Run("a selector that matches nothing", func(t *testing.T) { selectorOfNothing(t, c) })
	t.Run("a route to another Service", func(t *testing.T) { routeToAnother(t, c) })
}

// newRoutedShop is a shop whose first version serves through a router.
func newRoutedShop(t *testing.T, c *cluster.Cluster, traffic, objects string) (s *shop, stop func()) {
	s = newShopOn(t, c)
	s.evidence = newScript()
	s.acceptRoutes()
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v1"), shopService)
	if objects != "" {
		s.Cluster.Apply(t, s.ns, objects)
	}
	s.Cluster.Apply(t, s.ns, strings.Replace(halfRelease, "{replicas: {}}", traffic, 1))
	stop = s.start(func(sh *kube.Shell, o ControllerOptions) (parts, error) {
		return parts{router: clusterRouters(sh.Client), metrics: s.evidence, sinks: clusterSinks(sh, o)}, nil
	})
	s.until("v1 serves", s.serves("hello", "v1"))
	s.until("the API server has taken the policy in", s.policyHolds)
	return s, stop
}

// selectorOfNothing: what a Service does not reach is not started beside it, and
// goes on once it does.
func selectorOfNothing(t *testing.T, c *cluster.Cluster) {
	s, _ := newRoutedShop(t, c, routed[0].traffic, routed[0].objects)
	s.Cluster.Apply(t, s.ns, strings.Replace(shopService, "{app: hello}", "{app: nobody}", 1))
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v2"))
	s.until("it is told", s.hindered("hello", passFailed, "has no ready endpoint behind hello-", "that the selector of Service "+s.ns+"/hello matches them"))
	if n := len(s.podUIDs("hello:v1")); n != 2 {
		t.Errorf("%d pods of v1", n)
	}
	s.Cluster.Apply(t, s.ns, shopService)
	s.until("v2 has half of the traffic", s.weighs("hello", "50%"))
}

// routeToAnother: nothing is written into a route that does not lead to the Service.
func routeToAnother(t *testing.T, c *cluster.Cluster) {
	s, _ := newRoutedShop(t, c, routed[0].traffic, routed[0].objects)
	s.Cluster.Apply(t, s.ns, strings.ReplaceAll(routed[0].objects, "name: hello, port", "name: other, port"))
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v2"))
	s.until("it is told", s.hindered("hello", passFailed, "sends requests to Service hello (they go to other)", "name the Service"))
	if n := len(s.podUIDs("hello:v2")); n != 0 {
		t.Errorf("%d pods of v2 that any request could reach", n)
	}
	s.Cluster.Apply(t, s.ns, routed[0].objects)
	s.until("v2 has half of the traffic", s.weighs("hello", "50%"))
}

// acceptRoutes says of every route of the Gateway API that it was taken in, as
// an implementation does.
func (s *shop) acceptRoutes() {
	for _, resource := range []string{"httproutes", "grpcroutes"} {
		kind := schema.GroupVersionResource{Group: httpRoutes.Group, Version: httpRoutes.Version, Resource: resource}
		s.watched(kind, func(ctx context.Context, routes dynamic.ResourceInterface, route *unstructured.Unstructured) (err error) {
			if status := accepted(route); status != nil && route.GetDeletionTimestamp() == nil {
				_, err = routes.Patch(ctx, route.GetName(), types.MergePatchType, status, metav1.PatchOptions{}, "status")
			}
			return err // it may be gone
		})
	}
}

// accepted is the status that takes a route in; nil: it says so already.
func accepted(route *unstructured.Unstructured) []byte {
	refs, _, _ := unstructured.NestedSlice(route.Object, "spec", "parentRefs")
	now := metav1.Now().UTC().Format("2006-01-02T15:04:05Z")
	var parents []any
	for _, ref := range refs {
		var conditions []any
		for _, kind := range []string{"Accepted", "ResolvedRefs"} {
			conditions = append(conditions, map[string]any{"type": kind, "status": "True", "reason": kind, "message": "",
				"observedGeneration": route.GetGeneration(), "lastTransitionTime": now})
		}
		parents = append(parents, map[string]any{"parentRef": ref, "controllerName": "haldane.test/gateway", "conditions": conditions})
	}
	if said, _, _ := unstructured.NestedSlice(route.Object, "status", "parents"); len(said) > 0 {
		first, _, _ := unstructured.NestedSlice(said[0].(map[string]any), "conditions")
		if g, _, _ := unstructured.NestedInt64(first[0].(map[string]any), "observedGeneration"); g == route.GetGeneration() {
			return nil
		}
	}
	body, err := json.Marshal(map[string]any{"status": map[string]any{"parents": parents}})
	if err != nil {
		return nil
	}
	return body
}
