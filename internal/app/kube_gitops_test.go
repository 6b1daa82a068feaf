package app

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/rollout"
)

// opinion is what Argo CD and Flux say of an object (test/gitops).
type opinion struct {
	Argo, ArgoWhy, Flux, FluxWhy string
	Actions                      map[string]*unstructured.Unstructured
}

// gitops builds the program that asks them.
func gitops(t *testing.T) (bin string) {
	t.Helper()
	bin = filepath.Join(t.TempDir(), "gitops")
	build := exec.Command("go", "build", "-o", bin, ".")
	build.Dir = filepath.Join("..", "..", "test", "gitops")
	build.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build test/gitops: %v: %s", err, out)
	}
	return bin
}

// opinions asks their own packages, Argo CD with deploy/argocd as configuration.
func opinions(t *testing.T, bin string, objects ...*unstructured.Unstructured) []opinion {
	t.Helper()
	var in bytes.Buffer
	for _, o := range objects {
		line, err := o.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		in.Write(line)
	}
	ask := exec.Command(bin, filepath.Join("..", "..", "deploy", "argocd", "argocd-cm.yaml"))
	ask.Stdin, ask.Stderr = &in, t.Output()
	out, err := ask.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []opinion
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var o opinion
		if err := dec.Decode(&o); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, o)
	}
	if len(all) != len(objects) {
		t.Fatalf("%d opinions about %d objects", len(all), len(objects))
	}
	return all
}

// diary is every state of the release and of its user's Deployment.
type diary struct {
	mu     sync.Mutex
	states []*unstructured.Unstructured
}

// record begins a diary.
func (s *shop) diary() *diary {
	s.Helper()
	d := &diary{}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	s.Cleanup(func() { cancel(); running.Wait() })
	for _, r := range []schema.GroupVersionResource{
		v1alpha1.GroupVersion.WithResource("releases"), appsv1.SchemeGroupVersion.WithResource("deployments"),
	} {
		w, err := s.Dynamic.Resource(r).Namespace(s.ns).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=hello"})
		if err != nil {
			s.Fatal(err)
		}
		running.Go(func() {
			for e := range w.ResultChan() {
				if o, ok := e.Object.(*unstructured.Unstructured); ok {
					d.mu.Lock()
					d.states = append(d.states, o)
					d.mu.Unlock()
				}
			}
		})
	}
	return d
}

// until waits for the state in which an object is now, and gives all up to it in
// the order in which they were written.
func (d *diary) until(s *shop, last ...string) []*unstructured.Unstructured {
	s.Helper()
	s.until("the diary is complete", func() error {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, version := range last {
			if !slices.ContainsFunc(d.states, func(o *unstructured.Unstructured) bool { return o.GetResourceVersion() == version }) {
				return fmt.Errorf("it lacks version %s", version)
			}
		}
		return nil
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	slices.SortFunc(d.states, func(a, b *unstructured.Unstructured) int { return cmp.Compare(written(a), written(b)) })
	return slices.Clone(d.states)
}

// written tells which of two states, of any objects, was written first.
func written(o metav1.Object) int64 {
	n, _ := strconv.ParseInt(o.GetResourceVersion(), 10, 64) // the server's are numbers
	return n
}

// TestClusterDeliveryToolsAgree runs a good, a paused and a bad run and asks Argo
// CD and Flux about every state that was seen: never well midway, well at rest.
func TestClusterDeliveryToolsAgree(t *testing.T) {
	if os.Getenv("HALDANE_E2E") == "" {
		t.Skip("Argo CD's and Flux's packages are built with HALDANE_E2E=1")
	}
	bin := gitops(t)
	s := newShop(t)
	source := newScript()
	s.evidence = source
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v1"))
	d := s.diary()
	s.controller()
	s.Cluster.Apply(t, s.ns, strings.Replace(fourSteps, "{weight: 25}", "{weight: 25, hold: 10m}", 1))
	s.until("v1 serves", s.serves("hello", "v1"))
	s.until("the API server has taken the policy in", s.policyHolds)

	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v2"))
	s.until("v2 has a quarter of the traffic", s.weighs("hello", "25%"))
	s.annotate("hello", `{"haldane.dev/pause": "hello-2"}`)
	s.until("v2 is paused", s.phase("hello", "Paused"))
	s.annotate("hello", `{"haldane.dev/resume": "hello-2"}`)
	s.until("v2 goes on", s.phase("hello", "Progressing"))
	s.annotate("hello", `{"haldane.dev/promote": "hello-2"}`)
	s.until("v2 serves", s.serves("hello", "v2"))
	s.until("the Deployment is free", s.free)

	source.fail(s.ns + "/hello-3")
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v3"))
	s.until("v3 is rolled back", s.phase("hello", "RolledBack"))
	s.resumeInArgo(bin)
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v2"))
	s.until("v2 is what is asked for", func() error {
		if st := s.release("hello").Status; !meta.IsStatusConditionTrue(st.Conditions, "Ready") {
			return fmt.Errorf("%s: %s", st.Phase, st.Message)
		}
		return nil
	})
	s.until("the Deployment is free again", s.free)
	rel, dep := s.release("hello"), s.deployment()
	states := d.until(s, rel.ResourceVersion, dep.ResourceVersion)
	judged(t, states, opinions(t, bin, states...))
}

// resumeInArgo presses Argo CD's Resume button on the held Deployment, which does
// nothing: the refused version does not roll out.
func (s *shop) resumeInArgo(bin string) {
	s.Helper()
	deployments := s.Dynamic.Resource(appsv1.SchemeGroupVersion.WithResource("deployments")).Namespace(s.ns)
	held, err := deployments.Get(s.Context(), "hello", metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	resumed := opinions(s.T, bin, held)[0].Actions["resume"]
	if resumed == nil {
		s.Fatal("Argo CD offers no Resume on a paused Deployment")
	}
	after, err := deployments.Update(s.Context(), resumed, metav1.UpdateOptions{})
	if err != nil {
		s.Fatal(err)
	}
	if paused, _, _ := unstructured.NestedBool(after.Object, "spec", "paused"); !paused {
		s.Error("Argo CD's Resume let the refused version roll out")
	}
}

// judged holds the opinions on a history of states against what was so.
func judged(t *testing.T, states []*unstructured.Unstructured, all []opinion) {
	t.Helper()
	said := map[string]map[string]int{}
	var rel, dep *opinion
	var stable, asked string
	for i, o := range states {
		op := all[i]
		switch o.GetKind() {
		case "Release":
			var r v1alpha1.Release
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &r); err != nil {
				t.Fatal(err)
			}
			rel = &op
			releaseJudged(t, r, op)
			phase := cmp.Or(r.Status.Phase, "none")
			if said[phase] == nil {
				said[phase] = map[string]int{}
			}
			said[phase][op.Argo+"/"+op.Flux]++
			if stable = ""; r.Status.Stable != nil {
				stable = "hello:" + r.Status.Stable.Name
			}
		case "Deployment":
			dep = &op
			containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
			asked = containers[0].(map[string]any)["image"].(string)
			paused, _, _ := unstructured.NestedBool(o.Object, "spec", "paused")
			if paused && (op.Argo == "Healthy" || op.Flux == "Current") {
				t.Errorf("the paused Deployment is %+v", op)
			}
		}
		if rel == nil || dep == nil || asked == stable {
			continue
		}
		if rel.Argo == "Healthy" && dep.Argo == "Healthy" || rel.Flux == "Current" && dep.Flux == "Current" {
			t.Errorf("all is well while %s serves and %s is asked for: Release %+v, Deployment %+v", stable, asked, *rel, *dep)
		}
	}
	for _, op := range []*opinion{rel, dep} {
		if op == nil || op.Argo != "Healthy" || op.Flux != "Current" {
			t.Errorf("at rest: %+v", op)
		}
	}
	t.Logf("%d states: %v", len(states), said)
	for _, phase := range []string{"Preparing", "Progressing", "Paused", "Idle", "RolledBack"} {
		if len(said[phase]) == 0 {
			t.Errorf("no state of phase %s was seen", phase)
		}
	}
}

// releaseJudged holds both opinions on one state of a Release against its run.
func releaseJudged(t *testing.T, r v1alpha1.Release, op opinion) {
	t.Helper()
	want := opinion{Argo: "Progressing", Flux: "InProgress"}
	st := r.Status
	switch {
	case st.Phase == "Paused":
		want.Argo = "Suspended"
	case slices.Contains(st.Allowed, "retry"): // what is asked for was refused
		want = opinion{Argo: "Degraded", Flux: "Failed"}
	case st.Run != nil && rollout.Phase(st.Run.Phase).Ended():
		want = opinion{Argo: "Healthy", Flux: "Current"}
	}
	if op.Argo != want.Argo || op.Flux != want.Flux {
		t.Errorf("phase %q (%s): Argo CD says %s, expected %s; Flux says %s (%s), expected %s", st.Phase, st.Message, op.Argo, want.Argo, op.Flux, op.FluxWhy, want.Flux)
	}
	for _, ask := range []string{"abort", "pause", "resume", "promote", "promoteFull", "retry"} {
		made := op.Actions[ask]
		if slices.Contains(st.Allowed, ask) != (made != nil) {
			t.Errorf("phase %s allows %v, and Argo CD offers %s: %v", st.Phase, st.Allowed, ask, made != nil)
		}
		key := map[string]string{"promoteFull": "promote-full"}
		if made != nil && made.GetAnnotations()["haldane.dev/"+cmp.Or(key[ask], ask)] != st.Run.Name {
			t.Errorf("Argo CD's %s of run %s writes %v", ask, st.Run.Name, made.GetAnnotations())
		}
	}
}

// phase reports whether a release is in a phase.
func (s *shop) phase(name, phase string) func() error {
	return func() error {
		if st := s.release(name).Status; st.Phase != phase {
			return fmt.Errorf("%s: %s", st.Phase, st.Message)
		}
		return nil
	}
}

// weighs reports whether the new version has a share of the traffic.
func (s *shop) weighs(name, weight string) func() error {
	return func() error {
		if st := s.release(name).Status; st.Weight != weight {
			return fmt.Errorf("%s %s: %s", st.Phase, st.Weight, st.Message)
		}
		return nil
	}
}

// free reports whether the Deployment is an ordinary one again.
func (s *shop) free() error {
	d := s.deployment()
	if d.Spec.Paused || d.Status.ObservedGeneration != d.Generation || d.Status.UpdatedReplicas != d.Status.Replicas {
		return fmt.Errorf("paused %v, status %+v", d.Spec.Paused, d.Status)
	}
	return nil
}
