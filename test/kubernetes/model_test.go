package kubernetes

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/haldane-project/haldane/internal/load"
	"github.com/haldane-project/haldane/test/cluster"
)

const modelExample = "../../examples/llm/kubernetes/"

// TestProxyBeforeModelsExample: examples/llm/kubernetes as its README has it, with
// a volume of this node. The new model is promoted under streams that nobody loses.
func TestProxyBeforeModelsExample(t *testing.T) {
	onlyLong(t)
	w := &world{T: t, Cluster: cluster.Full(t)}
	w.ns = w.Namespace(t)
	w.LoadGo(t, "ghcr.io/haldane-project/haldane:v0.1.0", "./cmd/haldane")
	w.volume("haldane")
	tokens, secret := w.token()
	w.Apply(t, w.ns, fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: haldane}\nstringData: {tokens: %q}\n", tokens))
	w.ApplyFiles(t, w.ns, modelExample+"proxy.yaml", modelExample+"models.yaml")
	w.kubectl("rollout", "status", "deployment/haldane", "--timeout=2m")
	w.kubectl("rollout", "status", "deployment/model-v1", "--timeout=2m")
	api := w.forward("service/haldane", "7070")
	w.released(api, secret, "release.yaml")

	llm, err := w.Client.CoreV1().Services(w.ns).Get(context.Background(), "llm", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	g, err := load.New(load.Options{URL: "http://" + llm.Spec.ClusterIP + "/v1/chat/completions", Method: "POST", Rate: 50,
		Header: header([]string{"Content-Type: application/json"}),
		Body:   []byte(`{"model": "ngram", "stream": true, "messages": [{"role": "user", "content": "What is firedamp?"}]}`)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	sent := make(chan load.Report, 1)
	go func() { sent <- g.Run(ctx) }()
	w.kubectl("rollout", "status", "deployment/model-v2", "--timeout=2m")
	w.released(api, secret, "v2.yaml")
	stop()
	report := <-sent
	t.Logf("%d streams, %d of them not whole", report.Requests, report.Failed)
	if report.Failed > 0 {
		t.Errorf("%d of %d streams were not whole: %v", report.Failed, report.Requests, report.ByCause)
	}
}

// volume is a volume of this node that the claim of a name may bind.
func (w *world) volume(claim string) {
	w.Helper()
	dir := w.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil { //nolint:gosec // a pod's user writes there
		w.Fatal(err)
	}
	v := w.Apply(w.T, "", fmt.Sprintf(`
apiVersion: v1
kind: PersistentVolume
metadata: {name: %[1]s-%[2]s}
spec:
  accessModes: [ReadWriteOncePod]
  capacity: {storage: 1Gi}
  claimRef: {name: %[2]s, namespace: %[1]s}
  persistentVolumeReclaimPolicy: Retain
  hostPath: {path: %[3]s}
`, w.ns, claim, dir))
	w.Cleanup(func() {
		_ = w.Client.CoreV1().PersistentVolumes().Delete(context.Background(), v[0].GetName(), metav1.DeleteOptions{}) // a cluster that is gone has none
	})
}

var secretOfToken = regexp.MustCompile(`hld_\S+`)

// token is a new author's line of the file of tokens, and its secret.
func (w *world) token() (line, secret string) {
	w.Helper()
	cmd := exec.Command(binary(w.T), "token", "ada", "author")
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		w.Fatalf("haldane token: %v: %s", err, said.String())
	}
	return string(out), secretOfToken.FindString(said.String())
}

// released applies a release of the example through the proxy's API and waits for
// its end, which is the promotion.
func (w *world) released(api, secret, file string) {
	w.Helper()
	cmd := exec.Command(binary(w.T), "apply", "-f", filepath.Join(modelExample, file), "--wait")
	cmd.Env = append(os.Environ(), "HALDANE_SERVER=http://"+api, "HALDANE_TOKEN="+secret)
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.Fatalf("haldane apply -f %s --wait: %v\n%s", file, err, out)
	}
	w.Logf("%s: %s", file, out)
}

// kubectl runs it in the world's namespace.
func (w *world) kubectl(args ...string) {
	w.Helper()
	bin, err := cluster.Build("kubectl")
	if err != nil {
		w.Fatal(err)
	}
	if out, err := exec.Command(bin[0], append([]string{"--kubeconfig", w.Kubeconfig, "-n", w.ns}, args...)...).CombinedOutput(); err != nil {
		w.Fatalf("kubectl %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// forward leads a local port to a Service until the test's end.
func (w *world) forward(to, port string) string {
	w.Helper()
	bin, err := cluster.Build("kubectl")
	if err != nil {
		w.Fatal(err)
	}
	cmd := exec.Command(bin[0], "--kubeconfig", w.Kubeconfig, "-n", w.ns, "port-forward", to, ":"+port)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err = errors.Join(err, cmd.Start()); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }) // it was killed
	line, err := bufio.NewReader(out).ReadString('\n')
	address, _, ok := strings.Cut(strings.TrimPrefix(line, "Forwarding from "), " ")
	if err != nil || !ok {
		w.Fatalf("kubectl port-forward said %q: %v", line, err)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }() // what it says of each connection
	return address
}
