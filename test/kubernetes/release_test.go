package kubernetes

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	deployments = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	httpRoutes  = schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "httproutes"}
)

// TestBadVersionOffGoodOneOn: under constant load a version that fails is taken
// off, a good one is promoted; nobody's request is lost, no pod is restarted or
// replaced, and the user's objects are at rest what the user wrote.
func TestBadVersionOffGoodOneOn(t *testing.T) {
	w := newWorld(t, 2, "{weight: 10}, {weight: 50}")
	w.controller()
	w.phase("v1", "Promoted")
	route := written(w.object(httpRoutes, "hello"))
	tr := w.load(200)

	w.deploy("v2", 2, "ERRORS=0.2")
	w.phase("v2", "RolledBack")
	w.Logf("v2: %s", w.release().Status.Run.Why)
	first, _ := w.pods("v1")
	if len(first) != 2 {
		t.Errorf("after the rollback %d pods of v1 run", len(first))
	}

	w.deploy("v3", 2)
	w.phase("v3", "Baking", "Finishing", "Promoted")
	baked, _ := w.pods("v3")
	w.phase("v3", "Promoted")
	w.until("the Deployment is an ordinary one", func() error {
		d := w.deployment()
		if d.Spec.Paused || d.Status.UpdatedReplicas != 2 || d.Status.Replicas != 2 {
			return fmt.Errorf("paused %v, status %+v", d.Spec.Paused, d.Status)
		}
		return nil
	})
	tr.end()

	if now, restarts := w.pods("v3"); !cmp.Equal(now, baked) || len(now) != 2 || restarts != 0 {
		t.Errorf("pods of v3 are %v with %d restarts, they were %v when all traffic was on them", now, restarts, baked)
	}
	w.until("the route is the user's", func() error {
		if diff := cmp.Diff(route, written(w.object(httpRoutes, "hello"))); diff != "" {
			return fmt.Errorf("it differs: %s", diff)
		}
		return nil
	})
	rest := written(w.object(deployments, "hello"))
	w.deploy("v3", 2)
	if diff := cmp.Diff(rest, written(w.object(deployments, "hello"))); diff != "" {
		t.Errorf("the Deployment differs from what the user wrote: %s", diff)
	}
	shots := tr.all()
	if bad := lost(shots); len(bad) > 0 {
		t.Errorf("%d of %d requests were answered by no version, the first: %+v", len(bad), len(shots), bad[0])
	}
	off, failed, all := span(shots, "v2")
	t.Logf("%d requests; v2 answered %d, %d of them failed; from its first failure to its last answer %v", len(shots), all, failed, off)
}

// written is what a user wrote of an object, without what servers and Haldane's
// own marks add.
func written(u *unstructured.Unstructured) map[string]any {
	labels := u.GetLabels()
	delete(labels, "haldane.dev/release")
	annotations := u.GetAnnotations()
	delete(annotations, "deployment.kubernetes.io/revision")
	return map[string]any{"spec": u.Object["spec"], "labels": labels, "annotations": annotations}
}
