package gatewayapi_test

import (
	"context"
	"math/rand/v2"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/traffic"
	"github.com/haldane-project/haldane/internal/traffic/traffictest"
	"github.com/haldane-project/haldane/test/cluster"
	"github.com/haldane-project/haldane/test/routed"
)

// The suite on a real API server; who serves the route is a reader of its
// objects here (see TestTraefik for one that serves it).
func TestConformance(t *testing.T) {
	traffictest.Run(t, func(t *testing.T) traffictest.Harness {
		w := newWorld(t)
		w.c.Apply(t, w.ns, userRoute)
		return traffictest.Harness{
			Router: named{w, t}, Release: w.rel, Most: 2, Settle: cluster.Patience,
			Backend: func(t *testing.T, v release.VersionID) release.Backend {
				w.run(t, v)
				return release.Backend{Version: v}
			},
			Stop: w.stop,
			Send: w.send,
		}
	})
}

// named gives the suite's versions the names of their templates, and accepts
// what was written.
type named struct {
	w *world
	t *testing.T
}

func (n named) Apply(ctx context.Context, tg traffic.Target) error {
	tg.Split = n.w.split(tg.Split)
	return routed.Reached(ctx, n.w.router, tg)
}

func (n named) Observe(ctx context.Context, rel release.Release) (rollout.ObservedSplit, error) {
	n.w.accept(n.t, true)
	o, err := n.w.router.Observe(ctx, rel)
	back := map[release.VersionID]release.VersionID{}
	for v, id := range n.w.ids {
		back[id] = v
	}
	o.Split = rename(o.Split, back)
	return o, err
}

func (n named) Remove(ctx context.Context, rel release.Release) error {
	return n.w.router.Remove(ctx, rel)
}

// send draws, for each request, a backend of the route by its weight and a
// ready pod that the backend's Service selects.
func (w *world) send(t *testing.T, n int) map[release.VersionID]int {
	t.Helper()
	list, _, _ := unstructured.NestedSlice(w.route(t).Object, "spec", "rules")
	pods := map[string][]release.VersionID{}
	var names []string
	for _, r := range list[1].(map[string]any)["backendRefs"].([]any) {
		ref := r.(map[string]any)
		name := ref["name"].(string)
		if _, ok := pods[name]; !ok {
			pods[name] = w.reaches(t, name)
		}
		for range ref["weight"].(int64) {
			names = append(names, name)
		}
	}
	got := map[release.VersionID]int{}
	for range n {
		p := pods[names[rand.IntN(len(names))]]
		if len(p) == 0 {
			got[""]++
			continue
		}
		got[p[rand.IntN(len(p))]]++
	}
	return got
}

// reaches lists the versions of the ready pods that a Service selects.
func (w *world) reaches(t *testing.T, service string) []release.VersionID {
	t.Helper()
	var svc corev1.Service
	must(t, w.api.Get(context.Background(), client.ObjectKey{Namespace: w.ns, Name: service}, &svc))
	var pods corev1.PodList
	must(t, w.api.List(context.Background(), &pods, client.InNamespace(w.ns), client.MatchingLabelsSelector{Selector: labels.SelectorFromSet(svc.Spec.Selector)}))
	var out []release.VersionID
	for _, p := range pods.Items {
		var rs appsv1.ReplicaSet
		must(t, w.api.Get(context.Background(), client.ObjectKey{Namespace: w.ns, Name: p.OwnerReferences[0].Name}, &rs))
		out = append(out, release.VersionID(rs.Spec.Template.Spec.Containers[0].Image[len("hello:"):]))
	}
	return out
}
