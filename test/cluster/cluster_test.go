package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/haldane-project/haldane/test/cluster"
)

func TestMain(m *testing.M) { cluster.Main(m) }

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: web
        image: web:%s
        ports: [{containerPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
`

func rolledOut(c *cluster.Cluster, ns, image string) func() error {
	return func() error {
		d, err := c.Client.AppsV1().Deployments(ns).Get(context.Background(), "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		s := d.Status
		if d.Spec.Template.Spec.Containers[0].Image != image || s.ObservedGeneration != d.Generation || s.UpdatedReplicas != 3 || s.AvailableReplicas != 3 || s.Replicas != 3 {
			return fmt.Errorf("the status is %+v", s)
		}
		return nil
	}
}

func TestDeploymentRollsWithFakePods(t *testing.T) {
	c := cluster.ControlPlane(t)
	ns := c.Namespace(t)
	c.FakeKubelet(t, ns, cluster.Running)
	for _, version := range []string{"1", "2"} {
		c.Apply(t, ns, fmt.Sprintf(deployment, version))
		cluster.Eventually(t, cluster.Patience, "web:"+version, rolledOut(c, ns, "web:"+version))
	}
	cluster.Eventually(t, cluster.Patience, "three endpoints", func() error {
		slices, err := c.Client.DiscoveryV1().EndpointSlices(ns).List(context.Background(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=web"})
		if err != nil {
			return err
		}
		if len(slices.Items) != 1 || len(slices.Items[0].Endpoints) != 3 {
			return fmt.Errorf("slices: %+v", slices.Items)
		}
		return nil
	})
}

func TestFakePodsFail(t *testing.T) {
	c := cluster.ControlPlane(t)
	ns := c.Namespace(t)
	bad := cluster.PodState{Waiting: "CrashLoopBackOff", Restarts: 3, Terminated: "Error"}
	c.FakeKubelet(t, ns, func(p *corev1.Pod) cluster.PodState {
		if p.Spec.Containers[0].Image == "web:2" {
			return bad
		}
		return cluster.PodState{Ready: true}
	})
	c.Apply(t, ns, fmt.Sprintf(deployment, "1"))
	cluster.Eventually(t, cluster.Patience, "web:1", rolledOut(c, ns, "web:1"))
	c.Apply(t, ns, fmt.Sprintf(deployment, "2"))
	cluster.Eventually(t, cluster.Patience, "a pod that crash-loops", func() error {
		pods, err := c.Client.CoreV1().Pods(ns).List(context.Background(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, p := range pods.Items {
			for _, s := range p.Status.ContainerStatuses {
				if s.State.Waiting != nil && s.State.Waiting.Reason == "CrashLoopBackOff" && s.RestartCount == 3 && s.LastTerminationState.Terminated.Reason == "Error" {
					return nil
				}
			}
		}
		return errors.New("none")
	})
	d, err := c.Client.AppsV1().Deployments(ns).Get(context.Background(), "web", metav1.GetOptions{})
	if err != nil || d.Status.AvailableReplicas != 3 {
		t.Errorf("%d pods available, expected the 3 of web:1 (%v)", d.Status.AvailableReplicas, err)
	}
}

func TestAuditCounts(t *testing.T) {
	c := cluster.ControlPlane(t)
	ns := c.Namespace(t)
	config := c.ServiceAccount(t, ns, "counted", rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get", "create"}})
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	mark, ctx := c.Mark(t), context.Background()
	for i := range 3 {
		if _, err := client.CoreV1().ConfigMaps(ns).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("c", i)}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.CoreV1().ConfigMaps(ns).Get(ctx, "c0", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.AppsV1().Deployments(ns).Create(ctx, &appsv1.Deployment{}, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a Deployment by an account without the right to: %v, expected forbidden", err)
	}
	got := cluster.Tally(c.Requests(t, mark, cluster.ByUser("system:serviceaccount:"+ns+":counted")))
	want := map[string]int{"create configmaps": 3, "get configmaps": 1, "create deployments.apps": 1}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the audit log counted %v, expected %v", got, want)
	}
	if more := c.Requests(t, c.Mark(t), cluster.ByUser("system:serviceaccount:"+ns+":counted")); len(more) != 0 {
		t.Errorf("since a later mark: %v, expected nothing", more)
	}
}

func TestAPIServerStopsAndStarts(t *testing.T) {
	c := cluster.New(t)
	ns := c.Namespace(t)
	c.FakeKubelet(t, ns, cluster.Running)
	c.Apply(t, ns, fmt.Sprintf(deployment, "1"))
	cluster.Eventually(t, cluster.Patience, "web:1", rolledOut(c, ns, "web:1"))

	c.StopAPIServer(t)
	if _, err := c.Client.CoreV1().Namespaces().Get(context.Background(), ns, metav1.GetOptions{}); err == nil {
		t.Error("a stopped API server answered")
	}
	c.StartAPIServer(t)
	c.Apply(t, ns, fmt.Sprintf(deployment, "2"))
	cluster.Eventually(t, cluster.Patience, "web:2 after the restart", rolledOut(c, ns, "web:2"))
}

func TestUnknownProgram(t *testing.T) {
	if _, err := cluster.Build("etc"); err == nil || !strings.Contains(err.Error(), "known are etcd, kube-apiserver,") {
		t.Errorf("an unknown program: %v, expected the known ones", err)
	}
}
