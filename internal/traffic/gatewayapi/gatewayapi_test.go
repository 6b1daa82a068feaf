package gatewayapi_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	engine "github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/traffic/gatewayapi"
	"github.com/haldane-project/haldane/internal/traffic/traffictest"
	"github.com/haldane-project/haldane/test/cluster"
)

// atRest is what a user sees of an object, without what only servers write.
func atRest(u *unstructured.Unstructured) map[string]any {
	c := u.DeepCopy()
	delete(c.Object, "status")
	for _, f := range []string{"managedFields", "resourceVersion", "generation"} {
		unstructured.RemoveNestedField(c.Object, "metadata", f)
	}
	return c.Object
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A run from rest to rest: what the route holds in each step, one write a
// weight, none where nothing changes, and the user's object in the end.
func TestRouteIsSplitAndRestored(t *testing.T) {
	w := newWorld(t)
	w.c.Apply(t, w.ns, userRoute)
	before := atRest(w.route(t))
	w.run(t, traffictest.A)
	w.rest(t)
	if o := w.observe(t); !o.Open || !reflect.DeepEqual(o.Split, w.split(traffictest.Split(0))) {
		t.Errorf("at rest %+v: want it open, with stable's share", o)
	}
	must(t, w.apply(release.Split{Salt: "r-1", Rest: traffictest.A, Shares: []release.Share{{Version: traffictest.A, Weight: release.Full}}}))
	if o := w.observe(t); o.Open || !o.Pending {
		t.Errorf("before any status says so %+v: want it closed and pending", o)
	}
	w.accept(t, true)
	if o := w.observe(t); o.Pending {
		t.Errorf("accepted, but %+v", o)
	}
	w.run(t, traffictest.B)
	for _, weight := range []release.Weight{0, 1000, 25, 10000, 0} {
		mark := w.c.Mark(t)
		must(t, w.apply(traffictest.Split(weight)))
		must(t, w.apply(traffictest.Split(weight)))
		writes := w.c.Requests(t, mark, func(r cluster.Request) bool {
			return r.Write() && strings.HasPrefix(r.Resource, "httproutes") && strings.HasPrefix(r.Object, w.ns)
		})
		if len(writes) != 1 {
			t.Errorf("weight %d took the writes %v: want one", weight, writes)
		}
		want := map[string]int64{"hello-stable": 399, "hello-canary": 1}
		switch weight {
		case 0:
			want = map[string]int64{"hello-stable": 100}
		case 1000:
			want = map[string]int64{"hello-stable": 90, "hello-canary": 10}
		case 10000:
			want = map[string]int64{"hello-canary": 100}
		}
		if got := w.backends(t, 1); !reflect.DeepEqual(got, want) {
			t.Errorf("weight %d: the rule leads to %v, want %v", weight, got, want)
		}
		if got := w.backends(t, 0); !reflect.DeepEqual(got, map[string]int64{"other": 1}) {
			t.Errorf("weight %d: the other rule leads to %v", weight, got)
		}
	}
	w.rest(t)
	if diff := cmp.Diff(before, atRest(w.route(t))); diff != "" {
		t.Errorf("at rest the route differs from what the user wrote:\n%s", diff)
	}
	// The user's next server-side apply finds nobody else in the way.
	w.c.Apply(t, w.ns, strings.Replace(userRoute, "10s", "11s", 1))
}

// A trap: a weight to a Service without endpoints fails its share with 500.
func TestNoWeightBeforeEndpoints(t *testing.T) {
	w := newWorld(t)
	w.c.Apply(t, w.ns, userRoute)
	w.run(t, traffictest.A)
	w.run(t, traffictest.B)
	must(t, w.apply(traffictest.Split(0)))
	before := w.route(t).GetResourceVersion()
	w.stop(t, traffictest.B)
	err := w.router.Apply(context.Background(), w.target(traffictest.Split(1000)))
	if err == nil || !strings.Contains(err.Error(), "has no ready endpoint behind hello-canary: no request is sent there") {
		t.Errorf("error %v: want one that says that the new version has nothing behind it", err)
	}
	if after := w.route(t).GetResourceVersion(); after != before {
		t.Error("the route was written none the less")
	}
}

// A trap: a status of the generation before says nothing of this one, and one
// that refuses it is told.
func TestStatusOfAnOlderGeneration(t *testing.T) {
	w := newWorld(t)
	w.c.Apply(t, w.ns, userRoute)
	w.run(t, traffictest.A)
	w.run(t, traffictest.B)
	must(t, w.apply(traffictest.Split(0)))
	w.accept(t, true)
	must(t, w.apply(traffictest.Split(1000)))
	if o := w.observe(t); !o.Pending {
		t.Errorf("%+v: in force by the status of the generation before", o)
	}
	w.accept(t, false)
	if err := w.apply(traffictest.Split(1000)); err == nil || !strings.Contains(err.Error(), "ResolvedRefs") {
		t.Errorf("error %v: want what the status says", err)
	}
	if o := w.observe(t); !o.Pending {
		t.Errorf("%+v: in force although it was refused", o)
	}
}

// A trap: an implementation may take a route in and follow it later.
func TestAcceptedIsNotYetInForce(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	w.router = gatewayapi.New(w.client, func() time.Time { return now })
	w.rel.Traffic.GatewayAPI.Settle = 3 * time.Second
	w.c.Apply(t, w.ns, userRoute)
	w.run(t, traffictest.A)
	must(t, w.apply(release.Split{Salt: "r-1", Rest: traffictest.A, Shares: []release.Share{{Version: traffictest.A, Weight: release.Full}}}))
	w.accept(t, true)
	o := w.observe(t)
	if !o.Pending || !o.Settles.Equal(now.Add(3*time.Second)) {
		t.Errorf("%+v: want it pending for 3 s", o)
	}
	now = o.Settles
	if o := w.observe(t); o.Pending {
		t.Errorf("%+v: want it in force", o)
	}
	fresh := gatewayapi.New(engine.New(w.api, w.api), func() time.Time { return now.Add(-10 * time.Second) })
	if o, err := fresh.Observe(context.Background(), w.rel); err != nil || !o.Pending || !reflect.DeepEqual(o.Split, w.split(o.Split)) || len(o.Split.Shares) != 1 {
		t.Errorf("a new process sees %+v (%v): want the split, pending by the server's time", o, err)
	}
}

// A trap: Traefik fails all requests of a rule that mirrors, and accepts it.
func TestNoMirrorWhereItIsNotSupported(t *testing.T) {
	w := newWorld(t)
	name := "class-" + w.ns
	w.c.Apply(t, w.ns, strings.ReplaceAll(`
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: NAME}
spec: {controllerName: test/controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gateway}
spec: {gatewayClassName: NAME, listeners: [{name: web, protocol: HTTP, port: 80}]}
`, "NAME", name), userRoute)
	w.run(t, traffictest.A)
	w.run(t, traffictest.B)
	must(t, w.apply(traffictest.Split(0)))
	s := traffictest.Split(0)
	s.Mirror = &release.Mirror{Version: traffictest.B, Share: 2000}
	before := w.route(t).GetResourceVersion()
	if err := w.apply(s); err == nil || !strings.Contains(err.Error(), "does not list HTTPRouteRequestMirror") {
		t.Errorf("error %v: want one that names the feature", err)
	}
	if w.route(t).GetResourceVersion() != before {
		t.Error("the route was written none the less")
	}
	class := map[string]any{"status": map[string]any{"supportedFeatures": []any{
		map[string]any{"name": "HTTPRouteRequestMirror"}, map[string]any{"name": "HTTPRouteRequestPercentageMirror"}}}}
	u := &unstructured.Unstructured{Object: class}
	u.SetAPIVersion("gateway.networking.k8s.io/v1")
	u.SetKind("GatewayClass")
	u.SetName(name)
	must(t, w.api.Status().Patch(context.Background(), u, client.Merge))
	must(t, w.apply(s))
	must(t, w.apply(s)) // and is at rest: the server's defaults are what was written
	if o := w.observe(t); o.Split.Mirror == nil || o.Split.Mirror.Share != 2000 {
		t.Errorf("observed %+v: want the mirror", o.Split)
	}
}

// An edit midway is kept, under the split and at rest.
func TestUserEditsTheRouteMidway(t *testing.T) {
	w := newWorld(t)
	w.c.Apply(t, w.ns, userRoute)
	w.run(t, traffictest.A)
	w.run(t, traffictest.B)
	must(t, w.apply(traffictest.Split(0)))
	must(t, w.apply(traffictest.Split(1000)))
	u := w.route(t)
	list, _, _ := unstructured.NestedSlice(u.Object, "spec", "rules")
	list[1].(map[string]any)["timeouts"] = map[string]any{"request": "7s"}
	must(t, unstructured.SetNestedSlice(u.Object, list, "spec", "rules"))
	_, err := w.c.Dynamic.Resource(routes).Namespace(w.ns).Update(context.Background(), u, metav1.UpdateOptions{})
	must(t, err)
	if o := w.observe(t); !o.Pending {
		t.Errorf("%+v: want it pending after an edit", o)
	}
	must(t, w.apply(traffictest.Split(2000)))
	if got := w.backends(t, 1); got["hello-canary"] != 20 {
		t.Errorf("the rule leads to %v: want 20 %% to the canary", got)
	}
	// What a GitOps tool does: the whole spec again, by force.
	text := strings.Replace(userRoute, "10s", "8s", 1)
	var raw map[string]any
	must(t, unmarshal(text, &raw))
	force := &unstructured.Unstructured{Object: raw}
	_, err = w.c.Dynamic.Resource(routes).Namespace(w.ns).Apply(context.Background(), "hello", force, metav1.ApplyOptions{FieldManager: "gitops", Force: true})
	must(t, err)
	if o := w.observe(t); !o.Open {
		t.Errorf("%+v: want it open where nothing parts the versions", o)
	}
	must(t, w.apply(traffictest.Split(3000)))
	if got := w.backends(t, 1); got["hello-canary"] != 30 {
		t.Errorf("the rule leads to %v: want 30 %% to the canary", got)
	}
	w.rest(t)
	list, _, _ = unstructured.NestedSlice(w.route(t).Object, "spec", "rules")
	if got := list[1].(map[string]any)["timeouts"]; !reflect.DeepEqual(got, map[string]any{"request": "8s"}) || len(list) != 2 {
		t.Errorf("at rest %v: want the last edit", list)
	}
}

// Two routes change together or not at all; traffic comes off wherever it can.
func TestSeveralRoutesOrNone(t *testing.T) {
	w := newWorld(t)
	second := strings.Replace(userRoute, "{name: hello}", "{name: second}", 1)
	w.c.Apply(t, w.ns, userRoute, second)
	w.rel.Traffic.GatewayAPI.Routes = append(w.rel.Traffic.GatewayAPI.Routes, release.RouteRef{Kind: "HTTPRoute", Name: "second"})
	w.run(t, traffictest.A)
	w.run(t, traffictest.B)
	must(t, w.apply(traffictest.Split(0)))
	must(t, w.apply(traffictest.Split(1000)))
	w.c.Apply(t, "", strings.ReplaceAll(denySecond, "NS", w.ns))
	t.Cleanup(func() {
		for _, r := range []string{"validatingadmissionpolicies", "validatingadmissionpolicybindings"} {
			g := routes
			g.Group, g.Resource = "admissionregistration.k8s.io", r
			_ = w.c.Dynamic.Resource(g).Delete(context.Background(), "deny-"+w.ns, metav1.DeleteOptions{})
		}
	})
	cluster.Eventually(t, cluster.Patience, "the policy", func() error {
		_, err := w.c.Dynamic.Resource(routes).Namespace(w.ns).Patch(context.Background(), "second", types.MergePatchType,
			[]byte(`{"metadata": {"labels": {"try": "it"}}}`), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil || !strings.Contains(err.Error(), "not today") {
			return fmt.Errorf("a write of the second route: %w", err)
		}
		return nil
	})
	if err := w.apply(traffictest.Split(2000)); err == nil || !strings.Contains(err.Error(), "not today") {
		t.Errorf("error %v: want what the policy says", err)
	}
	if got := w.backends(t, 1)["hello-canary"]; got != 10 {
		t.Errorf("the first route has %d %%: want what it had before", got)
	}
	if err := w.apply(traffictest.Split(0)); err == nil {
		t.Error("no word of the route that could not be written")
	}
	if got := w.backends(t, 1); !reflect.DeepEqual(got, map[string]int64{"hello-stable": 100}) {
		t.Errorf("the first route leads to %v: want the traffic off", got)
	}
}

// racing is a reader after whose first answer somebody edits the route.
type racing struct {
	client.Reader
	edit func()
}

func (r *racing) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	err := r.Reader.Get(ctx, key, obj, opts...)
	if edit := r.edit; edit != nil && obj.GetObjectKind().GroupVersionKind().Kind == "HTTPRoute" && key.Name == "hello" {
		r.edit = nil
		edit()
	}
	return err
}

// An edit between read and write: traffic is taken away at once all the same,
// beside what can not be written at all, and the edit is kept.
func TestUserEditsBetweenReadAndWrite(t *testing.T) {
	w := newWorld(t)
	second := strings.Replace(userRoute, "{name: hello}", "{name: second}", 1)
	w.c.Apply(t, w.ns, userRoute, second)
	w.rel.Traffic.GatewayAPI.Routes = append(w.rel.Traffic.GatewayAPI.Routes, release.RouteRef{Kind: "HTTPRoute", Name: "second"})
	cached := &racing{Reader: w.api}
	w.router = gatewayapi.New(engine.New(cached, w.api), nil)
	w.run(t, traffictest.A)
	w.run(t, traffictest.B)
	must(t, w.apply(traffictest.Split(0)))
	must(t, w.apply(traffictest.Split(1000)))
	must(t, w.c.Dynamic.Resource(routes).Namespace(w.ns).Delete(context.Background(), "second", metav1.DeleteOptions{}))
	cached.edit = func() {
		patch := []byte(`{"metadata": {"labels": {"team": "a"}}}`)
		_, err := w.c.Dynamic.Resource(routes).Namespace(w.ns).Patch(context.Background(), "hello", types.MergePatchType, patch, metav1.PatchOptions{})
		must(t, err)
	}
	if err := w.apply(traffictest.Split(0)); err == nil || !strings.Contains(err.Error(), "HTTPRoute second does not exist") {
		t.Errorf("error %v: want one that names the route that is gone", err)
	}
	if cached.edit != nil {
		t.Error("nobody edited the route")
	}
	if got := w.backends(t, 1); !reflect.DeepEqual(got, map[string]int64{"hello-stable": 100}) {
		t.Errorf("the route leads to %v: want the traffic off", got)
	}
	if w.route(t).GetLabels()["team"] != "a" {
		t.Error("the edit is lost")
	}
}

const denySecond = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: deny-NS}
spec:
  failurePolicy: Fail
  matchConstraints: {resourceRules: [{apiGroups: [gateway.networking.k8s.io], apiVersions: [v1], operations: [UPDATE], resources: [httproutes], resourceNames: [second]}]}
  validations: [{expression: "object.metadata.namespace != 'NS'", message: not today}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: deny-NS}
spec: {policyName: deny-NS, validationActions: [Deny]}
`

// Deleting a release midway: stable keeps the traffic until the canary's pods
// are gone, then nothing of Haldane is left.
func TestRemoveMidway(t *testing.T) {
	w := newWorld(t)
	w.c.Apply(t, w.ns, userRoute)
	before := atRest(w.route(t))
	w.run(t, traffictest.A)
	w.run(t, traffictest.B)
	must(t, w.apply(traffictest.Split(0)))
	must(t, w.apply(traffictest.Split(1000)))
	must(t, w.router.Remove(context.Background(), w.rel))
	if o := w.observe(t); len(o.Split.Shares) != 1 || o.Split.Shares[0].Version != w.ids[traffictest.A] || o.Open {
		t.Errorf("%+v: want all of it on stable, apart", o)
	}
	w.stop(t, traffictest.B)
	must(t, w.router.Remove(context.Background(), w.rel))
	if o := w.observe(t); len(o.Split.Shares) != 0 {
		t.Errorf("%+v: want no shares", o)
	}
	if diff := cmp.Diff(before, atRest(w.route(t))); diff != "" {
		t.Errorf("the route differs from what the user wrote:\n%s", diff)
	}
	for _, name := range []string{"hello-stable", "hello-canary"} {
		var svc corev1.Service
		if err := w.api.Get(context.Background(), types.NamespacedName{Namespace: w.ns, Name: name}, &svc); client.IgnoreNotFound(err) != nil || err == nil {
			t.Errorf("Service %s is left (%v)", name, err)
		}
	}
}

// What a person did not write right is said, with a remedy.
func TestBadInput(t *testing.T) {
	w := newWorld(t)
	w.run(t, traffictest.A)
	s := release.Split{Salt: "r-1", Rest: traffictest.A, Shares: []release.Share{{Version: traffictest.A, Weight: release.Full}}}
	wants := func(what string) {
		t.Helper()
		if err := w.apply(s); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("error %v: want %q", err, what)
		}
	}
	wants("HTTPRoute hello does not exist in namespace " + w.ns + ": create it")
	w.c.Apply(t, w.ns, userRoute)
	w.rel.Traffic.GatewayAPI.Service = "hullo"
	wants("sends requests to Service hullo (they go to other, hello): name the Service")
	w.rel.Traffic.GatewayAPI.Service = "other"
	wants("Service " + w.ns + "/other does not exist: create it")
	w.rel.Traffic.GatewayAPI.Service = "hello"
	w.rel.Traffic.GatewayAPI.Routes[0].Rules = []string{"nobody"}
	wants("no rule of nobody sends requests to Service hello")
	w.rel.Traffic.GatewayAPI.Routes[0].Rules = nil
	w.c.Apply(t, w.ns, strings.Replace(service, "{name: hello}", "{name: hello-stable}", 1))
	wants("Service " + w.ns + "/hello-stable exists and is not this release's")
}
