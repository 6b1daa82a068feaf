package deployment_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/deploy/admission"
	engine "github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/workload"
	"github.com/haldane-project/haldane/internal/workload/deployment"
	"github.com/haldane-project/haldane/test/cluster"
)

func TestMain(m *testing.M) { cluster.Main(m) }

const hello = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: hello, labels: {app: hello}}
spec:
  replicas: 3
  selector: {matchLabels: {app: hello}}
  template:
    metadata: {labels: {app: hello}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - {name: app, image: "hello:%s", ports: [{containerPort: 8080}]}
`

// world is a namespace with the Deployment of a user, behind the admission
// policy, and the runtime with the rights of the controller.
type world struct {
	*testing.T
	*cluster.Cluster
	ns      string
	client  *engine.Client
	changes *workload.Changes
	runtime *deployment.Runtime
	rel     release.Release
}

func newWorld(t *testing.T, kubelet func(*corev1.Pod) cluster.PodState) *world {
	w := &world{T: t, Cluster: cluster.ControlPlane(t)}
	w.ns = w.Namespace(t)
	w.FakeKubelet(t, w.ns, kubelet)
	rights := w.ServiceAccount(t, w.ns, "haldane",
		rbacv1.PolicyRule{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: []string{"get", "list", "watch", "create", "update", "patch", "delete"}},
		rbacv1.PolicyRule{APIGroups: []string{"apps"}, Resources: []string{"replicasets"}, Verbs: []string{"get", "list", "watch", "patch", "delete"}},
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list", "watch"}})
	live, err := client.New(rights, client.Options{Scheme: scheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	policy, err := admission.Policy("system:serviceaccount:" + w.ns + ":haldane")
	if err != nil {
		t.Fatal(err)
	}
	// One policy for each test: of several for the same object the last one wins.
	w.Cluster.Apply(t, "", strings.ReplaceAll(string(policy), "objectSelector: {}", "namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: "+w.ns+"}}"))
	w.client, w.changes = engine.New(live, live), workload.NewChanges()
	t.Cleanup(w.changes.Close)
	w.runtime = deployment.New(w.client, w.changes, deployment.Options{})
	w.rel = release.Release{Name: w.ns + "/hello", Version: release.Version{Workload: release.Workload{Deployment: &release.Deployment{Name: "hello"}}}}
	w.user("v1")
	w.Apply(3, "v1")
	w.until("v1 serves", func() error { return w.runs("v1", 3) })
	w.until("the policy holds", func() error {
		change := []byte(`{"spec":{"template":{"metadata":{"annotations":{"try":"it"}}}}}`)
		d, err := w.Client.AppsV1().Deployments(w.ns).Patch(context.Background(), "hello", types.MergePatchType, change, metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil && !d.Spec.Paused {
			err = errors.New("not paused")
		}
		return err
	})
	return w
}

// user applies the Deployment as its user does.
func (w *world) user(image string) { w.Cluster.Apply(w.T, w.ns, fmt.Sprintf(hello, image)) }

func (w *world) deployment(name string) *appsv1.Deployment {
	d, err := w.Client.AppsV1().Deployments(w.ns).Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return d
}

func version(image string) release.Version {
	return release.Version{Name: image, Workload: release.Workload{Deployment: &release.Deployment{Name: "hello"}}}
}

// id is the version of an image, by the ReplicaSets and the user's template.
func (w *world) id(image string) release.VersionID {
	if d := w.deployment("hello"); d != nil && d.Spec.Template.Spec.Containers[0].Image == "hello:"+image {
		return engine.TemplateID(d.Spec.Template)
	}
	list, err := w.Client.AppsV1().ReplicaSets(w.ns).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	for _, rs := range list.Items {
		if rs.Spec.Template.Spec.Containers[0].Image == "hello:"+image {
			return engine.TemplateID(rs.Spec.Template)
		}
	}
	return ""
}

func (w *world) groups(n int, images ...string) []rollout.Group {
	var want []rollout.Group
	for _, image := range images {
		v := version(image)
		v.ID = w.id(image)
		want = append(want, rollout.Group{Version: v, Replicas: n})
	}
	slices.SortFunc(want, func(a, b rollout.Group) int { return strings.Compare(string(a.Version.ID), string(b.Version.ID)) })
	return want
}

// Apply makes the wanted versions so, n instances of each.
func (w *world) Apply(n int, images ...string) {
	w.Helper()
	w.until("apply "+strings.Join(images, "+"), func() error {
		return w.runtime.Apply(context.Background(), w.rel, w.groups(n, images...))
	})
}

func (w *world) until(what string, ready func() error) {
	w.Helper()
	cluster.Eventually(w.T, cluster.Patience, what, ready)
}

// runs tells an error unless exactly n instances of a version are ready.
func (w *world) runs(image string, n int) error {
	fleet, err := w.runtime.Observe(context.Background(), w.rel)
	if err != nil {
		return err
	}
	for _, g := range fleet.Groups {
		if g.Version == w.id(image) && g.Ready == n && g.Total == n {
			return nil
		}
	}
	return fmt.Errorf("not %d of %s: %+v", n, image, fleet.Groups)
}

func (w *world) alone(image string, n int) error {
	fleet, err := w.runtime.Observe(context.Background(), w.rel)
	if err != nil {
		return err
	}
	if len(fleet.Groups) != 1 {
		return fmt.Errorf("not alone: %+v", fleet.Groups)
	}
	return w.runs(image, n)
}

// pods are the UIDs of an image's pods.
func (w *world) pods(image string) []types.UID {
	list, err := w.Client.CoreV1().Pods(w.ns).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	var out []types.UID
	for _, p := range list.Items {
		if p.Spec.Containers[0].Image == "hello:"+image && p.DeletionTimestamp == nil {
			out = append(out, p.UID)
		}
	}
	slices.Sort(out)
	return out
}

// written is what a user sees of the Deployment, apart from what servers fill in.
func (w *world) written() map[string]any {
	d := w.deployment("hello")
	return map[string]any{"labels": without(d.Labels, engine.ReleaseLabel), "annotations": without(d.Annotations, "deployment.kubernetes.io/revision"), "spec": d.Spec}
}

func without(m map[string]string, key string) map[string]string {
	out := map[string]string{}
	for k, v := range m {
		if k != key {
			out[k] = v
		}
	}
	return out
}

// TestPromotedByAdoption: the new version's pods are the same before and after,
// and the Deployment at rest is what its user wrote.
func TestPromotedByAdoption(t *testing.T) {
	w := newWorld(t, cluster.Running)
	first := w.pods("v1")
	w.user("v2")
	if d := w.deployment("hello"); !d.Spec.Paused {
		t.Fatal("the write that changed the template did not pause it")
	}
	w.Apply(1, "v1", "v2")
	w.until("one of v2", func() error { return w.runs("v2", 1) })
	if got := w.pods("v1"); !cmp.Equal(got, first) {
		t.Errorf("pods of v1 are %v, they were %v", got, first)
	}
	if d := w.deployment("hello-canary"); cmp.Diff(d.Spec.Template, w.deployment("hello").Spec.Template) != "" {
		t.Errorf("the templates differ: %s", cmp.Diff(d.Spec.Template, w.deployment("hello").Spec.Template))
	}
	w.Apply(3, "v1", "v2")
	w.until("three of v2", func() error { return w.runs("v2", 3) })
	second := w.pods("v2")
	w.until("v2 alone, under the user's Deployment", func() error {
		if err := w.runtime.Apply(context.Background(), w.rel, w.groups(3, "v2")); err != nil {
			return err
		}
		d := w.deployment("hello")
		if d.Spec.Paused || d.Annotations[engine.HoldAnnotation] != "" || w.deployment("hello-canary") != nil {
			return fmt.Errorf("paused %v, annotations %v", d.Spec.Paused, d.Annotations)
		}
		return w.alone("v2", 3)
	})
	if got := w.pods("v2"); !cmp.Equal(got, second) {
		t.Errorf("pods of v2 are %v, they were %v", got, second)
	}
	rest := w.written()
	w.user("v2") // what the user wrote changes nothing
	if diff := cmp.Diff(rest, w.written()); diff != "" {
		t.Errorf("at rest it differs from what the user wrote: %s", diff)
	}
	w.until("the Deployment is complete", func() error {
		d := w.deployment("hello")
		if s := d.Status; s.UpdatedReplicas != 3 || s.AvailableReplicas != 3 || s.Replicas != 3 || s.ObservedGeneration != d.Generation {
			return fmt.Errorf("status %+v", s)
		}
		return nil
	})
}

// TestBackToAnEarlierVersion: a person goes back; the old version's pods come
// beside and are adopted under the old template.
func TestBackToAnEarlierVersion(t *testing.T) {
	w := newWorld(t, cluster.Running)
	w.user("v2")
	w.Apply(3, "v1", "v2")
	w.until("v2", func() error { return w.runs("v2", 3) })
	w.until("v2 alone", func() error { w.Apply(3, "v2"); return w.alone("v2", 3) })
	w.until("free again", func() error {
		w.Apply(3, "v2")
		if w.deployment("hello").Spec.Paused {
			return fmt.Errorf("paused")
		}
		return nil
	})
	w.Apply(3, "v2", "v1")
	w.until("v1 beside", func() error { return w.runs("v1", 3) })
	back := w.pods("v1")
	w.until("v1 alone", func() error { w.Apply(3, "v1"); return w.alone("v1", 3) })
	if got := w.pods("v1"); !cmp.Equal(got, back) {
		t.Errorf("pods of v1 are %v, they were %v", got, back)
	}
	if got := w.deployment("hello").Spec.Template.Spec.Containers[0].Image; got != "hello:v1" {
		t.Errorf("the template is that of %s", got)
	}
}

// TestRolledBackStaysHeld: the bad template stands in the Deployment and does
// not roll, whoever resumes it, until the user writes another one.
func TestRolledBackStaysHeld(t *testing.T) {
	w := newWorld(t, cluster.Running)
	first := w.pods("v1")
	w.user("v2")
	w.Apply(1, "v1", "v2")
	w.until("one of v2", func() error { return w.runs("v2", 1) })
	w.until("v1 alone", func() error { w.Apply(3, "v1"); return w.alone("v1", 3) })
	resume := []byte(`{"spec":{"paused":false},"metadata":{"annotations":{"haldane.dev/hold":null}}}`)
	if _, err := w.Client.AppsV1().Deployments(w.ns).Patch(t.Context(), "hello", types.MergePatchType, resume, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if d := w.deployment("hello"); !d.Spec.Paused {
		t.Error("somebody resumed it")
	}
	w.user("v1")
	w.until("free", func() error {
		w.Apply(3, "v1")
		if w.deployment("hello").Spec.Paused {
			return fmt.Errorf("paused")
		}
		return nil
	})
	if got := w.pods("v1"); !cmp.Equal(got, first) {
		t.Errorf("pods of v1 are %v, they were %v", got, first)
	}
}

// TestTemplateThatNothingHeld: a Deployment that begins to roll out by itself is
// held, its old version comes back to full, and the new one starts beside.
func TestTemplateThatNothingHeld(t *testing.T) {
	w := newWorld(t, func(p *corev1.Pod) cluster.PodState {
		slow := p.Spec.Containers[0].Image == "hello:v2" && !strings.HasPrefix(p.Name, "hello-canary-")
		return cluster.PodState{Ready: !slow}
	})
	unknown := []byte(`{"metadata":{"labels":{"haldane.dev/release":null}}}`)
	if _, err := w.Client.AppsV1().Deployments(w.ns).Patch(t.Context(), "hello", types.MergePatchType, unknown, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	w.user("v2")
	w.until("it rolls by itself", func() error {
		if n := len(w.pods("v2")); n == 0 {
			return fmt.Errorf("no pod of v2")
		}
		return nil
	})
	if err := w.runs("v2", 0); err == nil || !strings.Contains(err.Error(), "install the admission policy") {
		t.Errorf("it is told as %v", err)
	}
	w.until("v2 beside v1", func() error {
		w.Apply(1, "v1", "v2")
		for _, rs := range []struct {
			image string
			n     int
		}{{"v1", 3}, {"v2", 1}} {
			if err := w.runs(rs.image, rs.n); err != nil {
				return err
			}
		}
		return nil
	})
	if d := w.deployment("hello"); !d.Spec.Paused || d.Labels[engine.ReleaseLabel] == "" || w.deployment("hello-canary") == nil {
		t.Errorf("paused %v, labels %v", d.Spec.Paused, d.Labels)
	}
}

// TestTemplateChangedBeforeAnyServed: a version that is wanted alone while another
// one's pods are there, since the template changed before the first one served,
// rolls out as any Deployment's does; it is held no longer than that.
func TestTemplateChangedBeforeAnyServed(t *testing.T) {
	for _, atRest := range []bool{false, true} {
		t.Run(fmt.Sprintf("PauseAtRest %v", atRest), func(t *testing.T) {
			w := newWorld(t, func(p *corev1.Pod) cluster.PodState {
				if p.Spec.Containers[0].Image == "hello:v2" {
					return cluster.PodState{Waiting: "CrashLoopBackOff"}
				}
				return cluster.PodState{Ready: true}
			})
			w.runtime = deployment.New(w.client, w.changes, deployment.Options{PauseAtRest: atRest})
			for _, image := range []string{"v2", "v3"} {
				w.user(image)
				if !w.deployment("hello").Spec.Paused {
					t.Fatalf("%s is not held", image)
				}
				w.Apply(3, image)
				w.until(image+" rolls", func() error {
					w.Apply(3, image)
					if len(w.pods(image)) == 0 {
						return errors.New("it has no pod")
					}
					return nil
				})
				if err := w.runs(image, -1); strings.Contains(err.Error(), "by itself") {
					t.Errorf("it is told as %v", err)
				}
			}
			w.until("v3 alone", func() error {
				w.Apply(3, "v3")
				if err := w.alone("v3", 3); err != nil {
					return err
				}
				if d := w.deployment("hello"); d.Spec.Paused != atRest {
					return fmt.Errorf("paused: %v", d.Spec.Paused)
				}
				return nil
			})
			w.user("v4")
			if !w.deployment("hello").Spec.Paused {
				t.Error("the next template is not held")
			}
		})
	}
}

// TestThirdTemplateMidway: the third version takes the second's place.
func TestThirdTemplateMidway(t *testing.T) {
	w := newWorld(t, cluster.Running)
	w.user("v2")
	w.Apply(2, "v1", "v2")
	w.until("v2", func() error { return w.runs("v2", 2) })
	w.user("v3")
	w.Apply(3, "v1", "v3")
	w.until("v3 in place of v2", func() error {
		w.Apply(2, "v1", "v3")
		if n := len(w.pods("v2")); n > 0 {
			return fmt.Errorf("%d pods of v2", n)
		}
		return w.runs("v3", 2)
	})
}

// TestTroubleIsTold: why pods are not ready, and what no retry mends.
func TestTroubleIsTold(t *testing.T) {
	w := newWorld(t, func(p *corev1.Pod) cluster.PodState {
		switch p.Spec.Containers[0].Image {
		case "hello:crash":
			return cluster.PodState{Waiting: "CrashLoopBackOff", Restarts: 3, Terminated: "OOMKilled"}
		case "hello:absent":
			return cluster.PodState{Waiting: "InvalidImageName"}
		}
		return cluster.PodState{Ready: true}
	})
	for image, want := range map[string]string{"crash": "CrashLoopBackOff", "absent": "InvalidImageName"} {
		w.user(image)
		w.until(image, func() error {
			w.Apply(1, "v1", image)
			fleet, err := w.runtime.Observe(context.Background(), w.rel)
			if err != nil {
				return err
			}
			for _, g := range fleet.Groups {
				if g.Version == w.id(image) && strings.Contains(g.Error, want) && g.Blocked == (image == "absent") && g.Ready == 0 {
					return nil
				}
			}
			return fmt.Errorf("%+v", fleet.Groups)
		})
	}
}

// patch changes a Deployment as anybody does.
func (w *world) patch(name, part string) {
	w.Helper()
	if _, err := w.Client.AppsV1().Deployments(w.ns).Patch(w.Context(), name, types.MergePatchType, []byte(part), metav1.PatchOptions{}); err != nil {
		w.Fatal(err)
	}
}

// TestPodsCountOnceTheyWereReadyForMinReadySeconds: a pod that is Ready is not
// yet an instance that may be sent requests where the Deployment asks for more.
func TestPodsCountOnceTheyWereReadyForMinReadySeconds(t *testing.T) {
	w := newWorld(t, cluster.Running)
	w.user("v2")
	w.patch("hello", `{"spec":{"minReadySeconds":3600,"progressDeadlineSeconds":7200}}`)
	w.Apply(1, "v1", "v2")
	w.until("v2's pod is Ready, and no instance yet", func() error {
		list, err := w.Client.CoreV1().Pods(w.ns).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		ready := slices.ContainsFunc(list.Items, func(p corev1.Pod) bool {
			return p.Spec.Containers[0].Image == "hello:v2" && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
				return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
			})
		})
		g, err := w.group("v2")
		if err != nil || !ready || g.Total != 1 || g.Ready != 0 {
			return fmt.Errorf("Ready %v, observed %+v: %w", ready, g, err)
		}
		return nil
	})
	w.patch("hello-canary", `{"spec":{"minReadySeconds":0}}`)
	w.until("it is one", func() error { return w.runs("v2", 1) })
}

// TestNoProgressForTheDeadlineIsBlocked: an image that is never pulled is told
// once progressDeadlineSeconds have passed.
func TestNoProgressForTheDeadlineIsBlocked(t *testing.T) {
	w := newWorld(t, func(p *corev1.Pod) cluster.PodState {
		return cluster.PodState{Ready: p.Spec.Containers[0].Image == "hello:v1"}
	})
	w.user("v2")
	w.patch("hello", `{"spec":{"progressDeadlineSeconds":1}}`)
	w.Apply(1, "v1", "v2")
	w.until("v2 is blocked", func() error {
		g, err := w.group("v2")
		if err != nil || !g.Blocked || g.Ready > 0 || !strings.Contains(g.Error, "has timed out progressing") {
			return fmt.Errorf("%+v: %w", g, err)
		}
		return nil
	})
	if g, err := w.group("v1"); err != nil || g.Blocked || g.Ready != 3 {
		t.Errorf("v1 is %+v: %v", g, err)
	}
}

// group is what is observed of a version.
func (w *world) group(image string) (rollout.ObservedGroup, error) {
	fleet, err := w.runtime.Observe(w.Context(), w.rel)
	for _, g := range fleet.Groups {
		if g.Version == w.id(image) {
			return g, err
		}
	}
	return rollout.ObservedGroup{}, err
}

// TestGivenBack: without groups nothing of Haldane is left, and the Deployment
// rolls by itself.
func TestGivenBack(t *testing.T) {
	w := newWorld(t, cluster.Running)
	w.user("v2")
	w.Apply(1, "v1", "v2")
	w.until("v2", func() error { return w.runs("v2", 1) })
	if err := w.runtime.Apply(t.Context(), w.rel, nil); err != nil {
		t.Fatal(err)
	}
	if fleet, err := w.runtime.Observe(t.Context(), w.rel); err != nil || len(fleet.Groups) > 0 {
		t.Errorf("observes %+v, %v", fleet, err)
	}
	if name := <-w.runtime.Changed(); name != w.rel.Name {
		t.Errorf("tells %s", name)
	}
	d := w.deployment("hello")
	if d.Spec.Paused || d.Labels[engine.ReleaseLabel] != "" || d.Annotations[engine.HoldAnnotation] != "" {
		t.Errorf("it keeps paused %v, labels %v, annotations %v", d.Spec.Paused, d.Labels, d.Annotations)
	}
	w.until("it rolls by itself", func() error {
		if n, old := len(w.pods("v2")), len(w.pods("v1")); n != 3 || old != 0 || w.deployment("hello-canary") != nil {
			return fmt.Errorf("%d of v2, %d of v1", n, old)
		}
		return nil
	})
}
