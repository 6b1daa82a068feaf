package app

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	ctrl "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/kube"
	"github.com/haldane-project/haldane/test/cluster"
)

var httpRoutes = schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "httproutes"}

const shopRoute = `
apiVersion: v1
kind: Service
metadata: {name: hello}
spec:
  selector: {app: hello}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: hello}
spec:
  parentRefs: [{name: gateway}]
  rules: [{backendRefs: [{name: hello, port: 80}]}]
`

// gateway takes in every route of the namespace as soon as it is written, until
// the test ends.
func (s *shop) gateway() {
	s.Helper()
	s.GatewayAPI(s)
	s.watched(httpRoutes, func(ctx context.Context, routes dynamic.ResourceInterface, u *unstructured.Unstructured) (err error) {
		if accept(u) {
			_, err = routes.UpdateStatus(ctx, u, metav1.UpdateOptions{})
		}
		if apierrors.IsConflict(err) {
			return nil // a newer one comes where this one moved
		}
		return err
	})
}

// watched calls seen with what there is of a kind in the namespace and with every
// change, four at a time, until the test ends: all over again after an error, and
// where the API server ends the watch.
func (s *shop) watched(kind schema.GroupVersionResource, seen func(context.Context, dynamic.ResourceInterface, *unstructured.Unstructured) error) {
	ctx, cancel := context.WithCancel(context.Background())
	objects := s.Dynamic.Resource(kind).Namespace(s.ns)
	var ended sync.WaitGroup
	s.Cleanup(func() { cancel(); ended.Wait() })
	watch := func(ctx context.Context) {
		w, err := objects.Watch(ctx, metav1.ListOptions{})
		if err != nil {
			return
		}
		var running sync.WaitGroup
		for range 4 {
			running.Go(func() {
				defer w.Stop()
				for e := range w.ResultChan() {
					if u, ok := e.Object.(*unstructured.Unstructured); ok && u.GetKind() != "Status" && seen(ctx, objects, u) != nil {
						return
					}
				}
			})
		}
		running.Wait()
	}
	ended.Go(func() { wait.UntilWithContext(ctx, watch, 50*time.Millisecond) })
}

// accept says in a route's status that it was taken in as it is; false: it says so.
func accept(u *unstructured.Unstructured) bool {
	parents, _, _ := unstructured.NestedSlice(u.Object, "status", "parents")
	now := []any{map[string]any{"controllerName": "test/controller", "parentRef": map[string]any{"name": "gateway"}, "conditions": []any{
		acceptance("Accepted", u.GetGeneration()), acceptance("ResolvedRefs", u.GetGeneration())}}}
	if fmt.Sprint(parents) == fmt.Sprint(now) {
		return false
	}
	return unstructured.SetNestedSlice(u.Object, now, "status", "parents") == nil
}

func acceptance(kind string, generation int64) map[string]any {
	return map[string]any{"type": kind, "status": "True", "reason": kind, "message": "as the test says",
		"observedGeneration": generation, "lastTransitionTime": "2026-01-01T00:00:00Z"}
}

// named puts another name in the place of hello in manifests.
func named(name, text string) string {
	return strings.NewReplacer("name: hello", "name: "+name, "app: hello", "app: "+name, "service: hello", "service: "+name).Replace(text)
}

// TestClusterManyPromotionsAtOnce: each of many runs at once writes as little as
// one alone does, and the route once for each weight and thrice at its end. How long they take is
// logged; HALDANE_LONG=1 makes them fifty, with the time that a gateway is given, once with steps
// that end when their evidence is there and once with steps of ten seconds, and logs what it takes
// the cluster alone to roll as many Deployments out at once: that bounds the others.
func TestClusterManyPromotionsAtOnce(t *testing.T) {
	if os.Getenv("HALDANE_LONG") == "" {
		manyPromotions(t, 5, "300ms", "0s")
		return
	}
	t.Run("without Haldane", func(t *testing.T) { manyRollouts(t, 50) })
	for _, hold := range []string{"0s", "10s"} {
		t.Run("hold "+hold, func(t *testing.T) { manyPromotions(t, 50, "3s", hold) })
	}
}

func manyPromotions(t *testing.T, n int, settle, hold string) {
	s := newShop(t)
	s.gateway()
	s.evidence, s.saveEvery = newScript(), time.Hour
	rel := strings.Replace(fourSteps, "{replicas: {}}", "{gatewayAPI: {service: hello, settle: "+settle+", routes: [{kind: HTTPRoute, name: hello}]}}", 1)
	rel = strings.ReplaceAll(rel, "{weight:", "{hold: "+hold+", weight:")
	names := []string{"hello"} // goes alone
	for i := range n {
		names = append(names, fmt.Sprintf("shop-%d", i))
	}
	for _, name := range names {
		s.Cluster.Apply(t, s.ns, named(name, shopRoute), named(name, fmt.Sprintf(shopDeployment, "v1")), named(name, rel))
	}
	s.start(func(sh *kube.Shell, o ControllerOptions) (parts, error) {
		return parts{router: clusterRouters(sh.Client), metrics: s.evidence, sinks: clusterSinks(sh, o)}, nil
	})
	s.until("the API server has taken the policy in", s.policyHolds)
	s.promoted(names, "v1")
	s.until("each first version is told by an Event", func() error {
		list, err := s.Client.EventsV1().Events(s.ns).List(t.Context(), metav1.ListOptions{FieldSelector: "regarding.kind=Release"})
		if err != nil || len(list.Items) != len(names) {
			return fmt.Errorf("%d Events: %w", len(list.Items), err)
		}
		return nil
	})
	mark := s.Mark(t)
	alone := s.promote(names[:1], "v2")
	together := s.promote(names[1:], "v2")
	t.Logf("one run alone took %v; %d at once: %v for the median, %v for the last, %.2f times as long",
		alone[0], n, together[n/2], together[n-1], together[n-1].Seconds()/alone[0].Seconds())
	writes := s.Requests(t, mark, func(r cluster.Request) bool { return r.User == s.user && r.Write() })
	for _, name := range names {
		s.fewWrites(name, writes)
	}
}

// routeWrites of fourSteps: one for each weight (none at first, four steps, all),
// one that lets go of the old version before its pods go, one at rest and, since
// the route was applied server-side, one that gives its fields back.
const routeWrites = 9

// fewWrites checks what was written for one release.
func (s *shop) fewWrites(name string, writes []cluster.Request) {
	s.Helper()
	var routes, services int
	var own []cluster.Request
	for _, r := range writes {
		object := strings.TrimPrefix(r.Object, s.ns+"/")
		switch {
		case r.Code == http.StatusConflict: // wrote nothing: the status of others moved the object
		case object != name && !strings.HasPrefix(object, name+"-") && !strings.HasPrefix(object, name+"."):
		case strings.HasPrefix(r.Resource, "httproutes"):
			if r.Code < http.StatusMultipleChoices {
				routes++
			}
		case r.Resource == "services":
			services++
		default:
			own = append(own, r)
		}
	}
	if routes > routeWrites || services > 2 || len(own) > mostWrites {
		s.Errorf("%s: %d writes of its route (at most %d), %d of its Services (at most 2), %d others (at most %d): %v",
			name, routes, routeWrites, services, len(own), mostWrites, cluster.Tally(own))
	}
	if name == "hello" {
		s.Logf("one run: %d writes, %d of the route, %d of Services, %d others %v", routes+services+len(own), routes, services, len(own), cluster.Tally(own))
	}
}

// manyRollouts logs what it takes the cluster alone to roll Deployments out at once.
func manyRollouts(t *testing.T, n int) {
	s := newShop(t)
	s.gateway()
	names := []string{"hello"} // goes alone
	for i := range n {
		names = append(names, fmt.Sprintf("shop-%d", i))
	}
	for _, name := range names {
		s.Cluster.Apply(s.T, s.ns, named(name, shopRoute), named(name, fmt.Sprintf(shopDeployment, "v1")))
	}
	rolled := func(version string, d *appsv1.Deployment) bool {
		st, all := d.Status, *d.Spec.Replicas
		return d.Spec.Template.Spec.Containers[0].Image == "hello:"+version && st.ObservedGeneration == d.Generation &&
			st.UpdatedReplicas == all && st.Replicas == all && st.AvailableReplicas == all
	}
	s.until("v1 serves", func() error {
		list, err := s.Client.AppsV1().Deployments(s.ns).List(t.Context(), metav1.ListOptions{})
		if err != nil || len(list.Items) != len(names) || slices.ContainsFunc(list.Items, func(d appsv1.Deployment) bool { return !rolled("v1", &d) }) {
			return fmt.Errorf("not yet: %w", err)
		}
		return nil
	})
	roll := func(names []string) time.Duration {
		return slices.Max(s.change(names, "v2", &appsv1.DeploymentList{}, func(o ctrl.Object) bool {
			d, ok := o.(*appsv1.Deployment)
			return ok && rolled("v2", d)
		}))
	}
	alone, together := roll(names[:1]), roll(names[1:])
	t.Logf("a Deployment that rolls out by itself took %v; %d at once: %v for the last, %v longer", alone, n, together, together-alone)
}

// promote gives Deployments another version and returns how long each took from
// then until it alone served, shortest first.
func (s *shop) promote(names []string, version string) []time.Duration {
	s.Helper()
	return s.change(names, version, &v1alpha1.ReleaseList{}, func(o ctrl.Object) bool {
		rel, ok := o.(*v1alpha1.Release)
		return ok && rests(rel, version)
	})
}

// change gives Deployments another version, one after the other, and returns how
// long each took from then until the object of its name in the list was as it is to be,
// shortest first.
func (s *shop) change(names []string, version string, list ctrl.ObjectList, done func(ctrl.Object) bool) []time.Duration {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	w, err := s.live.Watch(ctx, list, ctrl.InNamespace(s.ns))
	if err != nil {
		s.Fatal(err)
	}
	defer w.Stop()
	patch := fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":"app","image":"hello:%s"}]}}}}`, version)
	began := map[string]time.Time{}
	for _, name := range names {
		began[name] = time.Now()
		if _, err := s.Client.AppsV1().Deployments(s.ns).Patch(ctx, name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			s.Fatal(err)
		}
	}
	var took []time.Duration
	for e := range w.ResultChan() {
		o, ok := e.Object.(ctrl.Object)
		if !ok || began[o.GetName()].IsZero() || !done(o) {
			continue
		}
		took = append(took, time.Since(began[o.GetName()]).Round(10*time.Millisecond))
		delete(began, o.GetName())
		if len(began) == 0 {
			slices.Sort(took)
			return took
		}
	}
	s.Fatalf("%d of %d have %s in 15 min", len(took), len(names), version)
	return nil
}

func rests(rel *v1alpha1.Release, version string) bool {
	st := rel.Status
	return st.Phase == "Idle" && st.Stable != nil && st.Stable.Name == version && meta.IsStatusConditionTrue(st.Conditions, "Ready")
}

// promoted waits until a version of each serves alone.
func (s *shop) promoted(names []string, version string) {
	s.Helper()
	s.until("all serve "+version, func() error {
		var list v1alpha1.ReleaseList
		if err := s.live.List(context.Background(), &list, ctrl.InNamespace(s.ns)); err != nil {
			return err
		}
		n := 0
		for i := range list.Items {
			if rests(&list.Items[i], version) {
				n++
			}
		}
		if n != len(names) {
			return fmt.Errorf("%d of %d", n, len(names))
		}
		return nil
	})
}
