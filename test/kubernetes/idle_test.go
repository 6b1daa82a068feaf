package kubernetes

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/haldane-project/haldane/api/v1alpha1"
)

// resting is a Release and its Deployment, whose one pod no scheduler binds: a
// node takes a hundred or so.
const resting = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: 1
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s, idle: "yes", app.kubernetes.io/version: v1}}
    spec:
      schedulerName: nobody
      containers: [{name: app, image: "haldane.test/app:1"}]
---
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: {name: %[1]s, labels: {idle: "yes"}}
spec:
  workload: {deployment: {name: %[1]s}}
  traffic: {replicas: {}}
  strategy: {canary: {steps: [{weight: 10}, {weight: 50}]}}
`

// idle adds n Releases at rest to the namespace and waits until the controller
// has taken them in. They go before the controller does.
func (w *world) idle(n int) {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w.Cleanup(func() {
		defer cancel()
		all := w.Dynamic.Resource(releases).Namespace(w.ns)
		picked := metav1.ListOptions{LabelSelector: "idle=yes"}
		if err := all.DeleteCollection(ctx, metav1.DeleteOptions{}, picked); err != nil {
			w.Error(err)
		}
		w.until("the idle releases are gone", func() error {
			if list, err := all.List(ctx, picked); err != nil || len(list.Items) > 0 {
				return fmt.Errorf("some are there: %w", err)
			}
			return nil
		})
	})
	w.vouch(ctx)
	for i := range n {
		w.Apply(w.T, w.ns, fmt.Sprintf(resting, fmt.Sprintf("idle-%d", i)))
	}
	w.until("the idle releases rest", func() error {
		list, err := w.Dynamic.Resource(releases).Namespace(w.ns).List(ctx, metav1.ListOptions{LabelSelector: "idle=yes"})
		if err != nil {
			return err
		}
		rest := 0
		for _, u := range list.Items {
			var r v1alpha1.Release
			if runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &r) == nil && meta.IsStatusConditionTrue(r.Status.Conditions, "Ready") {
				rest++
			}
		}
		if rest < n {
			return fmt.Errorf("%d of %d", rest, n)
		}
		return nil
	})
}

// vouch says of the pods that nobody runs that they are ready.
func (w *world) vouch(ctx context.Context) {
	w.Helper()
	pods := w.Client.CoreV1().Pods(w.ns)
	events, err := pods.Watch(ctx, metav1.ListOptions{LabelSelector: "idle=yes"})
	if err != nil {
		w.Fatal(err)
	}
	const ready = `{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}`
	go func() {
		for e := range events.ResultChan() {
			if p, ok := e.Object.(*corev1.Pod); ok && p.Status.Phase == corev1.PodPending {
				_, err := pods.Patch(ctx, p.Name, types.StrategicMergePatchType, []byte(ready), metav1.PatchOptions{}, "status")
				if err != nil && !errors.Is(err, context.Canceled) {
					w.Logf("say that pod %s is ready: %v", p.Name, err)
				}
			}
		}
	}()
}
