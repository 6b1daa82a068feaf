package kubernetes

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/haldane-project/haldane/test/cluster"
)

// installed is the tag of the image that the test makes.
const installed = "0.0.0-e2e"

// TestInstalled: the image of `make image` is the same twice, runs in the cluster
// from the chart under its own account's rights, passes `helm test`, and makes a
// whole run with both of its ends: a bad version off, a good one on.
func TestInstalled(t *testing.T) {
	onlyLong(t)
	w := prepare(t)
	archive := makeImage(t)
	w.LoadArchive(t, archive)
	system := w.Namespace(t)
	// The definitions and the policy are those of the other tests until then.
	w.helm("install", "haldane", "../../deploy/helm/haldane", "--namespace", system, "--take-ownership", "--force-conflicts",
		"--set", "image.repository=haldane,image.pullPolicy=Never,image.tag="+installed, "--wait", "--timeout", "2m")
	w.Cleanup(func() { w.helm("uninstall", "haldane", "--namespace", system, "--wait", "--timeout", "2m") })
	w.helm("test", "haldane", "--namespace", system)
	mark := w.Mark(t)

	w.traefik = w.Traefik(t, w.ns)
	w.url = w.traefik.URL
	w.Apply(t, w.ns, fmt.Sprintf(objects, w.traefik.Gateway, w.ns, ""))
	w.deploy("v1", 2)
	w.answers("v1")
	w.declareFrom("scrape: {port: 8080, layout: http}", canary("{weight: 10}, {weight: 50}"), errorsOnly)
	w.phase("v1", "Promoted")
	tr := w.load(60)
	w.deploy("v2", 2, "ERRORS=0.2")
	w.phase("v2", "RolledBack")
	w.deploy("v3", 2)
	w.phase("v3", "Promoted")
	tr.end()
	w.onlyBad(tr, "v2")
	for _, r := range w.Requests(t, mark, func(r cluster.Request) bool {
		return r.User == "system:serviceaccount:"+system+":haldane" && r.Code == http.StatusForbidden
	}) {
		t.Errorf("the chart's account may not %v", r)
	}
	if err := w.Dynamic.Resource(releases).Namespace(w.ns).Delete(context.Background(), "hello", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	w.gone(releases, "hello") // its finalizer needs the controller
}

// gone waits until an object is no more.
func (w *world) gone(gvr schema.GroupVersionResource, name string) {
	w.Helper()
	w.until(name+" is gone", func() error {
		list, err := w.Dynamic.Resource(gvr).Namespace(w.ns).List(context.Background(), metav1.ListOptions{FieldSelector: "metadata.name=" + name})
		if err == nil && len(list.Items) > 0 {
			err = fmt.Errorf("it is there: %v", list.Items[0].Object["status"])
		}
		return err
	})
}

// makeImage makes the image twice and returns its archive for this machine.
func makeImage(t *testing.T) string {
	t.Helper()
	var digests [2]string
	for i := range digests {
		cmd := exec.Command("make", "--no-print-directory", "--silent", "-C", "../..", "image", "VERSION="+installed)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("make image: %v: %s", err, stderr.Bytes())
		}
		digests[i] = strings.TrimSpace(string(out))
	}
	if digests[0] != digests[1] || !strings.HasPrefix(digests[0], "sha256:") {
		t.Errorf("two builds have the digests %q", digests)
	}
	t.Logf("the image is %s", digests[0])
	return "../../dist/haldane-amd64.tar"
}

// helm runs it on the cluster.
func (w *world) helm(args ...string) {
	w.Helper()
	bin, err := cluster.Build("helm")
	if err != nil {
		w.Fatal(err)
	}
	home := filepath.Join(os.TempDir(), "haldane-e2e-helm")
	cmd := exec.Command(bin[0], args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+w.Kubeconfig, "HOME="+home, "XDG_CACHE_HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_DATA_HOME="+home)
	if out, err := cmd.CombinedOutput(); err != nil {
		w.Errorf("helm %s: %v: %s", strings.Join(args, " "), err, out)
	}
}
