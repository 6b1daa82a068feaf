package render_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/haldane-project/haldane/internal/manifest"
	"github.com/haldane-project/haldane/internal/render"
	"github.com/haldane-project/haldane/test/cluster"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) { cluster.Main(m) }

func app(router string) render.App {
	return render.App{Name: "hello", Image: "registry.example:5000/team/hello:v1", Port: 8080, Probe: "/healthz", Router: router,
		Evidence: render.Evidence{Prometheus: "http://prometheus.monitoring:9090"}}
}

// apps are the ways to render, by name.
func apps() map[string]render.App {
	all := map[string]render.App{}
	for _, router := range render.Routers {
		a := app(router)
		if router == "gatewayapi" {
			a.Gateway = "infra/public"
			a.Evidence = render.Evidence{Scrape: "9100/metrics", Pods: "traefik/app=traefik,tier=edge", Layout: "traefik"}
		}
		all[router] = a
	}
	a := app("gatewayapi")
	a.Protocol, a.Gateway, a.Host, a.MaxReplicas, a.Replicas = "grpc", "public", "*.example.org", 9, 3
	a.Evidence.Layout = "linkerd"
	all["grpc"] = a
	a = app("istio")
	a.Gateway, a.Host, a.User, a.Replicas = "infra/public", "hello.example.org", 10001, 1
	a.Env = map[string]string{"GREETING": "Hello: \"you\"\n# no comment", "EMPTY": ""}
	all["istio-gateway"] = a
	return all
}

func TestYAML(t *testing.T) {
	for name, a := range apps() {
		got, err := render.YAML(a)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		golden := filepath.Join("testdata", name+".yaml")
		if *update {
			if err := os.WriteFile(golden, got, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s is not %s (go test -update writes it):\n%s", name, golden, got)
		}
	}
}

// TestTaken: a real API server takes every object with strict validation, its
// Pod Security admission runs the pods, and the Release is valid to Haldane.
func TestTaken(t *testing.T) {
	c := cluster.ControlPlane(t)
	c.GatewayAPI(t)
	c.IstioCRDs(t)
	c.ApplyFiles(t, "", "../../deploy/crds")
	for name, a := range apps() {
		t.Run(name, func(t *testing.T) {
			text, err := render.YAML(a)
			if err != nil {
				t.Fatal(err)
			}
			docs := strings.Split(string(text), "\n---\n")
			if _, _, err := manifest.Parse("release.yaml", []byte(docs[len(docs)-1])); err != nil {
				t.Errorf("the Release: %v", err)
			}
			ns := c.Namespace(t)
			restrict(t, c, ns)
			c.FakeKubelet(t, ns, cluster.Running)
			c.Apply(t, ns, string(text))
			want := int32(max(a.Replicas, 1))
			if a.Replicas == 0 {
				want = 2
			}
			if a.MaxReplicas > 0 {
				want = 1 // no metrics here: the autoscaler has not yet spoken
			}
			cluster.Eventually(t, cluster.Patience, "the pods", func() error {
				d, err := c.Client.AppsV1().Deployments(ns).Get(context.Background(), "hello", metav1.GetOptions{})
				if err == nil && d.Status.AvailableReplicas < want {
					err = fmt.Errorf("%d of %d: %+v", d.Status.AvailableReplicas, want, d.Status.Conditions)
				}
				return err
			})
		})
	}
}

// restrict lets a namespace run pods of the restricted standard only.
func restrict(t *testing.T, c *cluster.Cluster, ns string) {
	t.Helper()
	patch := `{"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}`
	if _, err := c.Client.CoreV1().Namespaces().Patch(context.Background(), ns, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestProblems(t *testing.T) {
	for want, change := range map[string]func(*render.App){
		"--name is":                func(a *render.App) { a.Name = "Hello" },
		"at most 56":               func(a *render.App) { a.Name = strings.Repeat("a", 57) },
		"--image is \"\"":          func(a *render.App) { a.Image = "" },
		"other than latest":        func(a *render.App) { a.Image = "registry.example:5000/hello" },
		"tag other than latest":    func(a *render.App) { a.Image = "hello:latest" },
		"--image is \"a b:1\"":     func(a *render.App) { a.Image = "a b:1" },
		"--port is 0":              func(a *render.App) { a.Port = 0 },
		"--protocol is \"tcp\"":    func(a *render.App) { a.Protocol = "tcp" },
		"--probe is":               func(a *render.App) { a.Probe = "healthz" },
		"--env names \"A-B\"":      func(a *render.App) { a.Env = map[string]string{"A-B": ""} },
		"--memory is \"much\"":     func(a *render.App) { a.Memory = "much" },
		"--cpu is \"-1\"":          func(a *render.App) { a.CPU = "-1" },
		"more than --replicas 2":   func(a *render.App) { a.MaxReplicas = 1 },
		"gatewayapi, istio":        func(a *render.App) { a.Router = "traefik" },
		"--gateway is missing":     func(a *render.App) { a.Router = "gatewayapi" },
		"--gateway has no meaning": func(a *render.App) { a.Gateway = "public" },
		"--host is":                func(a *render.App) { a.Host = "https://x" },
		"--prometheus or --scrape": func(a *render.App) { a.Evidence = render.Evidence{} },
		"without a password":       func(a *render.App) { a.Evidence.Prometheus = "https://u:p@x" },
		"--scrape is \"metrics\"":  func(a *render.App) { a.Evidence.Scrape = "metrics" },
		"--scrape-pods is":         func(a *render.App) { a.Evidence.Pods = "traefik/app=x" },
		"--layout is missing, or one of": func(a *render.App) {
			a.Evidence = render.Evidence{Scrape: "9100", Pods: "traefik/app=x"}
		},
		"--layout is \"haproxy\"": func(a *render.App) { a.Evidence.Layout = "haproxy" },
		"failed gRPC calls": func(a *render.App) {
			a.Protocol, a.Router, a.Gateway, a.Evidence.Layout = "grpc", "gatewayapi", "public", "envoy"
		},
		"which is rendered for http": func(a *render.App) { a.Protocol, a.Router = "grpc", "nginx" },
	} {
		a := app("replicas")
		change(&a)
		if text, err := render.YAML(a); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("expected %q, got %v\n%s", want, err, text)
		}
	}
	_, err := render.YAML(render.App{})
	if n := len(strings.Split(fmt.Sprint(err), "\n")); n < 4 {
		t.Errorf("not all problems at once: %v", err)
	}
}

// TestAnyEnvironmentStaysText: whatever a value holds, it is one string of one object.
func TestAnyEnvironmentStaysText(t *testing.T) {
	plain, err := render.YAML(app("replicas"))
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		a := app("replicas")
		a.Env = map[string]string{"X": rapid.String().Draw(t, "value")}
		text, err := render.YAML(a)
		var refused render.Problems
		switch {
		case errors.As(err, &refused):
			return
		case err != nil:
			t.Fatal(err)
		}
		count := func(b []byte) int {
			lines := strings.Split(string(b), "\n")
			return len(slices.DeleteFunc(lines, func(l string) bool { return l != "---" && !strings.HasPrefix(l, "kind: ") }))
		}
		if count(text) != count(plain) {
			t.Errorf("%q made other documents:\n%s", a.Env["X"], text)
		}
	})
}
