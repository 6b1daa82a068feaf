// Package routed is a namespace in which a workload has up to three versions
// behind one Service, for the tests of routers: what the conformance suite needs
// of a cluster. It knows no router.
//
// Read this file only.
package routed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	engine "github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/traffic"
	"github.com/haldane-project/haldane/internal/traffic/traffictest"
	"github.com/haldane-project/haldane/test/cluster"
)

// World is a namespace with the Service hello, and a release that it is of.
type World struct {
	C       *cluster.Cluster
	NS      string
	API     client.WithWatch
	Client  *engine.Client
	Router  traffic.Router
	Release release.Release
	// IDs are the versions of templates by those of the conformance suite.
	IDs map[release.VersionID]release.VersionID
	// Image of the pods; empty: none that runs, for pods that are fake.
	Image string
}

// New makes one; its pods are fake where no image is named.
func New(t *testing.T, c *cluster.Cluster, image string, to release.Traffic) *World {
	t.Helper()
	w := &World{C: c, NS: c.Namespace(t), Image: image, IDs: map[release.VersionID]release.VersionID{}}
	if image == "" {
		c.FakeKubelet(t, w.NS, cluster.Running)
	}
	var err error
	if w.API, err = client.NewWithWatch(c.Config, client.Options{Scheme: clientgoscheme.Scheme}); err != nil {
		t.Fatal(err)
	}
	w.Client = engine.New(w.API, w.API)
	w.Release = release.Release{Name: w.NS + "/hello", Traffic: to,
		Version: release.Version{Workload: release.Workload{Deployment: &release.Deployment{Name: "hello"}}}}
	c.Apply(t, w.NS, service)
	return w
}

const service = `
apiVersion: v1
kind: Service
metadata: {name: hello}
spec:
  selector: {app: hello}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: grpc, port: 90, targetPort: 9090, appProtocol: grpc}]
`

const workload = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: %s}
spec:
  replicas: 2
  selector: {matchLabels: {app: hello}}
  template:
    metadata: {labels: {app: hello}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: hello
        image: %s
        imagePullPolicy: Never
        env: [{name: VERSION, value: %s}]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
`

// Run starts a version's Deployment and waits until its pods are ready.
func (w *World) Run(t *testing.T, v release.VersionID) {
	t.Helper()
	name, image := deployment(v), w.Image
	if image == "" {
		image = "none"
	}
	w.C.Apply(t, w.NS, fmt.Sprintf(workload, name, image, v))
	cluster.Eventually(t, cluster.Patience, name, func() error {
		var d appsv1.Deployment
		if err := w.API.Get(context.Background(), client.ObjectKey{Namespace: w.NS, Name: name}, &d); err != nil {
			return err
		}
		w.IDs[v] = engine.TemplateID(d.Spec.Template)
		if d.Status.ReadyReplicas != 2 {
			return fmt.Errorf("%d pods are ready", d.Status.ReadyReplicas)
		}
		return nil
	})
}

func deployment(v release.VersionID) string {
	switch v {
	case traffictest.A:
		return "hello"
	case traffictest.B:
		return "hello-canary"
	}
	return "hello-third"
}

// Stop ends a version's Deployment with its pods.
func (w *World) Stop(t *testing.T, v release.VersionID) {
	t.Helper()
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: w.NS, Name: deployment(v)}}
	Must(t, w.API.Delete(context.Background(), d, client.PropagationPolicy(metav1.DeletePropagationForeground)))
	cluster.Eventually(t, cluster.Patience, "the end of "+d.Name, func() error {
		if err := w.API.Get(context.Background(), client.ObjectKeyFromObject(d), d); err != nil {
			return client.IgnoreNotFound(err)
		}
		return errors.New("it is there")
	})
}

// Must fails the test on an error.
func Must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Split is a split of the suite's versions by those of templates.
func (w *World) Split(s release.Split) release.Split { return rename(s, w.IDs) }

func rename(s release.Split, ids map[release.VersionID]release.VersionID) release.Split {
	b, _ := json.Marshal(s) // plain data
	var out release.Split
	_ = json.Unmarshal(b, &out)
	of := func(v *release.VersionID) {
		if id, ok := ids[*v]; ok {
			*v = id
		}
	}
	of(&out.Rest)
	for i := range out.Shares {
		of(&out.Shares[i].Version)
	}
	for i := range out.Matched {
		of(&out.Matched[i].Version)
	}
	if out.Mirror != nil {
		of(&out.Mirror.Version)
	}
	return out
}

// Apply tells the router a split of the suite's versions.
func (w *World) Apply(s release.Split) error {
	return Reached(context.Background(), w.Router, traffic.Target{Release: w.Release, Split: w.Split(s)})
}

// Reached applies again, as the next pass would, while a version's endpoints are
// not there yet: the cluster's controllers make them behind the pods, on a busy
// machine later than a router waits for them.
func Reached(ctx context.Context, r traffic.Router, t traffic.Target) error {
	for end := time.Now().Add(cluster.Patience); ; {
		err := r.Apply(ctx, t)
		if err == nil || !strings.Contains(err.Error(), "has no ready endpoint behind") || time.Now().After(end) {
			return err
		}
	}
}

// Rest tells the router that version A is alone.
func (w *World) Rest(t *testing.T) {
	t.Helper()
	s := release.Split{Salt: "r-1", Rest: traffictest.A, Shares: []release.Share{{Version: traffictest.A, Weight: release.Full}}}
	Must(t, w.Router.Apply(context.Background(), traffic.Target{Release: w.Release, Split: w.Split(s), Alone: true}))
}

// Observe is what the router observes, by the suite's versions.
func (w *World) Observe(t *testing.T) rollout.ObservedSplit {
	t.Helper()
	o, err := named{w}.Observe(context.Background(), w.Release)
	Must(t, err)
	return o
}

// Object reads an object of the namespace.
func (w *World) Object(t *testing.T, kind schema.GroupVersionKind, name string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(kind)
	Must(t, w.API.Get(context.Background(), client.ObjectKey{Namespace: w.NS, Name: name}, u))
	return u
}

// AtRest is what a user sees of an object, without what only servers write.
func AtRest(u *unstructured.Unstructured) map[string]any {
	c := u.DeepCopy()
	delete(c.Object, "status")
	for _, f := range []string{"managedFields", "resourceVersion", "generation"} {
		unstructured.RemoveNestedField(c.Object, "metadata", f)
	}
	return c.Object
}

// Draw is where the next request may go: to the pods of a Service that have more
// labels than it selects by.
type Draw func() (service string, more map[string]string)

// Harness is the conformance suite's for the world's router. reads is whoever acts
// on the route's objects: it reads them, as they are when requests begin, and draws
// for each request.
func (w *World) Harness(reads func(t *testing.T) Draw) traffictest.Harness {
	return traffictest.Harness{
		Router: named{w}, Release: w.Release, Most: 2, Settle: cluster.Patience,
		Backend: func(t *testing.T, v release.VersionID) release.Backend {
			w.Run(t, v)
			return release.Backend{Version: v}
		},
		Stop: w.Stop,
		Send: func(t *testing.T, n int) map[release.VersionID]int { return w.send(t, n, reads(t)) },
	}
}

func (w *World) send(t *testing.T, n int, draw Draw) map[release.VersionID]int {
	t.Helper()
	got, known := map[release.VersionID]int{}, map[string][]release.VersionID{}
	for range n {
		name, more := draw()
		k := name + labels.FormatLabels(more)
		if _, ok := known[k]; !ok {
			known[k] = w.reaches(t, name, more)
		}
		if p := known[k]; len(p) > 0 {
			got[p[rand.IntN(len(p))]]++
		} else {
			got[""]++
		}
	}
	return got
}

// reaches lists the versions of the pods that a Service selects.
func (w *World) reaches(t *testing.T, service string, more map[string]string) []release.VersionID {
	t.Helper()
	var svc corev1.Service
	Must(t, w.API.Get(context.Background(), client.ObjectKey{Namespace: w.NS, Name: service}, &svc))
	selector := labels.Merge(svc.Spec.Selector, more)
	var pods corev1.PodList
	Must(t, w.API.List(context.Background(), &pods, client.InNamespace(w.NS), client.MatchingLabels(selector)))
	var out []release.VersionID
	for _, p := range pods.Items {
		out = append(out, release.VersionID(strings.TrimSpace(p.Spec.Containers[0].Env[0].Value)))
	}
	return out
}

// named gives the suite's versions the names of their templates.
type named struct{ *World }

func (n named) Apply(ctx context.Context, tg traffic.Target) error {
	tg.Split = n.Split(tg.Split)
	return Reached(ctx, n.Router, tg)
}

func (n named) Observe(ctx context.Context, rel release.Release) (rollout.ObservedSplit, error) {
	o, err := n.Router.Observe(ctx, rel)
	back := map[release.VersionID]release.VersionID{}
	for v, id := range n.IDs {
		back[id] = v
	}
	o.Split = rename(o.Split, back)
	return o, err
}

func (n named) Remove(ctx context.Context, rel release.Release) error {
	return n.Router.Remove(ctx, rel)
}
