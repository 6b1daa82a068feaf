package gatewayapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	engine "github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/traffic"
	"github.com/haldane-project/haldane/internal/traffic/gatewayapi"
	"github.com/haldane-project/haldane/internal/traffic/traffictest"
	"github.com/haldane-project/haldane/test/cluster"
	"github.com/haldane-project/haldane/test/routed"
)

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	cluster.Main(m)
}

var routes = schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "httproutes"}

// world is a namespace with a Deployment, its Service and a route. Pods are fake
// unless a test says otherwise; a test's own controller accepts routes.
type world struct {
	c      *cluster.Cluster
	ns     string
	api    client.WithWatch
	client *engine.Client
	router traffic.Router
	rel    release.Release
	ids    map[release.VersionID]release.VersionID // of the suite -> of the template
}

const workload = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: %s}
spec:
  replicas: 2
  selector: {matchLabels: {app: hello}}
  template:
    metadata: {labels: {app: hello}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: hello, image: "hello:%s"}]
`

const service = `
apiVersion: v1
kind: Service
metadata: {name: hello}
spec:
  selector: {app: hello}
  ports: [{name: http, port: 80, targetPort: 8080}]
`

const userRoute = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: hello}
spec:
  parentRefs: [{name: gateway}]
  hostnames: [hello.test]
  rules:
  - matches: [{path: {type: PathPrefix, value: /other}}]
    backendRefs: [{name: other, port: 80}]
  - name: greet
    matches: [{path: {type: PathPrefix, value: /}}]
    filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-By, value: user}]}}]
    timeouts: {request: 10s}
    backendRefs: [{name: hello, port: 80}]
`

func newWorld(t *testing.T) *world {
	t.Helper()
	c := cluster.ControlPlane(t)
	c.GatewayAPI(t)
	w := &world{c: c, ns: c.Namespace(t), ids: map[release.VersionID]release.VersionID{}}
	c.FakeKubelet(t, w.ns, cluster.Running)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, gatewayv1.Install} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if w.api, err = client.NewWithWatch(c.Config, client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	w.client = engine.New(w.api, w.api)
	w.router = gatewayapi.New(w.client, nil)
	w.rel = release.Release{Name: w.ns + "/hello", UID: "",
		Version: release.Version{Workload: release.Workload{Deployment: &release.Deployment{Name: "hello"}}},
		Traffic: release.Traffic{GatewayAPI: &release.GatewayAPI{Service: "hello", Routes: []release.RouteRef{{Kind: "HTTPRoute", Name: "hello"}}}}}
	c.Apply(t, w.ns, service)
	return w
}

// run starts a version's Deployment and waits until its pods are ready.
func (w *world) run(t *testing.T, v release.VersionID) {
	t.Helper()
	name := w.deployment(v)
	w.c.Apply(t, w.ns, fmt.Sprintf(workload, name, v))
	cluster.Eventually(t, cluster.Patience, name, func() error {
		var d appsv1.Deployment
		if err := w.api.Get(context.Background(), types.NamespacedName{Namespace: w.ns, Name: name}, &d); err != nil {
			return err
		}
		w.ids[v] = engine.TemplateID(d.Spec.Template)
		if d.Status.ReadyReplicas != 2 {
			return fmt.Errorf("%d pods are ready", d.Status.ReadyReplicas)
		}
		return nil
	})
}

func (w *world) deployment(v release.VersionID) string {
	switch v {
	case traffictest.A:
		return "hello"
	case traffictest.B:
		return "hello-canary"
	}
	return "hello-third"
}

func (w *world) stop(t *testing.T, v release.VersionID) {
	t.Helper()
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: w.deployment(v)}}
	if err := w.api.Delete(context.Background(), d, client.PropagationPolicy(metav1.DeletePropagationForeground)); err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, cluster.Patience, "the end of "+d.Name, func() error {
		if err := w.api.Get(context.Background(), client.ObjectKeyFromObject(d), d); client.IgnoreNotFound(err) != nil || err != nil {
			return client.IgnoreNotFound(err)
		}
		return fmt.Errorf("it is there")
	})
}

// split is a split by the templates' versions.
func (w *world) split(s release.Split) release.Split { return rename(s, w.ids) }

func rename(s release.Split, ids map[release.VersionID]release.VersionID) release.Split {
	b, _ := json.Marshal(s)
	var out release.Split
	_ = json.Unmarshal(b, &out)
	of := func(v *release.VersionID) {
		if id, ok := ids[*v]; ok {
			*v = id
		}
	}
	of(&out.Rest)
	for i := range out.Shares {
		of(&out.Shares[i].Version)
	}
	for i := range out.Matched {
		of(&out.Matched[i].Version)
	}
	if out.Mirror != nil {
		of(&out.Mirror.Version)
	}
	return out
}

// apply tells the router a split, until the endpoints that it needs are there.
func (w *world) apply(s release.Split) error {
	return routed.Reached(context.Background(), w.router, w.target(s))
}

func (w *world) target(s release.Split) traffic.Target {
	return traffic.Target{Release: w.rel, Split: w.split(s)}
}

func (w *world) rest(t *testing.T) {
	t.Helper()
	if err := w.router.Apply(context.Background(), traffic.Target{Release: w.rel, Split: w.split(traffictest.Split(0)), Alone: true}); err != nil {
		t.Fatal(err)
	}
}

func (w *world) observe(t *testing.T) rollout.ObservedSplit {
	t.Helper()
	o, err := w.router.Observe(context.Background(), w.rel)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (w *world) route(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	u, err := w.c.Dynamic.Resource(routes).Namespace(w.ns).Get(context.Background(), "hello", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// accept writes what an implementation would write about the route as it is.
func (w *world) accept(t *testing.T, resolved bool) {
	t.Helper()
	u := w.route(t)
	status := "True"
	if !resolved {
		status = "False"
	}
	condition := func(kind, status string) any {
		return map[string]any{"type": kind, "status": status, "reason": kind, "message": "as the test says",
			"observedGeneration": u.GetGeneration(), "lastTransitionTime": "2026-01-01T00:00:00Z"}
	}
	parent := map[string]any{"controllerName": "test/controller", "parentRef": map[string]any{"name": "gateway"},
		"conditions": []any{condition("Accepted", "True"), condition("ResolvedRefs", status)}}
	if err := unstructured.SetNestedSlice(u.Object, []any{parent}, "status", "parents"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.c.Dynamic.Resource(routes).Namespace(w.ns).UpdateStatus(context.Background(), u, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// backend is what a rule of the route leads to: name -> weight.
func (w *world) backends(t *testing.T, rule int) map[string]int64 {
	t.Helper()
	list, _, err := unstructured.NestedSlice(w.route(t).Object, "spec", "rules")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int64{}
	for _, r := range list[rule].(map[string]any)["backendRefs"].([]any) {
		ref := r.(map[string]any)
		out[ref["name"].(string)] = ref["weight"].(int64)
	}
	return out
}

func unmarshal(text string, into any) error { return yaml.Unmarshal([]byte(text), into) }
