package app

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/haldane-project/haldane/test/cluster"
)

const autoscaler = `
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: hello}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: hello}
  minReplicas: 2
  maxReplicas: 10
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: hello}
spec:
  minAvailable: 2
  selector: {matchLabels: {app: hello}}
`

// TestClusterAutoscalerAndBudget: the autoscaler scales the user's Deployment
// midway and at rest, the new version's instances follow, nobody fights over the
// count, and never are fewer pods available than the budget asks for.
func TestClusterAutoscalerAndBudget(t *testing.T) {
	s := newShop(t)
	s.evidence = newScript()
	s.Cluster.Apply(t, s.ns, strings.Replace(fmt.Sprintf(shopDeployment, "v1"), "  replicas: 2\n", "", 1), autoscaler, halfRelease)
	s.controller()
	s.until("v1 serves", s.serves("hello", "v1"))
	s.until("the API server has taken the policy in", s.policyHolds)
	s.until("the autoscaler works", s.instances("hello:v1", 2))
	s.until("the budget holds", func() error {
		b, err := s.Client.PolicyV1().PodDisruptionBudgets(s.ns).Get(context.Background(), "hello", metav1.GetOptions{})
		if err == nil && b.Status.CurrentHealthy < 2 {
			err = fmt.Errorf("%+v", b.Status)
		}
		return err
	})
	end := s.keepsAvailable(2)
	s.Cluster.Apply(t, s.ns, strings.Replace(fmt.Sprintf(shopDeployment, "v2"), "  replicas: 2\n", "", 1))
	s.until("v2 has half of the traffic", s.weighs("hello", "50%"))
	s.atLeast(4)
	s.until("the old version is scaled", s.instances("hello:v1", 4))
	s.until("the new one follows", s.instances("hello:v2", 4))
	s.annotate("hello", `{"haldane.dev/promote-full": "hello-2"}`)
	s.until("v2 serves", s.serves("hello", "v2"))
	s.until("the Deployment is free", s.free)
	mark := s.Mark(t)
	s.atLeast(5)
	s.until("v2 is scaled at rest", s.instances("hello:v2", 5))
	s.until("the Deployment is as it is asked for", s.free)
	writes := s.Requests(t, mark, func(r cluster.Request) bool {
		return r.User == s.user && strings.HasPrefix(r.Resource, "deployments") && r.Write()
	})
	if len(writes) > 0 {
		t.Errorf("the controller wrote Deployments while they were scaled at rest: %v", writes)
	}
	for _, m := range s.deployment().ManagedFields {
		if m.Manager == "haldane" && strings.Contains(m.FieldsV1.String(), "f:replicas") {
			t.Error("the controller owns the number of replicas")
		}
	}
	end()
}

// atLeast is what the autoscaler's user wants.
func (s *shop) atLeast(n int) {
	s.Helper()
	part := fmt.Appendf(nil, `{"spec":{"minReplicas":%d}}`, n)
	if _, err := s.Client.AutoscalingV2().HorizontalPodAutoscalers(s.ns).Patch(s.Context(), "hello", types.MergePatchType, part, metav1.PatchOptions{}); err != nil {
		s.Fatal(err)
	}
}

// instances reports whether an image has n pods.
func (s *shop) instances(image string, n int) func() error {
	return func() error {
		if got := len(s.podUIDs(image)); got != n {
			return fmt.Errorf("%d pods", got)
		}
		return nil
	}
}

// keepsAvailable watches until the function that it returns is called, which
// says whether there were fewer ready pods, or fewer than a budget asks for.
func (s *shop) keepsAvailable(n int) (end func()) {
	s.Helper()
	list, err := s.Client.CoreV1().Pods(s.ns).List(s.Context(), metav1.ListOptions{})
	if err != nil {
		s.Fatal(err)
	}
	pods, err := s.Client.CoreV1().Pods(s.ns).Watch(s.Context(), metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		s.Fatal(err)
	}
	budgets, err := s.Client.PolicyV1().PodDisruptionBudgets(s.ns).Watch(s.Context(), metav1.ListOptions{})
	if err != nil {
		s.Fatal(err)
	}
	ready := map[types.UID]bool{}
	for i := range list.Items {
		ready[list.Items[i].UID] = available(&list.Items[i])
	}
	var running sync.WaitGroup
	running.Go(func() {
		seen := 0
		for e := range pods.ResultChan() {
			p, ok := e.Object.(*corev1.Pod)
			if !ok {
				continue
			}
			seen++
			if ready[p.UID] = e.Type != watch.Deleted && available(p); !ready[p.UID] {
				delete(ready, p.UID)
			}
			have := 0
			for _, r := range ready {
				if r {
					have++
				}
			}
			if have < n {
				s.Errorf("%d pods were available, expected %d at least", have, n)
			}
		}
		if seen == 0 {
			s.Error("no change of a pod was seen")
		}
	})
	running.Go(func() {
		for e := range budgets.ResultChan() {
			if b, ok := e.Object.(*policyv1.PodDisruptionBudget); ok && b.Status.CurrentHealthy < b.Status.DesiredHealthy {
				s.Errorf("the budget is broken: %+v", b.Status)
			}
		}
	})
	return func() {
		pods.Stop()
		budgets.Stop()
		running.Wait()
	}
}

func available(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// TestClusterUndo: kubectl's own way back is a release like any other, and one at
// once in the rollback window. While a refused template is held kubectl says no.
func TestClusterUndo(t *testing.T) {
	s := newShop(t)
	s.evidence = newScript()
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v1"), halfRelease)
	s.controller()
	s.until("v1 serves", s.serves("hello", "v1"))
	s.until("the API server has taken the policy in", s.policyHolds)
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v2"))
	s.until("v2 has half of the traffic", s.weighs("hello", "50%"))
	s.annotate("hello", `{"haldane.dev/promote-full": "hello-2"}`)
	s.until("v2 serves", s.serves("hello", "v2"))
	s.until("the Deployment is free", s.free)

	s.kubectl("rollout", "undo", "deployment/hello")
	s.until("v1 is released again, step by step", s.weighs("hello", "50%"))
	s.annotate("hello", `{"haldane.dev/abort": "hello-3"}`)
	s.until("it is aborted", s.phase("hello", "Aborted"))
	if out, err := s.tryKubectl("rollout", "undo", "deployment/hello"); err == nil || !strings.Contains(out, "paused") {
		t.Errorf("kubectl undoes a held Deployment: %v %s", err, out)
	}
	s.kubectl("set", "image", "deployment/hello", "app=hello:v2")
	s.until("the Deployment is free again", s.free)

	s.patch("hello", `{"spec":{"strategy":{"rollbackWindow":"1h"}}}`)
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v3"))
	s.until("v3 has half of the traffic", s.weighs("hello", "50%"))
	s.annotate("hello", `{"haldane.dev/promote-full": "hello-4"}`)
	s.until("v3 serves", s.serves("hello", "v3"))
	s.until("the Deployment is free once more", s.free)
	s.kubectl("rollout", "undo", "deployment/hello")
	s.until("v2 is back without a step", func() error {
		if run := s.release("hello").Status.Run; run == nil || run.Name != "hello-5" || len(run.Steps) != 1 {
			return fmt.Errorf("%+v", run)
		}
		return s.serves("hello", "v2")()
	})
	s.until("the Deployment is free at last", s.free)
	s.until("it has its pods", s.instances("hello:v2", 2))
}

// kubectl runs it as a user does.
func (s *shop) kubectl(args ...string) {
	s.Helper()
	if out, err := s.tryKubectl(args...); err != nil {
		s.Fatalf("kubectl %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

func (s *shop) tryKubectl(args ...string) (string, error) {
	s.Helper()
	bins, err := cluster.Build("kubectl")
	if err != nil {
		s.Fatal(err)
	}
	out, err := exec.Command(bins[0], append([]string{"--kubeconfig", s.Cluster.Kubeconfig, "--namespace", s.ns}, args...)...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.Fatal(err)
	}
	return string(out), err
}
