package istio_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/traffic/istio"
	"github.com/haldane-project/haldane/internal/traffic/traffictest"
	"github.com/haldane-project/haldane/test/cluster"
	"github.com/haldane-project/haldane/test/routed"
)

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	cluster.Main(m)
}

var virtualServices = schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "virtualservices"}

func unmarshal(text string, into any) error { return yaml.Unmarshal([]byte(text), into) }

var defaults = release.DestinationRule{Stable: "stable", Canary: "canary"}

func newWorld(t *testing.T, i release.Istio) *routed.World {
	t.Helper()
	c := cluster.ControlPlane(t)
	c.IstioCRDs(t)
	return with(routed.New(t, c, "", release.Traffic{Istio: &i}))
}

func with(w *routed.World) *routed.World {
	w.Router = istio.New(w.Client, nil)
	return w
}

const userService = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: NAME}
spec:
  hosts: [NAME.test]
  http:
  - match: [{uri: {prefix: /other}}]
    route: [{destination: {host: other}}]
  - name: greet
    match: [{uri: {prefix: /}}]
    retries: {attempts: 2}
    timeout: 10s
    route: [{destination: {host: hello, port: {number: 90}}, headers: {request: {set: {x-by: user}}}}]
`

// seedService is the way in which subsets stand in the user's own objects.
const seedService = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: seed}
spec:
  hosts: [hello]
  http:
  - name: primary
    route:
    - {destination: {host: hello, subset: stable}, weight: 100}
    - {destination: {host: hello, subset: next}, weight: 0}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: seed}
spec:
  host: hello
  trafficPolicy: {loadBalancer: {simple: LEAST_REQUEST}}
  subsets:
  - {name: stable, labels: {version: v1}}
  - {name: next, labels: {version: v2}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}
`

var seed = release.Istio{Service: "hello", VirtualServices: []release.VirtualService{{Name: "seed", Routes: []string{"primary"}}},
	DestinationRule: release.DestinationRule{Name: "seed", Stable: "stable", Canary: "next"}}

// http are a VirtualService's HTTP routes.
func http(t *testing.T, w *routed.World, name string) []any {
	t.Helper()
	list, _, err := unstructured.NestedSlice(w.Object(t, istio.VirtualService, name).Object, "spec", "http")
	routed.Must(t, err)
	return list
}

// leads are the weights of a route's subsets, and their sum.
func leads(t *testing.T, item any) (map[string]int64, int64) {
	t.Helper()
	out, sum := map[string]int64{}, int64(0)
	for _, x := range item.(map[string]any)["route"].([]any) {
		d := x.(map[string]any)
		to := d["destination"].(map[string]any)
		name, _ := to["subset"].(string)
		if name == "" {
			name = to["host"].(string)
		}
		n, ok := d["weight"].(int64)
		if !ok {
			n = 100
		}
		out[name], sum = n, sum+n
	}
	return out, sum
}

// labelsOf are what a subset selects by.
func labelsOf(t *testing.T, w *routed.World, rule, subset string) map[string]string {
	t.Helper()
	list, _, _ := unstructured.NestedSlice(w.Object(t, istio.DestinationRule, rule).Object, "spec", "subsets")
	for _, x := range list {
		if s := x.(map[string]any); s["name"] == subset {
			out, _, err := unstructured.NestedStringMap(s, "labels")
			routed.Must(t, err)
			return out
		}
	}
	t.Fatalf("DestinationRule %s has no subset %s", rule, subset)
	return nil
}

// The suite on a real API server; who routes is a reader of the objects here
// (see TestIstiod for the real one).
func TestConformance(t *testing.T) {
	for name, i := range map[string]release.Istio{
		"owned":    {Service: "hello", DestinationRule: defaults},
		"the user": seed,
	} {
		t.Run(name, func(t *testing.T) {
			traffictest.Run(t, func(t *testing.T) traffictest.Harness {
				w := newWorld(t, i)
				vs, rule := "hello", "hello"
				if i.DestinationRule.Name != "" {
					vs, rule = "seed", "seed"
					w.C.Apply(t, w.NS, seedService)
				}
				return w.Harness(func(t *testing.T) routed.Draw { return reads(t, w, vs, rule) })
			})
		})
	}
}

// reads reads the last route and what the subsets select, and draws by them.
func reads(t *testing.T, w *routed.World, vs, rule string) routed.Draw {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(istio.VirtualService)
	if err := w.API.Get(context.Background(), client.ObjectKey{Namespace: w.NS, Name: vs}, u); err != nil {
		routed.Must(t, client.IgnoreNotFound(err))
		return func() (string, map[string]string) { return "hello", nil } // as a mesh does without one
	}
	list, _, _ := unstructured.NestedSlice(u.Object, "spec", "http")
	to, sum := leads(t, list[len(list)-1])
	subsets := map[string]map[string]string{}
	for subset := range to {
		if subset != "hello" {
			subsets[subset] = labelsOf(t, w, rule, subset)
		}
	}
	return func() (string, map[string]string) {
		n := rand.Int64N(sum)
		for subset, weight := range to {
			if n -= weight; n < 0 {
				return "hello", subsets[subset]
			}
		}
		return "hello", nil
	}
}

// A run in the user's objects of the old way: what they hold in each step, and
// what the user wrote in the end. Weights sum to 100, or 10,000 below a percent.
func TestUserObjectsAreSplitAndRestored(t *testing.T) {
	w := newWorld(t, seed)
	w.C.Apply(t, w.NS, seedService)
	before := []any{routed.AtRest(w.Object(t, istio.VirtualService, "seed")), routed.AtRest(w.Object(t, istio.DestinationRule, "seed"))}
	w.Run(t, traffictest.A)
	w.Rest(t)
	w.Run(t, traffictest.B)
	for _, x := range []struct {
		weight release.Weight
		want   map[string]int64
	}{
		{0, map[string]int64{"stable": 100}}, {1000, map[string]int64{"stable": 90, "next": 10}},
		{25, map[string]int64{"stable": 9975, "next": 25}}, {release.Full, map[string]int64{"next": 100}},
	} {
		mark := w.C.Mark(t)
		routed.Must(t, w.Apply(traffictest.Split(x.weight)))
		routed.Must(t, w.Apply(traffictest.Split(x.weight)))
		writes := w.C.Requests(t, mark, func(r cluster.Request) bool {
			return r.Write() && strings.HasPrefix(r.Resource, "virtualservices") && strings.HasPrefix(r.Object, w.NS) && !strings.Contains(r.String(), "dryRun")
		})
		if len(writes) > 2 { // one asks whether it would be taken
			t.Errorf("weight %d took the writes %v", x.weight, writes)
		}
		list := http(t, w, "seed")
		if got, sum := leads(t, list[1]); !cmp.Equal(got, x.want) || sum%100 != 0 {
			t.Errorf("weight %d: the route leads to %v, want %v", x.weight, got, x.want)
		}
		if got, sum := leads(t, list[0]); got["stable"] == 0 || got["next"] == 0 || sum != 100 {
			t.Errorf("the first route leads to %v: want both subsets", got)
		}
		a, b := labelsOf(t, w, "seed", "stable"), labelsOf(t, w, "seed", "next")
		if len(a) != 1 || len(b) != 1 || a["pod-template-hash"] == b["pod-template-hash"] {
			t.Errorf("the subsets select %v and %v", a, b)
		}
	}
	w.Rest(t)
	after := []any{routed.AtRest(w.Object(t, istio.VirtualService, "seed")), routed.AtRest(w.Object(t, istio.DestinationRule, "seed"))}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("at rest the objects differ from what the user wrote:\n%s", diff)
	}
	w.C.Apply(t, w.NS, strings.Replace(seedService, "LEAST_REQUEST", "ROUND_ROBIN", 1)) // nobody is in the way
}

// Owned objects are there before the first split, lead everywhere at rest, and
// go with the release; the user's several routes change in one act.
func TestSeveralRoutesAndOwnSubsets(t *testing.T) {
	w := newWorld(t, release.Istio{Service: "hello", DestinationRule: defaults,
		VirtualServices: []release.VirtualService{{Name: "one"}, {Name: "two", Routes: []string{"greet"}}}})
	w.C.Apply(t, w.NS, strings.ReplaceAll(userService, "NAME", "one"), strings.ReplaceAll(userService, "NAME", "two"))
	before := routed.AtRest(w.Object(t, istio.VirtualService, "two"))
	w.Run(t, traffictest.A)
	w.Rest(t)
	if got := labelsOf(t, w, "hello", "canary"); len(got) != 0 {
		t.Errorf("at rest the subset selects by %v: want all pods", got)
	}
	w.Run(t, traffictest.B)
	routed.Must(t, w.Apply(traffictest.Split(0)))
	routed.Must(t, w.Apply(traffictest.Split(500)))
	for _, name := range []string{"one", "two"} {
		list := http(t, w, name)
		if got, _ := leads(t, list[2]); !cmp.Equal(got, map[string]int64{"stable": 95, "canary": 5}) {
			t.Errorf("%s leads to %v", name, got)
		}
		if got, _ := leads(t, list[1]); got["other"] != 100 || len(list) != 3 {
			t.Errorf("%s: the other route leads to %v", name, got)
		}
		last := list[2].(map[string]any)
		if d := last["route"].([]any)[0].(map[string]any); last["timeout"] != "10s" || d["headers"] == nil {
			t.Errorf("%s lost what the user wrote: %v", name, last)
		}
	}
	w.Stop(t, traffictest.B)
	routed.Must(t, w.Router.Remove(context.Background(), w.Release))
	if diff := cmp.Diff(before, routed.AtRest(w.Object(t, istio.VirtualService, "two"))); diff != "" {
		t.Errorf("the object differs from what the user wrote:\n%s", diff)
	}
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(istio.DestinationRule)
	if err := w.API.Get(context.Background(), client.ObjectKey{Namespace: w.NS, Name: "hello"}, u); err == nil {
		t.Error("the DestinationRule is left")
	}
}

// Matches and mirrors, as they stand in the routes.
func TestMatchesAndMirror(t *testing.T) {
	w := newWorld(t, release.Istio{Service: "hello", DestinationRule: defaults, VirtualServices: []release.VirtualService{{Name: "one"}}})
	w.C.Apply(t, w.NS, strings.ReplaceAll(userService, "NAME", "one"))
	w.Run(t, traffictest.A)
	w.Run(t, traffictest.B)
	s := traffictest.Split(0)
	s.Mirror = &release.Mirror{Version: traffictest.B, Share: 2550}
	s.Matched = []release.Matched{{Version: traffictest.B, Match: release.Match{Path: "/beta",
		Headers: []release.HeaderMatch{{Name: "X-Beta", Regexp: "yes|on"}}, Cookie: &release.HeaderMatch{Name: "beta", Exact: "1.0"}}}}
	routed.Must(t, w.Apply(s))
	list := http(t, w, "one")
	want := []any{map[string]any{"uri": map[string]any{"prefix": "/beta"}, "headers": map[string]any{
		"x-beta": map[string]any{"regex": "yes|on"}, "cookie": map[string]any{"regex": `(.*;\s*)?beta=1\.0(;.*)?`}}}}
	if diff := cmp.Diff(want, list[2].(map[string]any)["match"]); diff != "" || len(list) != 4 {
		t.Fatalf("the match (in %d routes):\n%s", len(list), diff)
	}
	if got, _ := leads(t, list[2]); !cmp.Equal(got, map[string]int64{"canary": 100}) {
		t.Errorf("the match leads to %v", got)
	}
	last := list[3].(map[string]any)
	if diff := cmp.Diff(map[string]any{"host": "hello", "subset": "canary", "port": map[string]any{"number": int64(90)}}, last["mirror"]); diff != "" {
		t.Errorf("mirror:\n%s", diff)
	}
	if got, _, _ := unstructured.NestedFloat64(last, "mirrorPercentage", "value"); got != 25.5 {
		t.Errorf("%v %% are copied: want 25.5", got)
	}
	if o := w.Observe(t); o.Split.Mirror == nil || len(o.Split.Matched) != 1 || o.Pending {
		t.Errorf("observed %+v", o)
	}
}

// An edit midway is kept, under the split and at rest.
func TestUserEditsMidway(t *testing.T) {
	w := newWorld(t, seed)
	w.C.Apply(t, w.NS, seedService)
	w.Run(t, traffictest.A)
	w.Run(t, traffictest.B)
	routed.Must(t, w.Apply(traffictest.Split(0)))
	routed.Must(t, w.Apply(traffictest.Split(1000)))
	u := w.Object(t, istio.VirtualService, "seed")
	list, _, _ := unstructured.NestedSlice(u.Object, "spec", "http")
	list[1].(map[string]any)["timeout"] = "7s"
	routed.Must(t, unstructured.SetNestedSlice(u.Object, list, "spec", "http"))
	routed.Must(t, w.API.Update(context.Background(), u))
	if o := w.Observe(t); !o.Pending || o.Open {
		t.Errorf("%+v: want it pending after an edit, and parted", o)
	}
	routed.Must(t, w.Apply(traffictest.Split(2000)))
	if got, _ := leads(t, http(t, w, "seed")[1]); got["next"] != 20 {
		t.Errorf("the route leads to %v: want 20 %% to the canary", got)
	}
	w.Rest(t)
	rest := http(t, w, "seed")
	got, _ := leads(t, rest[0])
	if rest[0].(map[string]any)["timeout"] != "7s" || got["stable"] != 100 || len(rest) != 1 {
		t.Errorf("at rest %v: want the edit, and all to stable", rest)
	}
	routed.Must(t, w.Apply(traffictest.Split(3000)))
	// What a GitOps tool does: the whole spec again, by force.
	var raw map[string]any
	routed.Must(t, unmarshal(strings.Split(seedService, "---")[0], &raw))
	force := &unstructured.Unstructured{Object: raw}
	_, err := w.C.Dynamic.Resource(virtualServices).Namespace(w.NS).Apply(context.Background(), "seed", force, metav1.ApplyOptions{FieldManager: "gitops", Force: true})
	routed.Must(t, err)
	if o := w.Observe(t); !o.Pending {
		t.Errorf("%+v: want it pending where all goes to stable", o)
	}
	routed.Must(t, w.Apply(traffictest.Split(3000)))
	if got, _ := leads(t, http(t, w, "seed")[1]); got["next"] != 30 {
		t.Errorf("the route leads to %v: want 30 %% to the canary", got)
	}
}

// What a person did not write right is said, with a remedy.
func TestBadInput(t *testing.T) {
	w := newWorld(t, release.Istio{Service: "hello", DestinationRule: defaults, VirtualServices: []release.VirtualService{{Name: "one"}}})
	w.Run(t, traffictest.A)
	s := release.Split{Salt: "r-1", Rest: traffictest.A, Shares: []release.Share{{Version: traffictest.A, Weight: release.Full}}}
	wants := func(what string) {
		t.Helper()
		if err := w.Apply(s); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("error %v: want %q", err, what)
		}
	}
	wants("VirtualService one does not exist in namespace " + w.NS + ": create it")
	text := strings.ReplaceAll(userService, "NAME", "one")
	// Istio takes weights that sum to 110 and divides by it.
	w.C.Apply(t, w.NS, strings.Replace(text, "route: [{destination: {host: hello, port: {number: 90}}, headers: {request: {set: {x-by: user}}}}]",
		"route: [{destination: {host: hello}, weight: 90}, {destination: {host: other}, weight: 20}]", 1))
	wants("sum to 110")
	w.C.Apply(t, w.NS, text)
	w.Release.Traffic.Istio.VirtualServices[0].Routes = []string{"nobody"}
	wants("no HTTP route of nobody sends requests to Service hello")
	w.Release.Traffic.Istio.VirtualServices = nil
	w.C.Apply(t, w.NS, strings.ReplaceAll(seedService, "next", "canary"))
	wants("VirtualService seed has the host hello already: name it")
	w.C.Apply(t, w.NS, strings.ReplaceAll(strings.Split(seedService, "---")[1], "name: seed", "name: hello"))
	wants("DestinationRule hello exists and is not Haldane's: name it in spec.traffic")
}
