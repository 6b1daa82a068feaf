package resource_test

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	engine "github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/metric/resource"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/test/cluster"
)

func TestMain(m *testing.M) { cluster.Main(m) }

// deployment has pods of one label more than the user's selector asks for.
const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: hello, track: %[1]s}}
  template:
    metadata: {labels: {app: hello, track: %[1]s}}
    spec: {containers: [{name: app, image: "hello:%[1]s"}]}
`

// resourceMetrics has the API server itself serve metrics.k8s.io, with what a
// test puts there, in place of metrics-server and the kubelets that it asks.
const resourceMetrics = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: pods.metrics.k8s.io, annotations: {api-approved.kubernetes.io: unapproved}}
spec:
  group: metrics.k8s.io
  scope: Namespaced
  names: {plural: pods, kind: PodMetrics, listKind: PodMetricsList}
  versions:
  - name: v1beta1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

// world is a release with three pods of stable and one of the canary, on a real
// API server whose pods are what a test says.
type world struct {
	*testing.T
	*cluster.Cluster
	ns       string
	kubelet  *cluster.Kubelet
	subject  metric.Subject
	provider *resource.Provider

	mu    sync.Mutex
	state map[string]cluster.PodState // by image
	now   time.Time
}

func newWorld(t *testing.T, c *cluster.Cluster, metrics ...release.Metric) *world {
	w := &world{T: t, Cluster: c, state: map[string]cluster.PodState{}, now: time.Now()}
	w.ns = w.Namespace(t)
	w.kubelet = w.FakeKubelet(t, w.ns, func(p *corev1.Pod) cluster.PodState {
		w.mu.Lock()
		defer w.mu.Unlock()
		if s, ok := w.state[p.Spec.Containers[0].Image]; ok {
			return s
		}
		return cluster.PodState{Ready: true}
	})
	started := time.Now()
	w.Apply(t, w.ns, fmt.Sprintf(deployment, "hello", 3))
	w.Apply(t, w.ns, fmt.Sprintf(deployment, "hello-canary", 1))
	live, err := client.New(w.Config, client.Options{Scheme: scheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	w.provider = resource.New(byApp{engine.New(live, live)}, resource.Options{Interval: 20 * time.Millisecond, Now: w.clock})
	w.subject = metric.Subject{
		Release: release.Release{Name: w.ns + "/hello", Version: release.Version{Workload: release.Workload{Deployment: &release.Deployment{Name: "hello"}}}},
		Run:     "hello-1", Started: started, Metrics: metrics,
		Stable: release.Version{ID: w.id("hello"), Name: "v1"}, Canary: release.Version{ID: w.id("hello-canary"), Name: "v2"},
	}
	cluster.Eventually(t, cluster.Patience, "four pods", func() error {
		list, err := w.Client.CoreV1().Pods(w.ns).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		if len(list.Items) != 4 {
			return fmt.Errorf("%d pods", len(list.Items))
		}
		for _, p := range list.Items {
			if len(p.Status.ContainerStatuses) == 0 {
				return fmt.Errorf("%s does not run", p.Name)
			}
		}
		return nil
	})
	return w
}

// byApp gives the user's Deployment the selector that takes in both versions, as
// the one of a release does.
type byApp struct{ *engine.Client }

func (c byApp) Get(ctx context.Context, key client.ObjectKey, obj client.Object) error {
	err := c.Client.Get(ctx, key, obj)
	if d, ok := obj.(*appsv1.Deployment); ok {
		d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "hello"}}
	}
	return err
}

func (w *world) id(name string) release.VersionID {
	d, err := w.Client.AppsV1().Deployments(w.ns).Get(w.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.Fatal(err)
	}
	return engine.TemplateID(d.Spec.Template)
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// become sets what the pods of an image are, and waits until the API says so.
func (w *world) become(image string, s cluster.PodState) {
	w.mu.Lock()
	w.state[image] = s
	w.mu.Unlock()
	w.kubelet.Refresh()
	cluster.Eventually(w, cluster.Patience, image, func() error {
		list, err := w.Client.CoreV1().Pods(w.ns).List(w.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, p := range list.Items {
			if p.Spec.Containers[0].Image == image && (len(p.Status.ContainerStatuses) == 0 || p.Status.ContainerStatuses[0].RestartCount != s.Restarts) {
				return fmt.Errorf("%s has not restarted", p.Name)
			}
		}
		return nil
	})
}

func (w *world) open(cursor []byte) metric.Reader {
	w.Helper()
	r, err := w.provider.Open(w.Context(), w.subject, cursor)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { r.Close() })
	return r
}

func read(t *testing.T, r metric.Reader) metric.Reading {
	t.Helper()
	got, err := r.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

var (
	restarts = release.Metric{Name: "restarts", Kind: release.Proportion, Source: release.Source{Pods: release.PodRestarts}}
	kills    = release.Metric{Name: "kills", Kind: release.Proportion, Source: release.Source{Pods: release.PodOOMKills}}
	cores    = release.Metric{Name: "cpu", Kind: release.Gauge, Source: release.Source{Process: "cpu"}}
	bytes    = release.Metric{Name: "memory", Kind: release.Gauge, Source: release.Source{Process: "memory"}}
)

// TestRestartsFailAVersion: pods of the canary that are killed for want of memory
// again and again are found by the judge, each restart once, also by a later
// reader; pods that only run are not.
func TestRestartsFailAVersion(t *testing.T) {
	w := newWorld(t, cluster.ControlPlane(t), restarts, kills)
	run, err := judge.New(judge.Policy{Alpha: 0.01, AlphaPromote: 0.05, Horizon: 1800, Looseness: []float64{1}, Metrics: []judge.Metric{
		{Name: "restarts", Kind: judge.Proportion, Share: 0.5, Difference: 0.001, Limit: 0.001, LimitBelow: true},
		{Name: "kills", Kind: judge.Proportion, Share: 0.5, Difference: 0.001, Limit: 0.001, LimitBelow: true},
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := w.open(nil)
	read(t, r)
	var total [2]judge.Side
	take := func() metric.Reading {
		got := read(t, r)
		for _, s := range got.Samples {
			if s.Metric == 0 {
				total[0].N, total[0].Bad = total[0].N+s.Batch.Stable.N, total[0].Bad+s.Batch.Stable.Bad
				total[1].N, total[1].Bad = total[1].N+s.Batch.Canary.N, total[1].Bad+s.Batch.Canary.Bad
			}
			if err := run.Update(s.Metric, s.Batch); err != nil {
				t.Fatal(err)
			}
		}
		return got
	}
	for i := range int32(12) {
		w.pass(10 * time.Second)
		got := take()
		if got.Missing != "" || got.Newest.IsZero() {
			t.Fatalf("missing %q, newest %v", got.Missing, got.Newest)
		}
		if i < 8 {
			w.become("hello:hello-canary", cluster.PodState{Ready: true, Restarts: i + 1, Terminated: "OOMKilled"})
		}
		if i == 6 { // another controller takes over
			r.Close()
			r = w.open(got.Cursor)
		}
	}
	if total[0].Bad != 0 || total[1].Bad != 8 || total[0].N != 360 || total[1].N != 120 {
		t.Errorf("counted %+v, want 8 restarts in 120 seconds of the canary's pod and none in 360 of stable's", total)
	}
	if rep := run.Report(0); rep.Verdict != judge.Fail || rep.Metrics[0].Canary.Bad != 8 {
		t.Errorf("the judge says %s: %+v", rep.Verdict, rep.Metrics)
	}
}

// TestNoPodsAreMissing: a version without pods proves nothing.
func TestNoPodsAreMissing(t *testing.T) {
	w := newWorld(t, cluster.ControlPlane(t), restarts)
	w.subject.Canary.ID = "other00000"
	r := w.open(nil)
	read(t, r)
	w.pass(time.Minute)
	if got := read(t, r); !strings.Contains(got.Missing, "no pod of v2") || len(got.Samples) != 0 || !got.Newest.IsZero() {
		t.Errorf("read %+v", got)
	}
}

// TestUseOfPods: the mean of each version's pods; the same figures are taken
// once; without metrics.k8s.io the reason says so.
func TestUseOfPods(t *testing.T) {
	w := newWorld(t, cluster.New(t), cores, bytes) // of its own: it changes what the API serves
	r := w.open(nil)
	w.pass(2 * time.Minute)
	cluster.Eventually(t, cluster.Patience, "the reason", func() error {
		if got := read(t, r); !strings.Contains(got.Missing, "install metrics-server") || len(got.Samples) != 0 {
			return fmt.Errorf("read %+v", got)
		}
		return nil
	})
	r.Close()
	w.Apply(t, "", resourceMetrics)
	r = w.open(nil)
	var samples []metric.Sample
	for i, at := range []string{"2030-01-01T00:00:00Z", "2030-01-01T00:00:00Z", "2030-01-01T00:00:15Z"} {
		w.tell(at)
		want := []int{2, 2, 4}[i]
		cluster.Eventually(t, cluster.Patience, "the figures", func() error {
			samples = append(samples, read(t, r).Samples...)
			if len(samples) != want {
				return fmt.Errorf("%d samples", len(samples))
			}
			return nil
		})
	}
	select {
	case <-r.Wake():
	default:
		t.Error("new figures did not wake")
	}
	for _, s := range samples {
		want := [2]float64{0.3, 0.9}
		if s.Metric == 1 {
			want = [2]float64{64 << 20, 512 << 20}
		}
		if math.Abs(s.Batch.Stable.Value-want[0]) > 1e-6 || math.Abs(s.Batch.Canary.Value-want[1]) > 1e-6 {
			t.Errorf("metric %d: %+v, want %v", s.Metric, s.Batch, want)
		}
	}
}

// tell puts figures where metrics-server would: in stable's pods 0.2, 0.3 and 0.4
// cores and 64 MiB each, in the canary's 0.9 and 512 MiB in two containers.
func (w *world) tell(at string) {
	w.Helper()
	list, err := w.Client.CoreV1().Pods(w.ns).List(w.Context(), metav1.ListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	slices.SortFunc(list.Items, func(a, b corev1.Pod) int { return cmp.Compare(len(a.Labels["track"]), len(b.Labels["track"])) })
	n := 0
	for _, p := range list.Items { // the canary's comes last: with it a sample is whole
		containers := `[{name: app, usage: {cpu: 400m, memory: 256Mi}}, {name: side, usage: {cpu: 500000000n, memory: 262144Ki}}]`
		if p.Labels["track"] == "hello" {
			containers = fmt.Sprintf(`[{name: app, usage: {cpu: %d00m, memory: 64Mi}}]`, 2+n)
			n++
		}
		w.Apply(w, w.ns, fmt.Sprintf("apiVersion: metrics.k8s.io/v1beta1\nkind: PodMetrics\nmetadata: {name: %s, labels: {app: hello}}\ntimestamp: %q\nwindow: 15s\ncontainers: %s\n", p.Name, at, containers))
	}
}

func TestCheckNamesWhatThereIs(t *testing.T) {
	p := resource.New(nil, resource.Options{})
	rel := release.Release{Name: "shop/hello", Version: release.Version{Workload: release.Workload{Deployment: &release.Deployment{Name: "hello"}}}}
	for want, m := range map[string]release.Metric{
		"known: cpu, memory, restarts, oomKills": {Name: "odd", Kind: release.Gauge, Source: release.Source{Process: "colour"}},
		"must be gauge":                          {Name: "odd", Kind: release.Mean, Source: release.Source{Process: "cpu"}},
		"must be proportion":                     {Name: "odd", Kind: release.Gauge, Source: release.Source{Pods: release.PodRestarts}},
	} {
		if err := p.Check(t.Context(), rel, []release.Metric{m}); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "odd") {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if err := p.Check(t.Context(), release.Release{}, []release.Metric{cores}); err == nil || !strings.Contains(err.Error(), "workload.deployment") {
		t.Errorf("without a Deployment: %v", err)
	}
	if _, err := p.Open(t.Context(), metric.Subject{Release: rel, Metrics: []release.Metric{cores}}, []byte("\x00")); err == nil {
		t.Error("a foreign cursor was accepted")
	}
}
