package app

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/deploy/admission"
	"github.com/haldane-project/haldane/deploy/crds"
	"github.com/haldane-project/haldane/deploy/rbac"
	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/kube"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/traffic"
	"github.com/haldane-project/haldane/test/cluster"
)

func TestMain(m *testing.M) {
	if file := os.Getenv(childVariable); file != "" {
		childController(file)
		return
	}
	log.SetLogger(logr.Discard()) // the first one holds, and that of a test ends with it
	cluster.Main(m)
}

// memoryRouter has in force at once what it is told.
type memoryRouter struct {
	mu     sync.Mutex
	splits map[string]release.Split
}

func (r *memoryRouter) Apply(_ context.Context, t traffic.Target) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.splits[t.Release.Name] = t.Split
	return nil
}

func (r *memoryRouter) Observe(_ context.Context, rel release.Release) (rollout.ObservedSplit, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return rollout.ObservedSplit{Known: true, Split: r.splits[rel.Name]}, nil
}

func (r *memoryRouter) Remove(_ context.Context, rel release.Release) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.splits, rel.Name)
	return nil
}

// noEvidence is a source that has none.
type noEvidence struct{}

func (noEvidence) Open(context.Context, metric.Subject, []byte) (metric.Reader, error) {
	return nil, errors.New("this controller has no source of evidence")
}

func (noEvidence) Check(context.Context, release.Release, []release.Metric) error { return nil }

const shopDeployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: hello, labels: {app: hello}}
spec:
  replicas: 2
  selector: {matchLabels: {app: hello}}
  template:
    metadata: {labels: {app: hello}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - {name: app, image: "hello:%s", ports: [{containerPort: 8080}]}
`

const shopRelease = `
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: {name: %s}
spec:
  workload: {deployment: {name: hello}}
  traffic: {replicas: {}}
  strategy:
    canary: {steps: [{weight: 50, require: none}]}
    bake: 0s
`

// shop is a namespace with the user's Deployment, the admission policy, and what
// a controller with its own rights needs.
type shop struct {
	*testing.T
	*cluster.Cluster
	ns         string
	live       ctrl.WithWatch
	kubeconfig string
	user       string // of the controller
	evidence   metric.Provider
	saveEvery  time.Duration // of the controller; zero: as installed
	patience   time.Duration // of until; zero: cluster.Patience
	selector   string        // of the controller's Releases
	metrics    string        // address of the controller's; empty: none
	health     string        // address of the controller's probes; empty: none
	kubelet    *cluster.Kubelet
	lost       atomic.Pointer[string] // image whose pods' node is lost
	mayLack    bool                   // the controller is refused something
}

func newShop(t *testing.T) *shop { return newShopOn(t, cluster.ControlPlane(t)) }

func newShopOn(t *testing.T, c *cluster.Cluster) *shop {
	s := &shop{T: t, Cluster: c, evidence: noEvidence{}}
	s.Cluster.Definitions(t, string(crds.Releases), string(crds.Runs))
	s.ns = s.Namespace(t)
	s.kubelet = s.FakeKubelet(t, s.ns, s.pod)
	var role rbacv1.ClusterRole
	if err := yaml.Unmarshal(rbac.Role, &role); err != nil {
		t.Fatal(err)
	}
	s.kubeconfig = kubeconfig(t, s.ServiceAccount(t, s.ns, "haldane", role.Rules...), s.ns)
	s.user = "system:serviceaccount:" + s.ns + ":haldane"
	s.policy()
	scheme, err := kubeScheme()
	if err != nil {
		t.Fatal(err)
	}
	if s.live, err = ctrl.NewWithWatch(s.Config, ctrl.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.clean)
	return s
}

// policy installs the admission policy for the shop's namespace and controller.
func (s *shop) policy() {
	s.Helper()
	policy, err := admission.Policy(s.user)
	if err != nil {
		s.Fatal(err)
	}
	s.Cluster.Apply(s.T, "", strings.NewReplacer("haldane-hold", "hold-"+s.ns, "objectSelector: {}",
		"namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: "+s.ns+"}}").Replace(string(policy)))
}

// clean takes the finalizers off, so that the namespace can go.
func (s *shop) clean() {
	var list v1alpha1.ReleaseList
	if s.live.List(context.Background(), &list, ctrl.InNamespace(s.ns)) != nil {
		return
	}
	for i := range list.Items {
		list.Items[i].Finalizers = nil
		_ = s.live.Update(context.Background(), &list.Items[i])
	}
}

func kubeconfig(t *testing.T, c *rest.Config, ns string) string {
	t.Helper()
	ca := c.CAData
	if len(ca) == 0 {
		var err error
		if ca, err = os.ReadFile(c.CAFile); err != nil {
			t.Fatal(err)
		}
	}
	text := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: x,
clusters: [{name: x, cluster: {server: %q, certificate-authority-data: %q}}],
users: [{name: x, user: {token: %q}}],
contexts: [{name: x, context: {cluster: x, user: x, namespace: %q}}]}`,
		c.Host, base64.StdEncoding.EncodeToString(ca), c.BearerToken, ns)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// controller runs one until the function that it returns is called.
func (s *shop) controller() (stop func()) {
	s.Helper()
	router := &memoryRouter{splits: map[string]release.Split{}}
	return s.start(func(sh *kube.Shell, o ControllerOptions) (parts, error) {
		return parts{router: router, metrics: s.evidence, sinks: clusterSinks(sh, o)}, nil
	})
}

// start runs a controller of given parts until the function that it returns is called.
func (s *shop) start(made func(*kube.Shell, ControllerOptions) (parts, error)) (stop func()) {
	s.Helper()
	taken := make(chan struct{})
	clusterParts = func(sh *kube.Shell, o ControllerOptions) (parts, error) {
		close(taken)
		return made(sh, o)
	}
	mark := s.Mark(s.T)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	o := ControllerOptions{Cluster: Cluster{Kubeconfig: s.kubeconfig, Namespace: s.ns}, Metrics: cmp.Or(s.metrics, "0"), Health: cmp.Or(s.health, "0"),
		Selector: s.selector, SaveEvery: s.saveEvery, ShowEvery: s.saveEvery, Log: slog.New(slog.NewTextHandler(s.Output(), nil))}
	go func() { ended <- Controller(ctx, o) }()
	select {
	case <-taken: // a second controller of a test may be given others
	case err := <-ended:
		ended <- err
	}
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				s.Error(err)
			}
			s.hadRights(mark)
		})
	}
	s.Cleanup(stop)
	return stop
}

// hadRights reports what the controller's role (deploy/rbac) lacked.
func (s *shop) hadRights(since cluster.Mark) {
	s.Helper()
	if s.mayLack {
		return
	}
	for _, r := range s.Requests(s.T, since, func(r cluster.Request) bool { return r.User == s.user && r.Code == http.StatusForbidden }) {
		s.Errorf("deploy/rbac does not let the controller %s %s %s", r.Verb, r.Resource, r.Object)
	}
}

func (s *shop) release(name string) v1alpha1.Release {
	var rel v1alpha1.Release
	if err := s.live.Get(context.Background(), types.NamespacedName{Namespace: s.ns, Name: name}, &rel); err != nil {
		rel.Status.Message = err.Error()
	}
	return rel
}

func (s *shop) until(what string, ok func() error) {
	s.Helper()
	var err error
	patience := cmp.Or(s.patience, cluster.Patience)
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = ok(); err == nil {
			return
		}
	}
	s.Fatalf("%s: not in %v: %v", what, patience, err)
}

// serves reports whether a version serves and the release is at rest.
func (s *shop) serves(name, version string) func() error {
	return func() error {
		rel := s.release(name)
		st := rel.Status
		if st.Phase != "Idle" || st.Stable == nil || st.Stable.Name != version || !meta.IsStatusConditionTrue(st.Conditions, "Ready") {
			return fmt.Errorf("%s: %s", st.Phase, st.Message)
		}
		return nil
	}
}

// policyHolds reports whether a changed template would be paused.
func (s *shop) policyHolds() error {
	change := []byte(`{"spec":{"template":{"metadata":{"annotations":{"try":"it"}}}}}`)
	d, err := s.Client.AppsV1().Deployments(s.ns).Patch(context.Background(), "hello", types.MergePatchType, change, metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
	if err == nil && !d.Spec.Paused {
		err = errors.New("it would not be paused")
	}
	return err
}

// annotate asks something by hand.
func (s *shop) annotate(name, annotations string) {
	s.Helper()
	s.patch(name, `{"metadata":{"annotations":`+annotations+`}}`)
}

// patch changes a Release as its user does.
func (s *shop) patch(name, part string) {
	s.Helper()
	rel := &v1alpha1.Release{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: name}}
	if err := s.live.Patch(context.Background(), rel, ctrl.RawPatch(types.MergePatchType, []byte(part))); err != nil {
		s.Fatal(err)
	}
}

// answered reports whether there are n answers, the last one so, and no question
// stands any more.
func (s *shop) answered(name string, n int, done bool) func() error {
	return func() error {
		rel := s.release(name)
		if a := rel.Status.Answers; len(a) != n || a[n-1].Done != done || a[n-1].Message == "" {
			return fmt.Errorf("the answers: %+v", a)
		}
		for k := range rel.Annotations {
			if strings.Contains(k, "haldane.dev/") {
				return fmt.Errorf("annotation %s is still there", k)
			}
		}
		return nil
	}
}

// stalled reports whether the release says why it can not go on.
func (s *shop) stalled(name, reason, text string) func() error {
	return func() error {
		rel := s.release(name)
		c := meta.FindStatusCondition(rel.Status.Conditions, "Stalled")
		if c == nil || c.Status != metav1.ConditionTrue || c.Reason != reason || !strings.Contains(c.Message, text) || c.ObservedGeneration != rel.Generation {
			return fmt.Errorf("the condition: %+v", c)
		}
		return nil
	}
}

func TestClusterSaysWhatKeepsAReleaseBack(t *testing.T) {
	s := newShop(t)
	s.controller()
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopRelease, "hello"))
	s.until("the missing Deployment is told", s.stalled("hello", "WorkloadNotFound", "create it, or name another"))
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v1"))
	s.until("v1 serves", s.serves("hello", "v1"))

	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopRelease, "younger"))
	s.until("the younger is refused", s.stalled("younger", "WorkloadTaken", "Release hello works with Deployment hello already"))
	younger := s.release("younger")
	if err := s.live.Delete(context.Background(), &younger); err != nil {
		t.Fatal(err)
	}
	s.until("the younger is gone", func() error {
		if rel := s.release("younger"); rel.Name != "" {
			return errors.New("it is still there")
		}
		return nil
	})
	if err := s.serves("hello", "v1")(); err != nil || s.deployment().Labels["haldane.dev/release"] != "hello" {
		t.Errorf("the elder was touched: %v", err)
	}

	s.patch("hello", `{"spec":{"version":"canary"}}`) // a role can not name a version
	s.until("the refused spec is told", s.stalled("hello", "InvalidSpec", `spec.version: "canary" cannot name a version`))
	s.patch("hello", `{"spec":{"version":null}}`)
	s.until("all is well again", s.serves("hello", "v1"))
}

// A router that the cluster does not have is a condition with a remedy.
func TestClusterSaysWhichRouterIsNotThere(t *testing.T) {
	s := newShop(t)
	s.start(func(sh *kube.Shell, _ ControllerOptions) (parts, error) {
		return parts{router: clusterRouters(sh.Client), metrics: s.evidence}, nil
	})
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v1"))
	text := fmt.Sprintf(shopRelease, "hello")
	s.Cluster.Apply(t, s.ns, strings.Replace(text, "{replicas: {}}", "{istio: {service: hello}}", 1))
	s.until("the missing kind is told", s.says("hello", "this cluster has no kind VirtualService of networking.istio.io/v1: install Istio"))
	s.Cluster.Apply(t, s.ns, text)
	s.until("v1 serves without it", s.serves("hello", "v1"))
}

// A release at rest that is given a router whose object is not there says so,
// whatever the router, and is well again once it is.
func TestClusterSaysWhichRouteIsNotThere(t *testing.T) {
	s := newShop(t)
	s.gateway()
	s.saveEvery = time.Second
	s.start(func(sh *kube.Shell, _ ControllerOptions) (parts, error) {
		return parts{router: clusterRouters(sh.Client), metrics: s.evidence}, nil
	})
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v1"), fmt.Sprintf(shopRelease, "hello"))
	s.until("v1 serves", s.serves("hello", "v1"))
	s.patch("hello", `{"spec":{"traffic":{"replicas":null,"gatewayAPI":{"service":"hello","routes":[{"name":"hello"}]}}}}`)
	s.until("the missing HTTPRoute is told", s.says("hello", "HTTPRoute hello does not exist in namespace "+s.ns+": create it"))
	if c := meta.FindStatusCondition(s.release("hello").Status.Conditions, "Ready"); c.Status != metav1.ConditionFalse || c.Reason != "PassFailed" || c.ObservedGeneration != 2 {
		t.Errorf("the condition Ready is %+v", c)
	}
	s.Cluster.Apply(t, s.ns, shopRoute)
	s.until("it is well with the route", s.serves("hello", "v1"))
	s.patch("hello", `{"spec":{"traffic":{"gatewayAPI":null,"nginx":{"service":"hello","ingress":"hello"}}}}`)
	s.until("the missing Ingress is told", s.says("hello", "Ingress hello does not exist in namespace "+s.ns+": create it"))
}

// says reports whether a condition of a release has a text.
func (s *shop) says(name, text string) func() error {
	return func() error {
		rel := s.release(name)
		for _, c := range rel.Status.Conditions {
			if strings.Contains(c.Message, text) {
				return nil
			}
		}
		return fmt.Errorf("the conditions: %+v", rel.Status.Conditions)
	}
}

func TestClusterIsQuietAtRestAndAnswersTheCommandLine(t *testing.T) {
	s := newShop(t)
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v1"), fmt.Sprintf(shopRelease, "hello"))
	stop := s.controller()
	s.until("v1 serves", s.serves("hello", "v1"))
	s.until("nothing is asked any more", func() error {
		mark := s.Mark(t)
		time.Sleep(2 * time.Second) // what is measured
		if r := s.Requests(t, mark, cluster.ByUser(s.user)); len(r) > 0 {
			return fmt.Errorf("%v", r)
		}
		return nil
	})
	c, err := Connect(t.Context(), Cluster{Kubeconfig: s.kubeconfig, Namespace: s.ns}, false)
	if err != nil {
		t.Fatal(err)
	}
	list, err := c.List(t.Context())
	if err != nil || len(list) != 1 || list[0].Name != "hello" || list[0].Status.Stable.Name != "v1" || list[0].Status.Run.Name != "hello-1" {
		t.Fatalf("%+v, %v", list, err)
	}
	a, err := c.Ask(t.Context(), "hello", client.Ask{Verb: rollout.AskPause, Reason: "lunch", WaitSeconds: 60})
	if err != nil || !a.Answered || a.Done || a.Message == "" {
		t.Errorf("pause at rest: %+v, %v", a, err)
	}
	trail, err := c.Audit(t.Context(), 10)
	if err != nil || len(trail) != 1 || trail[0].Actor.Subject != s.user || trail[0].Detail != "lunch" {
		t.Errorf("the audit: %+v, %v", trail, err)
	}
	s.until("nothing of the question is left to be written", s.answered("hello", 1, false))
	nobody := kubeconfig(t, s.ServiceAccount(t, s.ns, "nobody"), s.ns)
	if c, err = Connect(t.Context(), Cluster{Kubeconfig: nobody, Namespace: s.ns}, false); err != nil {
		t.Fatal(err)
	}
	if _, err = c.List(t.Context()); err == nil || !client.IsUnauthorized(err) || !strings.Contains(err.Error(), "releases.haldane.dev is forbidden") {
		t.Errorf("a user without rights is told: %v", err)
	}

	// A restart goes on with what is in the objects and writes nothing.
	stop()
	before := s.release("hello").ResourceVersion
	s.controller()
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopRelease, "other")) // the sign that passes are made
	s.until("the restarted controller works", s.stalled("other", "WorkloadTaken", "Release hello"))
	if after := s.release("hello").ResourceVersion; after != before {
		t.Errorf("a restart at rest wrote the Release: %s, then %s", before, after)
	}
}

func (s *shop) deployment() *appsv1.Deployment {
	s.Helper()
	d, err := s.Client.AppsV1().Deployments(s.ns).Get(context.Background(), "hello", metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	return d
}

func (s *shop) podUIDs(image string) []string {
	s.Helper()
	list, err := s.Client.CoreV1().Pods(s.ns).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		s.Fatal(err)
	}
	var out []string
	for _, p := range list.Items {
		if p.Spec.Containers[0].Image == image {
			out = append(out, string(p.UID))
		}
	}
	slices.Sort(out)
	return out
}

func TestClusterRunFromApplyToPromotedAndDeleted(t *testing.T) {
	s := newShop(t)
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v1"), fmt.Sprintf(shopRelease, "hello"))
	stop := s.controller()
	s.until("v1 serves", s.serves("hello", "v1"))

	s.until("the API server has taken the policy in", s.policyHolds)
	mark := s.Mark(t)
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v2"))
	s.until("v2 has half of the traffic", func() error {
		if st := s.release("hello").Status; st.Weight != "50%" || !slices.Contains(st.Allowed, "promoteFull") {
			return fmt.Errorf("%s %s: %s", st.Phase, st.Weight, st.Message)
		}
		return nil
	})
	canary := s.podUIDs("hello:v2")
	s.annotate("hello", `{"haldane.dev/promote-full": "hello-1"}`) // meant for another run
	s.until("the question about another run is answered", s.answered("hello", 1, false))
	s.annotate("hello", `{"haldane.dev/promote-full": "hello-2"}`)
	s.until("v2 serves", s.serves("hello", "v2"))
	s.until("the question about this run is answered", s.answered("hello", 2, true))
	s.until("the Deployment is free", s.free) // what is saved is done after it
	if now := s.podUIDs("hello:v2"); !slices.Contains(now, canary[0]) {
		t.Errorf("the canary's pod %v was not adopted: %v", canary, now)
	}
	if n := len(s.podUIDs("hello:v2")); n != 2 {
		t.Errorf("%d pods of v2, expected 2", n)
	}
	t.Logf("API requests of the run: %v", cluster.Tally(s.Requests(t, mark, func(r cluster.Request) bool { return r.User == s.user && r.Write() })))
	rel := s.release("hello")
	if rel.Status.Run == nil || rel.Status.Run.Name != "hello-2" || rel.Status.Run.Phase != "Promoted" {
		t.Errorf("the run: %+v", rel.Status.Run)
	}
	var runs v1alpha1.RunList
	if err := s.live.List(context.Background(), &runs, ctrl.InNamespace(s.ns)); err != nil || len(runs.Items) != 2 {
		t.Errorf("%d Run objects, expected 2: %v", len(runs.Items), err)
	}

	if err := s.live.Delete(context.Background(), &rel); err != nil {
		t.Fatal(err)
	}
	s.until("the Release is gone", func() error {
		if err := s.live.Get(context.Background(), ctrl.ObjectKeyFromObject(&rel), &rel); err != nil {
			return ctrl.IgnoreNotFound(err)
		}
		return errors.New(rel.Status.Message)
	})
	if d := s.deployment(); d.Labels["haldane.dev/release"] != "" || d.Spec.Paused {
		t.Errorf("the Deployment was not given back: labels %v, paused %v", d.Labels, d.Spec.Paused)
	}
	stop()
}
