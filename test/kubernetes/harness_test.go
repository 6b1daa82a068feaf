// Package kubernetes holds the end-to-end tests of the controller: a real
// cluster with a kubelet and containers, Traefik as the implementation of the
// Gateway API, the built binary as the controller, and requests at a constant
// rate through the gateway.
//
// They run with HALDANE_E2E=1; HALDANE_LONG=1 runs the figures with their full
// counts.
package kubernetes

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/deploy/admission"
	"github.com/haldane-project/haldane/internal/load"
	"github.com/haldane-project/haldane/test/cluster"
)

// TestMain lets more tests run at once than there are processors: scenarios wait
// for most of their time.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "3"); err != nil {
		panic(err)
	}
	cluster.Main(m)
}

// patience bounds the wait for what must happen; it is no figure.
const patience = 6 * time.Minute

// long returns the full count of a figure, or the short one.
func long(short, full int) int {
	if os.Getenv("HALDANE_LONG") != "" {
		return full
	}
	return short
}

// onlyLong leaves out what takes minutes, or programs whose build does.
func onlyLong(t *testing.T) {
	t.Helper()
	if os.Getenv("HALDANE_LONG") == "" {
		t.Skip("HALDANE_LONG=1 runs it")
	}
}

var releases = schema.GroupVersionResource{Group: "haldane.dev", Version: "v1alpha1", Resource: "releases"}

// world is a namespace with an app behind Traefik, and the means to release it.
type world struct {
	*testing.T
	*cluster.Cluster
	ns      string
	traefik *cluster.Traefik
	url     string            // of the app
	way     http.RoundTripper // to it; nil: the address in url
	promise string            // falseRollback; empty: sure
}

const app = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: hello, labels: {app: hello}}
spec:
  replicas: %[3]d
  selector: {matchLabels: {app: hello}}
  template:
    metadata: {labels: {app: hello, app.kubernetes.io/version: "%[1]s"}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: app
        image: haldane.test/app:1
        imagePullPolicy: Never
        env: [{name: VERSION, value: "%[1]s"}%[2]s]
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}
`

const objects = `
apiVersion: v1
kind: Service
metadata: {name: hello}
spec:
  selector: {app: hello}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: hello}
spec:
  parentRefs: [{name: %s, namespace: %s}]
  hostnames: [%s]
  rules:
  - backendRefs: [{name: hello, port: 80}]
`

const release = `
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: {name: hello}
spec:
  workload:
    deployment: {name: hello}
  traffic:
    gatewayAPI: {service: hello, routes: [{name: hello}], settle: 1s}
  strategy: %s
  analysis:
    falseRollback: %s
    %s
    metrics: [%s]
`

// sure is the chance of a false rollback in tests that are not about it: of as many
// good versions as there are in all the tests one would now and then be rolled back
// at the usual 1%.
const sure = "0.01%"

// errorsOnly is one metric in place of the defaults, errors and latency.
const errorsOnly = "{name: errors, kind: errors}"

// newWorld starts the app's first version behind Traefik, with a Release of
// these steps.
func newWorld(t *testing.T, replicas int, steps string) *world {
	w := prepare(t)
	w.traefik = w.Traefik(t, w.ns)
	w.url = w.traefik.URL
	w.Apply(t, w.ns, fmt.Sprintf(objects, w.traefik.Gateway, w.ns, ""))
	w.deploy("v1", replicas)
	w.answers("v1")
	w.declare(canary(steps), errorsOnly)
	return w
}

// prepare returns a namespace in a cluster that has the app's image, the CRDs
// and the admission policy.
func prepare(t *testing.T) *world {
	t.Helper()
	if os.Getenv("HALDANE_E2E") == "" {
		t.Skip("a full cluster is started with HALDANE_E2E=1")
	}
	w := &world{T: t, Cluster: cluster.Full(t)}
	w.ns = w.Namespace(t)
	w.LoadGo(t, "haldane.test/app:1", "./test/kubernetes/app")
	w.ApplyFiles(t, "", "../../deploy/crds")
	policy, err := admission.Policy(controllerUser)
	if err != nil {
		t.Fatal(err)
	}
	w.Apply(t, "", string(policy))
	return w
}

// declare applies the Release with a strategy and metrics (YAML in one line),
// whose evidence the controller scrapes from the gateway.
func (w *world) declare(strategy, metrics string) {
	w.Helper()
	w.declareFrom(fmt.Sprintf(`scrape: {addresses: ["%s"], layout: traefik}`, scraped(w.traefik)), strategy, metrics)
}

// declareFrom is the same with another source of the evidence.
func (w *world) declareFrom(source, strategy, metrics string) {
	w.Helper()
	w.Apply(w.T, w.ns, fmt.Sprintf(release, strategy, cmp.Or(w.promise, sure), source, metrics))
}

// canary is a strategy of these steps.
func canary(steps string) string { return "{canary: {steps: [" + steps + "]}, bake: 2s}" }

// scraped is the address of the router's metrics as a Release names it.
func scraped(g *cluster.Traefik) string {
	return strings.TrimSuffix(strings.TrimPrefix(g.Metrics, "http://"), "/metrics")
}

// answers waits until a version answers a request with these headers
// ("Name: value").
func (w *world) answers(version string, headers ...string) {
	w.Helper()
	w.until(version+" answers", func() error {
		got, err := w.ask(headers...)
		if err == nil && got != version {
			err = fmt.Errorf("%s answered", got)
		}
		return err
	})
}

// ask sends one request and returns what answered it.
func (w *world) ask(headers ...string) (string, error) {
	req, err := http.NewRequest(http.MethodGet, w.url, nil)
	if err != nil {
		return "", err
	}
	req.Header = header(headers)
	res, err := (&http.Client{Transport: w.way, Timeout: 5 * time.Second}).Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, body)
	}
	return string(body), err
}

// header reads "Name: value".
func header(lines []string) http.Header {
	h := http.Header{}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		h.Set(name, value)
	}
	return h
}

// deploy applies a version as its user does; env are further variables.
func (w *world) deploy(version string, replicas int, env ...string) {
	w.Apply(w.T, w.ns, manifest(version, replicas, env...))
}

func manifest(version string, replicas int, env ...string) string {
	more := ""
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		more += fmt.Sprintf(", {name: %s, value: %q}", name, value)
	}
	return fmt.Sprintf(app, version, more, replicas)
}

// deployImage applies a version with another image.
func (w *world) deployImage(version, image string, replicas int) {
	text := strings.ReplaceAll(manifest(version, replicas), "haldane.test/app:1", image)
	w.Apply(w.T, w.ns, text)
}

func (w *world) until(what string, ready func() error) {
	w.Helper()
	cluster.Eventually(w.T, patience, what, ready)
}

// controllerUser is who the controller is to the API server.
const controllerUser = "system:serviceaccount:haldane-system:haldane"

// controller starts the built binary for the world's namespace.
func (w *world) controller(args ...string) *controller {
	w.Helper()
	return w.start(append([]string{"-n", w.ns}, args...)...)
}

// start starts the built binary as a controller.
func (w *world) start(args ...string) *controller {
	w.Helper()
	c := w.prepared(writeKubeconfig(w.T, w.account()), args...)
	if err := c.begin(); err != nil {
		w.Fatal(err)
	}
	return c
}

// keep starts one that is started again whenever it ends, as a kubelet does.
func (w *world) keep(kubeconfig string, args ...string) {
	w.Helper()
	c := w.prepared(kubeconfig, args...)
	c.kept = true
	go func() {
		for c.begin() == nil {
			_ = c.cmd.Wait() // however it ended
			time.Sleep(200 * time.Millisecond)
		}
	}()
}

// controller is a process; its log is shown where the test failed.
type controller struct {
	bin  string
	args []string
	log  *os.File

	mu   sync.Mutex
	cmd  *exec.Cmd
	done bool // it is not started again
	kept bool // somebody waits for its end
}

func (w *world) prepared(kubeconfig string, args ...string) *controller {
	w.Helper()
	out, err := os.Create(filepath.Join(w.TempDir(), "controller.log"))
	if err != nil {
		w.Fatal(err)
	}
	c := &controller{bin: binary(w.T), args: append([]string{"controller", "--kubeconfig", kubeconfig}, args...), log: out}
	w.Cleanup(func() {
		c.kill()
		if w.Failed() {
			b, _ := os.ReadFile(out.Name())
			w.Logf("the controller said:\n%s", b)
		}
		_ = out.Close() // it was read
	})
	return c
}

func (c *controller) begin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done {
		return errors.New("it was killed")
	}
	c.cmd = exec.Command(c.bin, c.args...)
	c.cmd.Stdout, c.cmd.Stderr = c.log, c.log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	return c.cmd.Start()
}

// kill ends the controller as a power cut would.
func (c *controller) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.done && c.cmd != nil {
		_ = c.cmd.Process.Kill()
		if !c.kept {
			_ = c.cmd.Wait() // it was killed
		}
	}
	c.done = true
}

var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "haldane-e2e-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "haldane")
	out, err := exec.Command("go", "build", "-o", bin, "github.com/haldane-project/haldane/cmd/haldane").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build haldane: %w: %s", err, out)
	}
	return bin, nil
})

func binary(t *testing.T) string {
	t.Helper()
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

func (w *world) release() *v1alpha1.Release {
	u, err := w.Dynamic.Resource(releases).Namespace(w.ns).Get(context.Background(), "hello", metav1.GetOptions{})
	if err != nil {
		w.Fatal(err)
	}
	b, err := json.Marshal(u)
	if err != nil {
		w.Fatal(err)
	}
	var r v1alpha1.Release
	if err := json.Unmarshal(b, &r); err != nil {
		w.Fatal(err)
	}
	return &r
}

// phase waits until the release's run of a version is in a phase.
func (w *world) phase(version string, phases ...string) {
	w.Helper()
	w.until(version+" is "+strings.Join(phases, " or "), func() error {
		s := w.release().Status
		if s.Run != nil && s.Run.To == version && slices.Contains(phases, s.Run.Phase) {
			return nil
		}
		if slices.ContainsFunc(s.Conditions, func(c metav1.Condition) bool { return c.Reason == "InvalidSpec" }) {
			w.Fatalf("no run begins: %s", s.Message)
		}
		return fmt.Errorf("phase %s, run %+v: %s", s.Phase, s.Run, s.Message)
	})
}

func (w *world) object(gvr schema.GroupVersionResource, name string) *unstructured.Unstructured {
	u, err := w.Dynamic.Resource(gvr).Namespace(w.ns).Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		w.Fatal(err)
	}
	return u
}

func (w *world) deployment() *appsv1.Deployment {
	d, err := w.Client.AppsV1().Deployments(w.ns).Get(context.Background(), "hello", metav1.GetOptions{})
	if err != nil {
		w.Fatal(err)
	}
	return d
}

// pods are the UIDs of a version's pods and how often their containers restarted.
func (w *world) pods(version string) (uids []types.UID, restarts int32) {
	list, err := w.Client.CoreV1().Pods(w.ns).List(context.Background(), metav1.ListOptions{LabelSelector: "app=hello"})
	if err != nil {
		w.Fatal(err)
	}
	for _, p := range list.Items {
		if p.DeletionTimestamp != nil || p.Spec.Containers[0].Env[0].Value != version {
			continue
		}
		uids = append(uids, p.UID)
		for _, c := range p.Status.ContainerStatuses {
			restarts += c.RestartCount
		}
	}
	slices.Sort(uids)
	return uids, restarts
}

// traffic is the load on the gateway and all that came of it.
type traffic struct {
	mu    sync.Mutex
	shots []load.Shot
	stop  context.CancelFunc
	done  chan struct{}
}

// load sends requests with these headers ("Name: value") until the test's end.
func (w *world) load(rate float64, headers ...string) *traffic {
	w.Helper()
	tr := &traffic{done: make(chan struct{})}
	g, err := load.New(load.Options{URL: w.url, Transport: w.way, Header: header(headers), Rate: rate, Timeout: time.Minute, VersionHeader: "X-Version", Each: func(s load.Shot) {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		tr.shots = append(tr.shots, s)
	}})
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	tr.stop = cancel
	go func() {
		defer close(tr.done)
		g.Run(ctx)
	}()
	w.Cleanup(tr.end)
	return tr
}

// end stops the load and waits for the last answer.
func (tr *traffic) end() {
	tr.stop()
	<-tr.done
}

// all returns what came until now.
func (tr *traffic) all() []load.Shot {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return slices.Clone(tr.shots)
}

// lost are the requests that no version answered: what a router or a wrong
// order of writes did to users.
func lost(shots []load.Shot) []load.Shot {
	return slices.DeleteFunc(slices.Clone(shots), func(s load.Shot) bool { return s.Version != "" && s.Err == nil })
}

// span is the time from the first failed answer of a version to its last answer
// of all, and how many failed.
func span(shots []load.Shot, version string) (d time.Duration, failed, all int) {
	var first, last time.Time
	for _, s := range shots {
		if s.Version != version {
			continue
		}
		all++
		at := s.Due.Add(s.Latency)
		if s.Failed() {
			failed++
			if first.IsZero() || at.Before(first) {
				first = at
			}
		}
		if at.After(last) {
			last = at
		}
	}
	if first.IsZero() {
		return 0, failed, all
	}
	return last.Sub(first), failed, all
}

// answered tells an error until a version answered a request.
func answered(tr *traffic, version string) error {
	if last(tr.all(), version).IsZero() {
		return fmt.Errorf("%s has answered nothing", version)
	}
	return nil
}

// first is when the first request that a version answered was due.
func first(shots []load.Shot, version string) time.Time {
	var at time.Time
	for _, s := range shots {
		if s.Version == version && (at.IsZero() || s.Due.Before(at)) {
			at = s.Due
		}
	}
	return at
}

// last is when a version's last answer came.
func last(shots []load.Shot, version string) time.Time {
	var at time.Time
	for _, s := range shots {
		if end := s.Due.Add(s.Latency); s.Version == version && end.After(at) {
			at = end
		}
	}
	return at
}

func contains(text, part string) bool { return strings.Contains(text, part) }
