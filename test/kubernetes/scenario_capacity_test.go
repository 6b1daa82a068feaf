package kubernetes

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// The Deployment is scaled while a run is under way: the new version's pods
// follow, none carries more than its share at any moment, and at an abort the
// traffic leaves before the pods do.
func scalingDuringUpdateAndAbort(s *scenario) {
	s.serve(2, gated, errorsOnly)
	held := s.guard("v2")
	tr := s.load(60)
	s.to("v2")
	s.has("v2", "10%")
	s.waits("waits for a person")
	s.haldane("promote", "hello")
	s.has("v2", "30%")

	s.scale(4)
	s.until("v1 has 4 pods and v2 has 2", func() error { return s.running(4, 2) })
	s.waits("waits for a person")
	s.haldane("promote", "hello")
	s.has("v2", "60%")
	s.until("v1 has 4 pods and v2 has 4", func() error { return s.running(4, 4) })
	s.scale(3)
	s.until("v1 has 3 pods and v2 has 3", func() error { return s.running(3, 3) })
	s.answered(tr, 100)

	s.haldane("abort", "hello")
	s.phase("v2", "Aborted")
	s.until("v1 alone has 3 pods", func() error { return s.running(3, 0) })
	s.answered(tr, 50)
	for _, problem := range held() {
		s.Error(problem)
	}
	s.whole(tr, []string{"v1", "v2"})
	s.atRest()
}

// All pods of the new version are deleted while it has traffic: its share is 0
// at once, and nobody's request goes where no pod is.
func allCanaryPodsDie(s *scenario) {
	s.serve(2, "{canary: {steps: [{weight: 30, hold: 30m}]}, bake: 1s}", errorsOnly)
	before, _ := s.pods("v1")
	tr := s.load(60)
	s.to("v2")
	s.has("v2", "30%")
	s.answered(tr, 50)
	died := time.Now()
	if err := s.Client.CoreV1().Pods(s.ns).DeleteCollection(context.Background(), metav1.DeleteOptions{},
		metav1.ListOptions{LabelSelector: "app.kubernetes.io/version=v2"}); err != nil {
		s.Fatal(err)
	}
	s.phase("v2", "RolledBack")
	if r := s.release().Status.Run; r.Cause != "InstancesLost" {
		s.Errorf("the cause is %s: %s", r.Cause, r.Why)
	}
	off := time.Now()
	s.answered(tr, 100)
	s.within(tr, off, "v1", 1, 1)
	s.Logf("v2 answered until %v after its pods were deleted", last(tr.all(), "v2").Sub(died))
	s.untouched("v1", before)
	s.event("Warning", "RunRolledBack", "none of its instances is ready")
	// Deleted pods are off the Service before anybody can write the route: until
	// then their share has nowhere to go, and it is that share only.
	s.Logf("%d requests were answered by no version", len(lost(tr.all())))
	s.routeKept(tr.all())
	s.answeredBy(tr, []string{"v1", "v2"})
	s.atRest()
}

// scale changes the number of replicas as an autoscaler does.
func (s *scenario) scale(replicas int) {
	s.Helper()
	patch := fmt.Sprintf(`{"spec": {"replicas": %d}}`, replicas)
	if _, err := s.Client.AppsV1().Deployments(s.ns).Patch(context.Background(), "hello", types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "scale"); err != nil {
		s.Fatal(err)
	}
}

// running tells an error until the versions have so many ready pods.
func (s *scenario) running(v1, v2 int) error {
	list, err := s.Client.CoreV1().Pods(s.ns).List(context.Background(), metav1.ListOptions{LabelSelector: "app=hello"})
	if err != nil {
		return err
	}
	if a, b := ready(list.Items, "v1"), ready(list.Items, "v2"); a != v1 || b != v2 {
		return fmt.Errorf("%d and %d are ready", a, b)
	}
	return nil
}

// guard watches the route and the pods of the new version. The function that it
// returns says at which moments the version had a share of the traffic and fewer
// pods than that needs, or lost a pod that way.
func (s *scenario) guard(version string) func() []string {
	s.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s.Cleanup(cancel)
	routes, err := s.Dynamic.Resource(httpRoutes).Namespace(s.ns).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		s.Fatal(err)
	}
	pods, err := s.Client.CoreV1().Pods(s.ns).Watch(ctx, metav1.ListOptions{LabelSelector: "app=hello,app.kubernetes.io/version=" + version})
	if err != nil {
		s.Fatal(err)
	}
	g := &guarded{pods: map[types.UID]corev1.Pod{}, version: version}
	go g.run(routes, pods)
	return func() []string {
		g.Lock()
		defer g.Unlock()
		return g.problems
	}
}

type guarded struct {
	sync.Mutex
	version  string
	weight   int64 // of the version in the route
	pods     map[types.UID]corev1.Pod
	problems []string
}

func (g *guarded) run(routes, pods watch.Interface) {
	defer routes.Stop()
	defer pods.Stop()
	for {
		select {
		case e, ok := <-routes.ResultChan():
			if !ok {
				return
			}
			g.Lock()
			if u, ok := e.Object.(*unstructured.Unstructured); ok {
				g.weight = canaryWeight(u)
			}
			g.check("the route changed")
			g.Unlock()
		case e, ok := <-pods.ResultChan():
			if !ok {
				return
			}
			g.Lock()
			if p, ok := e.Object.(*corev1.Pod); ok {
				if g.pods[p.UID] = *p; e.Type == watch.Deleted {
					delete(g.pods, p.UID)
				}
				g.check(fmt.Sprintf("pod %s: %s", p.Name, e.Type))
			}
			g.Unlock()
		}
	}
}

// check holds the pods against the weight: of two pods of the old version at
// least, 30 % of the traffic needs one of the new, and 60 % two.
func (g *guarded) check(after string) {
	var list []corev1.Pod
	for _, p := range g.pods {
		list = append(list, p)
	}
	need := int((g.weight*2 + 99) / 100)
	if n := ready(list, g.version); n < need {
		g.problems = append(g.problems, fmt.Sprintf("%s has %d%% of the traffic and %d ready pods (%s)", g.version, g.weight, n, after))
	}
}

// canaryWeight is the share of the canary's Service in the first rule of a
// route, in percent.
func canaryWeight(u *unstructured.Unstructured) int64 {
	rules, _, _ := unstructured.NestedSlice(u.Object, "spec", "rules")
	var canary, all int64
	for _, r := range rules[:min(len(rules), 1)] {
		refs, _, _ := unstructured.NestedSlice(r.(map[string]any), "backendRefs")
		for _, ref := range refs {
			name, _, _ := unstructured.NestedString(ref.(map[string]any), "name")
			weight, _, _ := unstructured.NestedInt64(ref.(map[string]any), "weight")
			if all += weight; name == "hello-canary" {
				canary += weight
			}
		}
	}
	if all == 0 {
		return 0
	}
	return canary * 100 / all
}
