package gatewayapi_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/traffic/traffictest"
)

// rules of a route, by resource.
func (w *world) rules(t *testing.T, resource, name string) []any {
	t.Helper()
	r := routes
	r.Resource = resource
	u, err := w.c.Dynamic.Resource(r).Namespace(w.ns).Get(context.Background(), name, metav1.GetOptions{})
	must(t, err)
	list, _, err := unstructured.NestedSlice(u.Object, "spec", "rules")
	must(t, err)
	return list
}

func matches(rule any) any { return rule.(map[string]any)["matches"] }

// to are the Services that a rule leads to.
func to(rule any) string {
	var names []string
	for _, r := range rule.(map[string]any)["backendRefs"].([]any) {
		names = append(names, r.(map[string]any)["name"].(string))
	}
	return strings.Join(names, " ")
}

// Linkerd: a route whose parent is the Service comes with the split, and goes.
func TestLinkerdRouteComesAndGoes(t *testing.T) {
	w := newWorld(t)
	w.rel.Traffic = release.Traffic{Linkerd: &release.Linkerd{Service: "hello"}}
	w.run(t, traffictest.A)
	w.rest(t)
	w.run(t, traffictest.B)
	must(t, w.apply(traffictest.Split(0)))
	must(t, w.apply(traffictest.Split(1000)))
	u := w.route(t)
	parents, _, _ := unstructured.NestedSlice(u.Object, "spec", "parentRefs")
	want := []any{map[string]any{"group": "", "kind": "Service", "name": "hello", "port": int64(80)}}
	if diff := cmp.Diff(want, parents); diff != "" {
		t.Errorf("the parent:\n%s", diff)
	}
	if got := w.backends(t, 0); !cmp.Equal(got, map[string]int64{"hello-stable": 90, "hello-canary": 10}) {
		t.Errorf("the rule leads to %v", got)
	}
	if o := w.observe(t); !o.Pending {
		t.Errorf("%+v: in force although nobody took it in", o)
	}
	s := traffictest.Split(0)
	s.Mirror = &release.Mirror{Version: traffictest.B, Share: 1000}
	if err := w.apply(s); err == nil || !strings.Contains(err.Error(), "has a Service as its parent") {
		t.Errorf("error %v: want one that says that nothing is copied there", err)
	}
	must(t, w.apply(traffictest.Split(0)))
	w.stop(t, traffictest.B)
	w.rest(t)
	_, err := w.c.Dynamic.Resource(routes).Namespace(w.ns).Get(context.Background(), "hello", metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("the route is left at rest (%v)", err)
	}
	must(t, w.router.Remove(context.Background(), w.rel))
}

const grpcRoute = `
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: hello}
spec:
  parentRefs: [{name: gateway}]
  rules:
  - matches: [{method: {service: greet.Greeter}}]
    backendRefs: [{name: hello, port: 80}]
`

// A GRPCRoute: shares, a header, and no path.
func TestGRPCRoute(t *testing.T) {
	w := newWorld(t)
	w.c.Apply(t, w.ns, grpcRoute)
	w.rel.Traffic.GatewayAPI.Routes = []release.RouteRef{{Kind: "GRPCRoute", Name: "hello"}}
	w.run(t, traffictest.A)
	w.run(t, traffictest.B)
	before := w.rules(t, "grpcroutes", "hello")
	s := traffictest.Split(500)
	s.Matched = []release.Matched{{Version: traffictest.B, Match: release.Match{Headers: []release.HeaderMatch{{Name: "x-beta", Exact: "on"}}}}}
	must(t, w.apply(s))
	list := w.rules(t, "grpcroutes", "hello")
	if len(list) != 2 || to(list[0]) != "hello-canary" || to(list[1]) != "hello-stable hello-canary" {
		t.Fatalf("the rules are %v", list)
	}
	want := []any{map[string]any{"method": map[string]any{"type": "Exact", "service": "greet.Greeter"},
		"headers": []any{map[string]any{"type": "Exact", "name": "x-beta", "value": "on"}}}}
	if diff := cmp.Diff(want, matches(list[0])); diff != "" {
		t.Errorf("the match:\n%s", diff)
	}
	s.Matched[0].Match = release.Match{Path: "/greet"}
	if err := w.apply(s); err == nil || !strings.Contains(err.Error(), "can not match the path /greet") {
		t.Errorf("error %v: want one that names the path", err)
	}
	s = traffictest.Split(500)
	s.Mirror = &release.Mirror{Version: traffictest.B, Share: 1000}
	if err := w.apply(s); err == nil || !strings.Contains(err.Error(), "no gateway can say that it copies") {
		t.Errorf("error %v: want one that says why nothing is copied", err)
	}
	must(t, w.apply(traffictest.Split(500)))
	w.rest(t)
	if diff := cmp.Diff(before, w.rules(t, "grpcroutes", "hello")); diff != "" {
		t.Errorf("at rest:\n%s", diff)
	}
}

// Headers, cookies and paths beside the conditions that the user wrote.
func TestMatches(t *testing.T) {
	w := newWorld(t)
	w.c.Apply(t, w.ns, userRoute)
	w.run(t, traffictest.A)
	w.run(t, traffictest.B)
	root := map[string]any{"type": "PathPrefix", "value": "/"}
	for _, x := range []struct {
		match release.Match
		want  map[string]any
	}{
		{release.Match{Path: "/beta"}, map[string]any{"path": map[string]any{"type": "PathPrefix", "value": "/beta"}}},
		{release.Match{Headers: []release.HeaderMatch{{Name: "X-Beta", Prefix: "a."}}}, map[string]any{"path": root,
			"headers": []any{map[string]any{"type": "RegularExpression", "name": "X-Beta", "value": `^a\..*$`}}}},
		{release.Match{Cookie: &release.HeaderMatch{Name: "beta", Exact: "1"}}, map[string]any{"path": root,
			"headers": []any{map[string]any{"type": "RegularExpression", "name": "Cookie", "value": `^(.*;\s*)?beta=1(;.*)?$`}}}},
	} {
		s := traffictest.Split(0)
		s.Matched = []release.Matched{{Version: traffictest.B, Match: x.match}}
		must(t, w.apply(s))
		list := w.rules(t, "httproutes", "hello")
		if len(list) != 3 || to(list[1]) != "hello-canary" || to(list[2]) != "hello-stable" {
			t.Fatalf("%+v: the rules are %v", x.match, list)
		}
		if diff := cmp.Diff([]any{x.want}, matches(list[1])); diff != "" {
			t.Errorf("%+v:\n%s", x.match, diff)
		}
	}
}
