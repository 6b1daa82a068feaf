package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/haldane-project/haldane/internal/kube"
	"github.com/haldane-project/haldane/test/cluster"
)

// byReplicas begins a release without a router: v1 serves, and what changes the
// Deployment starts a run of the strategy.
func byReplicas(t *testing.T, traffic, strategy string) *shop {
	s := newShop(t)
	s.evidence, s.saveEvery = newScript(), time.Second
	s.start(func(sh *kube.Shell, o ControllerOptions) (parts, error) {
		return parts{router: clusterRouters(sh.Client), metrics: s.evidence, sinks: clusterSinks(sh, o)}, nil
	})
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v1"), shopService, fmt.Sprintf(`
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: {name: hello}
spec:
  workload: {deployment: {name: hello}}
  traffic: {replicas: %s}
  strategy: {%s, bake: 0s}
  analysis: {metrics: [{name: errors, kind: errors}]}
`, traffic, strategy))
	s.until("v1 serves", s.serves("hello", "v1"))
	s.until("the API server has taken the policy in", s.policyHolds)
	return s
}

// reaches reports whether the Service leads to so many ready pods of each image.
func (s *shop) reaches(want map[string]int) func() error {
	return func() error {
		list, err := s.Client.DiscoveryV1().EndpointSlices(s.ns).List(context.Background(), metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=hello"})
		if err != nil {
			return err
		}
		got := map[string]int{}
		for _, slice := range list.Items {
			for _, e := range slice.Endpoints {
				if e.Conditions.Ready == nil || !*e.Conditions.Ready {
					continue
				}
				p, err := s.Client.CoreV1().Pods(s.ns).Get(context.Background(), e.TargetRef.Name, metav1.GetOptions{})
				if err != nil {
					return err
				}
				_, tag, _ := strings.Cut(p.Spec.Containers[0].Image, ":")
				got[tag]++
			}
		}
		if !maps.Equal(got, want) {
			return fmt.Errorf("the Service leads to %v, expected %v", got, want)
		}
		return nil
	}
}

// untouched reports whether the Service is what its user wrote.
func (s *shop) untouched() error {
	svc, err := s.Client.CoreV1().Services(s.ns).Get(context.Background(), "hello", metav1.GetOptions{})
	if err != nil || len(svc.Spec.Selector) != 1 || svc.Annotations["haldane.dev/split"] != "" {
		return fmt.Errorf("the selector is %v, the annotations are %v: %w", svc.Spec.Selector, svc.Annotations, err)
	}
	return nil
}

// waits reports whether the run waits in a step with a share of the traffic.
func (s *shop) waits(step, weight string) func() error {
	return func() error {
		if st := s.release("hello").Status; st.Step != step || st.Weight != weight || !strings.Contains(st.Message, "waits for a person") {
			return fmt.Errorf("%s, step %s, %s: %s", st.Phase, st.Step, st.Weight, st.Message)
		}
		return nil
	}
}

// Nobody reaches the new version before the switch, and nobody the old one after it.
func TestClusterSwitchesBlueGreenByTheServiceAlone(t *testing.T) {
	s := byReplicas(t, "{service: hello}", "blueGreen: {gates: [{person: true}]}")
	if err := s.untouched(); err != nil {
		t.Errorf("at rest: %v", err)
	}
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v2"))
	s.until("the preview waits", s.waits("1/2", "0%"))
	if n := len(s.podUIDs("hello:v2")); n != 2 {
		t.Errorf("%d pods of v2 stand by, expected 2", n)
	}
	if err := s.reaches(map[string]int{"v1": 2})(); err != nil {
		t.Error(err)
	}
	canary := s.podUIDs("hello:v2")
	s.annotate("hello", `{"haldane.dev/promote": "hello-2"}`)
	s.until("v2 serves", s.serves("hello", "v2"))
	s.until("the Service is the user's", s.untouched)
	s.until("v2 has the traffic", s.reaches(map[string]int{"v2": 2}))
	if now := s.podUIDs("hello:v2"); !slices.Equal(now, canary) {
		t.Errorf("the pods that stood by are %v; %v serve", canary, now)
	}
}

// The share that is told is the one that instances give, not the plan's.
func TestClusterTellsTheShareThatInstancesGive(t *testing.T) {
	for traffic, name := range map[string]string{"{service: hello}": "with the Service", "{}": "without the Service"} {
		t.Run(name, func(t *testing.T) {
			s := byReplicas(t, traffic, "canary: {steps: [{weight: 5, require: none, gates: [{person: true}]}]}")
			s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v2"))
			s.until("the first step waits", s.waits("1/2", "33.33%"))
			s.until("the Service leads to what has the share", s.reaches(map[string]int{"v1": 2, "v2": 1}))
			s.annotate("hello", `{"haldane.dev/abort": "hello-2"}`)
			s.until("v2 is off", s.phase("hello", "Aborted"))
			s.until("v1 has the traffic", s.reaches(map[string]int{"v1": 2}))
			s.until("the Service is the user's", s.untouched)
		})
	}
}

// A bad canary loses its requests before its pods are taken.
func TestClusterTakesABadCanaryOutOfTheService(t *testing.T) {
	s := byReplicas(t, "{service: hello}", "canary: {steps: [{weight: 50, hold: 1h, require: none}]}, stepDeadline: 2h")
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v2"))
	s.until("v2 has its share", s.reaches(map[string]int{"v1": 2, "v2": 2}))
	ctx, cancel := context.WithTimeout(t.Context(), 2*cluster.Patience)
	defer cancel()
	services, err := s.Client.CoreV1().Services(s.ns).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=hello"})
	if err != nil {
		t.Fatal(err)
	}
	pods, err := s.Client.CoreV1().Pods(s.ns).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.evidence.(*script).fail(s.ns + "/hello-2")
	s.until("v2 is off", s.phase("hello", "RolledBack"))
	s.until("the Service is the user's", s.untouched)
	rest, err := s.Client.CoreV1().Services(s.ns).Get(ctx, "hello", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var states []*corev1.Service
	for e := range services.ResultChan() {
		svc, ok := e.Object.(*corev1.Service)
		if !ok {
			t.Fatalf("%+v", e.Object)
		}
		if states = append(states, svc); written(svc) >= written(rest) {
			break
		}
	}
	takenBehind(t, pods, states)
}

// takenBehind checks that as each pod of v2 was first seen to go, of two, the Service
// did not lead to it, by all the states that it had.
func takenBehind(t *testing.T, pods watch.Interface, states []*corev1.Service) {
	t.Helper()
	taken := map[types.UID]bool{}
	for e := range pods.ResultChan() {
		p, ok := e.Object.(*corev1.Pod)
		if !ok || p.DeletionTimestamp == nil && e.Type != watch.Deleted || p.Spec.Containers[0].Image != "hello:v2" || taken[p.UID] {
			continue
		}
		taken[p.UID] = true
		later := slices.IndexFunc(states, func(svc *corev1.Service) bool { return written(svc) > written(p) })
		if later < 1 {
			t.Fatalf("by its %d states the Service was given back before pod %s went", len(states), p.Name)
		}
		if hash := states[later-1].Spec.Selector["pod-template-hash"]; hash == "" || hash == p.Labels["pod-template-hash"] {
			t.Errorf("as pod %s was taken the Service selected %v", p.Name, states[later-1].Spec.Selector)
		}
		if len(taken) == 2 {
			return
		}
	}
	t.Fatalf("%d pods of v2 were taken, expected 2", len(taken))
}

// A rolling run replaces instances in batches, each a share of the traffic.
func TestClusterRollsInBatchesWithoutARouter(t *testing.T) {
	for traffic, name := range map[string]string{"{service: hello}": "with the Service", "{}": "without the Service"} {
		t.Run(name, func(t *testing.T) {
			s := byReplicas(t, traffic, "rolling: {batches: 2}")
			s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v2"))
			s.until("v2 serves", s.serves("hello", "v2"))
			s.until("the Service is the user's", s.untouched)
			s.until("v2 has the traffic", s.reaches(map[string]int{"v2": 2}))
		})
	}
}

// An A/B comparison by instances alone: both versions serve until the new one is
// proven to be no worse, which then takes over; one that is worse is off at once.
func TestClusterComparesTwoVersionsWithoutARouter(t *testing.T) {
	for traffic, name := range map[string]string{"{service: hello}": "with the Service", "{}": "without the Service"} {
		t.Run(name, func(t *testing.T) {
			s := byReplicas(t, traffic, "ab: {share: 50%}, stepDeadline: 1h")
			script, _ := s.evidence.(*script)
			script.leave(s.ns+"/hello-2", true)
			s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v2"))
			s.until("both versions serve", s.reaches(map[string]int{"v1": 2, "v2": 2}))
			s.until("the share is told", s.weighs("hello", "50%"))
			tried := s.podUIDs("hello:v2")
			script.leave(s.ns+"/hello-2", false)
			s.until("v2 serves", s.serves("hello", "v2"))
			s.until("v2 has the traffic", s.reaches(map[string]int{"v2": 2}))
			s.until("the Service is the user's", s.untouched)
			if now := s.podUIDs("hello:v2"); !slices.Equal(now, tried) {
				t.Errorf("the pods that were compared are %v; %v serve", tried, now)
			}

			script.fail(s.ns + "/hello-3")
			s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v3"))
			s.until("v3 is off", s.phase("hello", "RolledBack"))
			s.until("v2 has the traffic again", s.reaches(map[string]int{"v2": 2}))
			s.until("the Service is the user's", s.untouched)
		})
	}
}

// A Service that is not there, or leads elsewhere, is told, and nothing of the
// new version is started.
func TestClusterSaysWhichServiceDoesNotLeadToTheDeployment(t *testing.T) {
	s := byReplicas(t, "{service: hello}", "blueGreen: {}")
	if err := s.Client.CoreV1().Services(s.ns).Delete(t.Context(), "hello", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.until("the missing Service is told", s.says("hello", "Service "+s.ns+"/hello does not exist: create it, or name another one"))
	s.Cluster.Apply(t, s.ns, strings.Replace(shopService, "{app: hello}", "{app: other}", 1), fmt.Sprintf(shopDeployment, "v2"))
	s.until("the wrong Service is told", s.says("hello", "Service hello does not select the pods of Deployment hello"))
	if n := len(s.podUIDs("hello:v2")); n > 0 {
		t.Errorf("%d pods of v2 were started", n)
	}
	s.Cluster.Apply(t, s.ns, shopService)
	s.until("v2 serves", s.serves("hello", "v2"))
	s.until("the Release can be deleted", func() error {
		rel := s.release("hello")
		if rel.Name == "" {
			return nil
		}
		return errors.Join(errors.New("it is there"), s.live.Delete(context.Background(), &rel))
	})
}
