package chart

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/haldane-project/haldane/test/cluster"
)

// helm is the real one, working on a cluster where one is given.
type helm struct {
	path, kubeconfig, home string
}

func newHelm(t *testing.T, c *cluster.Cluster) helm {
	t.Helper()
	if os.Getenv("HALDANE_E2E") == "" {
		t.Skip("helm is built with HALDANE_E2E=1")
	}
	bin, err := cluster.Build("helm")
	if err != nil {
		t.Fatal(err)
	}
	h := helm{path: bin[0], home: t.TempDir(), kubeconfig: os.DevNull}
	if c != nil {
		h.kubeconfig = c.Kubeconfig
	}
	return h
}

// try runs helm and returns what it said.
func (h helm) try(args ...string) (string, error) {
	cmd := exec.Command(h.path, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+h.kubeconfig, "HOME="+h.home, "XDG_CACHE_HOME="+h.home, "XDG_CONFIG_HOME="+h.home, "XDG_DATA_HOME="+h.home)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), errors.New(stderr.String())
	}
	return stdout.String(), nil
}

func (h helm) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := h.try(args...)
	if err != nil {
		t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func TestHelmLint(t *testing.T) {
	h := newHelm(t, nil)
	h.run(t, "lint", "--strict", chartDir)
	h.run(t, "lint", "--strict", chartDir, "--set", "scope=namespace,admission.mode=none,metrics.serviceMonitor.enabled=true,rbac.secrets={prometheus}")
	out := h.run(t, "package", chartDir, "--destination", t.TempDir())
	if !strings.Contains(out, "haldane-0.1.0.tgz") {
		t.Errorf("helm package says %s", out)
	}
}

// TestHelmManifestsAreFresh: the plain manifests are what the chart says now.
func TestHelmManifestsAreFresh(t *testing.T) {
	newHelm(t, nil)
	if out, err := exec.Command("../../tools/manifests.sh", "--check").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestHelmRefusesBadValues(t *testing.T) {
	h := newHelm(t, nil)
	for set, want := range map[string]string{
		"replica=3":                         "additional properties 'replica' not allowed",
		"metrics.port=https":                "/metrics/port",
		"image.pullPolicy=Allways":          "'Always', 'IfNotPresent', 'Never'",
		"admission.mode=webhook":            "'policy', 'external', 'none'",
		"image.digest=sha256:12":            "/image/digest",
		"serviceAccount.create=false":       "name the account that exists in serviceAccount.name",
		"metrics.serviceMonitor.interval=x": "/metrics/serviceMonitor/interval",
	} {
		if out, err := h.try("template", "haldane", chartDir, "--set", set); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("--set %s: %v, expected %q; %d bytes rendered", set, err, want, len(out))
		}
	}
	_, err := h.try("template", "haldane", chartDir, "--kube-version", "1.35.2")
	if err == nil || !strings.Contains(err.Error(), "set admission.mode=none") {
		t.Errorf("Kubernetes 1.35: %v", err)
	}
	h.run(t, "template", "haldane", chartDir, "--kube-version", "1.35.2", "--set", "admission.mode=none")
}

func TestHelmPolicyNamesTheAccount(t *testing.T) {
	h := newHelm(t, nil)
	samePolicy(t, h.run(t, "template", "x", chartDir, "--namespace", "ops"), "system:serviceaccount:ops:x-haldane")
	samePolicy(t, h.run(t, "template", "x", chartDir, "--namespace", "ops", "--set", "serviceAccount.name=own"), "system:serviceaccount:ops:own")
	for _, mode := range []string{"none", "external"} {
		out := h.run(t, "template", "x", chartDir, "--set", "admission.mode="+mode)
		if strings.Contains(out, "MutatingAdmissionPolicy") || strings.Contains(out, "--pause-at-rest") != (mode == "none") {
			t.Errorf("admission.mode=%s renders the policy, or the wrong flag", mode)
		}
	}
}

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// TestHelmLife: install waits for two ready pods, upgrade brings the
// definitions forward, uninstall leaves them and the Releases.
func TestHelmLife(t *testing.T) {
	c := cluster.New(t)
	h, ctx := newHelm(t, c), context.Background()
	ns := c.Namespace(t)
	c.FakeKubelet(t, ns, cluster.Running)
	notes := h.run(t, "install", "haldane", olderChart(t, h), "--namespace", ns, "--wait", "--timeout", "2m")
	if !strings.Contains(notes, "rollout status deployment/haldane") || !strings.Contains(notes, "rbac.secrets={NAME}") {
		t.Errorf("the notes are\n%s", notes)
	}
	ask(t, c, ns, "haldane", work("default", true))
	ask(t, c, ns, "haldane", never("default"))
	c.Apply(t, "default", release)

	h.run(t, "upgrade", "haldane", chartDir, "--namespace", ns, "--wait", "--timeout", "2m", "--set", "rbac.secrets={prometheus},replicas=1")
	crd, err := c.Dynamic.Resource(definitions).Get(ctx, "releases.haldane.dev", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if text, err := crd.MarshalJSON(); err != nil || bytes.Contains(text, []byte("Judgement")) || !bytes.Contains(text, []byte(`"name":"Verdict"`)) {
		t.Errorf("the upgrade did not bring the definition forward: %v", err)
	}
	available(t, c, ns, "haldane", 1)
	ask(t, c, ns, "haldane", []may{
		{verb: "get", resource: "secrets", name: "prometheus", ns: "default", allowed: true},
		{verb: "get", resource: "secrets", name: "other", ns: "default"},
		{verb: "list", resource: "secrets", ns: "default"},
	})

	h.run(t, "uninstall", "haldane", "--namespace", ns, "--wait", "--timeout", "2m")
	if _, err := c.Client.AppsV1().Deployments(ns).Get(ctx, "haldane", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the Deployment after uninstall: %v", err)
	}
	releases := c.Dynamic.Resource(schema.GroupVersionResource{Group: "haldane.dev", Version: "v1alpha1", Resource: "releases"}).Namespace("default")
	if _, err := releases.Get(ctx, "hello", metav1.GetOptions{}); err != nil {
		t.Errorf("the Release after uninstall: %v", err)
	}
}

const release = `
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: {name: hello}
spec:
  workload: {deployment: {name: hello}}
  traffic: {replicas: {}}
`

// olderChart is the chart with another column in its definition of Release.
func olderChart(t *testing.T, h helm) string {
	t.Helper()
	dir := t.TempDir()
	h.run(t, "package", chartDir, "--destination", dir)
	if out, err := exec.Command("tar", "-xzf", filepath.Join(dir, "haldane-0.1.0.tgz"), "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	path := filepath.Join(dir, "haldane/files/crds/releases.yaml")
	text := bytes.Replace(read(t, path), []byte("name: Verdict"), []byte("name: Judgement"), 1)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "haldane")
}
