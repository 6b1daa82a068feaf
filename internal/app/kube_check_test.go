package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/haldane-project/haldane/deploy/crds"
	engine "github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/kube"
	"github.com/haldane-project/haldane/internal/manifest"
	"github.com/haldane-project/haldane/internal/telemetry/history"
	"github.com/haldane-project/haldane/test/cluster"
)

const checkedRelease = `
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: {name: hello}
spec:
  workload: {deployment: {name: hello}}
  traffic: {gatewayAPI: {service: hello, routes: [{name: hello}]}}
  analysis:
    prometheus: {address: %q}
    metrics: [{name: errors, kind: errors}]
`

// found are the findings of the shop's namespace, asked for with all rights.
func (s *shop) found(o CheckOptions) []Finding {
	s.Helper()
	list, err := CheckCluster(s.Context(), Cluster{Kubeconfig: kubeconfig(s.T, s.Config, s.ns), Namespace: s.ns}, false, o)
	if err != nil {
		s.Fatal(err)
	}
	return list
}

// tells reports whether a check has a state and a text; what is not ok has a remedy.
func tells(list []Finding, state, check, text string) error {
	for _, f := range list {
		if f.Check == check && f.State == state && strings.Contains(f.Found+": "+f.Remedy, text) {
			if state != FindingOK && f.Remedy == "" {
				return fmt.Errorf("%+v has no remedy", f)
			}
			return nil
		}
	}
	return fmt.Errorf("no %s of %q with %q: %s", state, check, text, all(list))
}

func all(list []Finding) string {
	var out strings.Builder
	for _, f := range list {
		fmt.Fprintf(&out, "\n%s %s %s: %s: %s", f.State, f.About, f.Check, f.Found, f.Remedy)
	}
	return out.String()
}

// fault is one thing that is not as a release needs it.
type fault struct {
	name, state, check, text string
	set, clear               func(s *shop)
}

// change gives a Release's field another value and back.
func change(to, back string) (set, clear func(s *shop)) {
	return func(s *shop) { s.patch("hello", to) }, func(s *shop) { s.patch("hello", back) }
}

func faulty(name, state, check, text, to, back string) fault {
	set, undo := change(to, back)
	return fault{name, state, check, text, set, undo}
}

var faults = []fault{
	faulty("a spec that is refused", FindingFail, "spec", `spec.version: "canary" cannot name a version`, `{"spec":{"version":"canary"}}`, `{"spec":{"version":null}}`),
	faulty("a Deployment that is not there", FindingFail, "Deployment", "there is no Deployment gone in namespace", `{"spec":{"workload":{"deployment":{"name":"gone"}}}}`, `{"spec":{"workload":{"deployment":{"name":"hello"}}}}`),
	faulty("a route that is not there", FindingFail, "route", "HTTPRoute gone does not exist in namespace", `{"spec":{"traffic":{"gatewayAPI":{"routes":[{"name":"gone"}]}}}}`, `{"spec":{"traffic":{"gatewayAPI":{"routes":[{"name":"hello"}]}}}}`),
	faulty("a router that is not there", FindingFail, "route", "no kind VirtualService", `{"spec":{"traffic":{"gatewayAPI":null,"istio":{"service":"hello"}}}}`, `{"spec":{"traffic":{"istio":null,"gatewayAPI":{"service":"hello","routes":[{"name":"hello"}]}}}}`),
	faulty("a Service that is not there", FindingFail, "Service", "there is no Service gone", `{"spec":{"traffic":{"gatewayAPI":{"service":"gone"}}}}`, `{"spec":{"traffic":{"gatewayAPI":{"service":"hello"}}}}`),
	faulty("a mirror that the gateway does not promise", FindingFail, "route", "does not list HTTPRouteRequestMirror", `{"spec":{"strategy":{"shadow":{"mirror":10}}}}`, `{"spec":{"strategy":null}}`),
	faulty("a ConfigMap that is not there", FindingFail, "ConfigMap gone", "create it", `{"spec":{"workload":{"deployment":{"content":{"configMaps":["gone"]}}}}}`, `{"spec":{"workload":{"deployment":{"content":null}}}}`),
	faulty("a Secret that the controller may not read", FindingFail, "Secret hello", "may not get secrets hello", `{"spec":{"workload":{"deployment":{"content":{"secrets":["hello"]}}}}}`, `{"spec":{"workload":{"deployment":{"content":null}}}}`),
	faulty("cpu without metrics.k8s.io", FindingFail, "metric cpu", "install metrics-server", `{"spec":{"analysis":{"metrics":[{"name":"cpu","kind":"gauge","source":{"process":"cpu"}}]}}}`, `{"spec":{"analysis":{"metrics":[{"name":"errors","kind":"errors"}]}}}`),
	faulty("a layout without a series", FindingWarn, "metric errors", "has no series of istio_requests_total", `{"spec":{"analysis":{"prometheus":{"layout":"istio"}}}}`, `{"spec":{"analysis":{"prometheus":{"layout":null}}}}`),
	faulty("a source that is away", FindingFail, "metric errors", "cannot be reached", `{"spec":{"analysis":{"prometheus":{"address":"http://127.0.0.1:9"}}}}`, `{}`),
	faulty("no source", FindingWarn, "metrics", "spec.analysis.scrape", `{"spec":{"analysis":{"prometheus":null}}}`, `{}`),
	faulty("pods to scrape that are not there", FindingFail, "scrape", "no running pod in namespace", `{"spec":{"analysis":{"scrape":{"port":9100,"pods":{"labels":{"app":"router"}},"layout":"traefik"}}}}`, `{"spec":{"analysis":{"scrape":null}}}`),
	{"a Service that selects other pods", FindingFail, "Service", "give it a selector that matches them",
		func(s *shop) { s.patchService(`{"spec":{"selector":{"app":"other"}}}`) }, func(s *shop) { s.patchService(`{"spec":{"selector":{"app":"hello"}}}`) }},
	{"a route to another Service", FindingFail, "route", "HTTPRoute hello",
		func(s *shop) { s.patchRoute(`{"spec":{"rules":[{"backendRefs":[{"name":"other","port":80}]}]}}`) },
		func(s *shop) { s.patchRoute(`{"spec":{"rules":[{"backendRefs":[{"name":"hello","port":80}]}]}}`) }},
	{"a second Release of the Deployment", FindingFail, "Deployment", "Release younger works with Deployment hello, too",
		func(s *shop) { s.Cluster.Apply(s.T, s.ns, fmt.Sprintf(shopRelease, "younger")) },
		func(s *shop) {
			younger := s.release("younger")
			if err := s.live.Delete(s.Context(), &younger); err != nil {
				s.Fatal(err)
			}
		}},
	{"a right that the controller lacks", FindingFail, "controller's rights", "may not create deployments.apps",
		func(s *shop) { s.rights("create", false) }, func(s *shop) { s.rights("create", true) }},
	{"an admission policy that is not there", FindingFail, "admission policy", "rolls out by itself",
		func(s *shop) { s.policyIs(false) }, func(s *shop) { s.policyIs(true) }},
}

func (s *shop) patchService(part string) {
	s.Helper()
	if _, err := s.Client.CoreV1().Services(s.ns).Patch(s.Context(), "hello", types.MergePatchType, []byte(part), metav1.PatchOptions{}); err != nil {
		s.Fatal(err)
	}
}

func (s *shop) patchRoute(part string) {
	s.Helper()
	if _, err := s.Dynamic.Resource(httpRoutes).Namespace(s.ns).Patch(s.Context(), "hello", types.MergePatchType, []byte(part), metav1.PatchOptions{}); err != nil {
		s.Fatal(err)
	}
}

// policyIs takes the admission policy away, or installs it anew.
func (s *shop) policyIs(there bool) {
	s.Helper()
	policies, name := s.Client.AdmissionregistrationV1().MutatingAdmissionPolicies(), "hold-"+s.ns
	if !there {
		if err := policies.Delete(s.Context(), name, metav1.DeleteOptions{}); err != nil {
			s.Fatal(err)
		}
		return
	}
	s.policy()
}

// TestClusterCheck: where all is there nothing fails, and each thing that is not
// is named with what to do.
func TestClusterCheck(t *testing.T) {
	s := newShop(t)
	s.mayLack = true
	s.gateway()
	s.start(func(sh *kube.Shell, _ ControllerOptions) (parts, error) {
		return parts{router: clusterRouters(sh.Client), metrics: s.evidence}, nil
	})
	server := s.prometheus()
	release := fmt.Sprintf(checkedRelease, server)
	s.Cluster.Apply(t, s.ns, shopGateway, fmt.Sprintf(shopDeployment, "v1"), shopRoute,
		"{apiVersion: v1, kind: Secret, metadata: {name: hello}}", release)
	s.until("v1 serves", s.serves("hello", "v1"))
	s.until("all is well", func() error {
		list := s.found(CheckOptions{})
		for _, f := range list {
			if f.State == FindingFail {
				return errors.New(all(list))
			}
		}
		return cmp.Or(tells(list, FindingOK, "admission policy", "for all but "+s.user), tells(list, FindingOK, "controller's rights", s.user+" has all"),
			tells(list, FindingOK, "hold", "is held"), tells(list, FindingOK, "route", "gatewayAPI"), tells(list, FindingOK, "Service", "reaches 2 ready pods"),
			tells(list, FindingOK, "metric errors", "1 series of http_server_request_duration_seconds_count for v1"), tells(list, FindingOK, "state", "v1 serves"))
	})
	t.Log(all(s.found(CheckOptions{})))
	for _, f := range faults {
		f.set(s)
		s.until(f.name+" is told", func() error { return tells(s.found(CheckOptions{}), f.state, f.check, f.text) })
		if f.clear(s); strings.Contains(f.text, "cannot be reached") || f.name == "no source" {
			s.Cluster.Apply(t, s.ns, release)
			s.patch("hello", fmt.Sprintf(`{"spec":{"analysis":{"prometheus":{"address":%q}}}}`, server))
		}
	}
	s.until("all is well again", s.serves("hello", "v1"))
	if err := tells(s.found(CheckOptions{Names: []string{"helo"}}), FindingFail, "releases", "there is no release helo: choose one of [hello]"); err != nil {
		t.Error(err)
	}
	obj, _, err := manifest.Parse("new.yaml", []byte(strings.Replace(release, "deployment: {name: hello}", "deployment: {name: new}", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if err := tells(s.found(CheckOptions{Release: &obj}), FindingFail, "Deployment", "there is no Deployment new"); err != nil {
		t.Error(err)
	}
}

// shopGateway is what the route of the shop names as its parent.
const shopGateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: plain}
spec: {controllerName: test/controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gateway}
spec: {gatewayClassName: plain, listeners: [{name: http, port: 80, protocol: HTTP}]}
`

// prometheus serves what the pods of the shop would export.
func (s *shop) prometheus() (address string) {
	s.Helper()
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		pods, err := s.Client.CoreV1().Pods(s.ns).List(context.Background(), metav1.ListOptions{})
		if err != nil || len(pods.Items) == 0 {
			return
		}
		fmt.Fprintf(w, "http_server_request_duration_seconds_count{namespace=%q,pod=%q,code=\"200\"} 7\n", s.ns, pods.Items[0].Name)
	}))
	s.Cleanup(page.Close)
	e, err := openEvidence(engine.New(s.live, s.live), s.TempDir(), "", slog.New(slog.DiscardHandler))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = e.Close() })
	e.store.SetTargets([]history.Target{{URL: page.URL, Instance: "page"}})
	server := httptest.NewServer(e.store.QueryHandler())
	s.Cleanup(server.Close)
	return server.URL
}

// TestClusterCheckOfABareCluster: nothing is installed, then another version's
// definitions are, then nothing answers.
func TestClusterCheckOfABareCluster(t *testing.T) {
	c := cluster.New(t)
	ns := c.Namespace(t)
	at := Cluster{Kubeconfig: kubeconfig(t, c.Config, ns), Namespace: ns}
	look := func(state, check, text string) {
		t.Helper()
		list, err := CheckCluster(t.Context(), at, false, CheckOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := tells(list, state, check, text); err != nil {
			t.Error(err)
		}
	}
	look(FindingOK, "API server", "Kubernetes 1.")
	look(FindingFail, "definition of Release", "does not know the kind Release: install Haldane")
	look(FindingFail, "admission policy", "it is not installed")
	look(FindingWarn, "controller's rights", "--account NAMESPACE/NAME")
	look(FindingFail, "releases", "see the definitions")
	c.Apply(t, "", string(crds.Releases), string(crds.Runs))
	look(FindingOK, "definition of Run", "this program's version")
	c.Apply(t, "", strings.Replace(string(crds.Releases), "Release says which", "Release said which", 1))
	look(FindingWarn, "definition of Release", "another version")
	look(FindingWarn, "releases", "haldane apply")

	at.Kubeconfig = kubeconfig(t, c.ServiceAccount(t, ns, "visitor"), ns)
	look(FindingWarn, "your rights", "visitor may not get releases.haldane.dev")
	look(FindingWarn, "definition of Release", "whether it is that of this program's version is not known")
	look(FindingWarn, "admission policy", "mutatingadmissionpolicies")
	at.Kubeconfig = kubeconfig(t, c.Config, ns)
	c.StopAPIServer(t)
	look(FindingFail, "API server", "does not answer")
}
