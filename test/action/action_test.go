package action

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/haldane-project/haldane/test/cluster"
)

func TestMain(m *testing.M) { cluster.Main(m) }

// app is a Deployment whose versions are released by readiness alone: there are no requests here.
const app = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: hello}
spec:
  replicas: 2
  selector: {matchLabels: {app: hello}}
  template:
    metadata: {labels: {app: hello}}
    spec: {containers: [{name: hello, image: "registry.example/%s"}]}
---
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: {name: hello}
spec:
  workload: {deployment: {name: hello}}
  traffic: {replicas: {}}
  strategy:
    canary: {steps: [{weight: 50, require: none, minRequests: 0}]}
    bake: 0s
`

// job is a step of a workflow.
type job struct {
	*testing.T
	c   *cluster.Cluster
	dir string
	ns  string
	env []string
}

// newJob starts a cluster with the controller and the application. v2, and what has
// an environment, can not start, for good: no deadline is waited for.
func newJob(t *testing.T, image string) *job {
	t.Helper()
	c := cluster.ControlPlane(t)
	c.ApplyFiles(t, "", "../../deploy/crds")
	ns, dir := c.Namespace(t), t.TempDir()
	c.FakeKubelet(t, ns, func(p *corev1.Pod) cluster.PodState {
		if app := p.Spec.Containers[0]; strings.HasSuffix(app.Image, ":v2") || len(app.Env) > 0 {
			return cluster.PodState{Waiting: "CreateContainerConfigError"}
		}
		return cluster.PodState{Ready: true}
	})
	bin, err := cluster.Build("kubectl")
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{bin[0]: "kubectl", haldane(t, dir): "haldane"} {
		if to := filepath.Join(dir, to); from != to {
			if err := os.Symlink(from, to); err != nil {
				t.Fatal(err)
			}
		}
	}
	j := &job{T: t, c: c, dir: dir, ns: ns, env: append(os.Environ(), "PATH="+dir+":/usr/bin:/bin", "KUBECONFIG="+c.Kubeconfig,
		"RELEASE=hello", "NAMESPACE="+ns, "RUNNER_TEMP="+dir, "GITHUB_PATH="+filepath.Join(dir, "path"))}
	c.Apply(t, ns, fmt.Sprintf(app, image))
	j.controller(ns)
	return j
}

func haldane(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "haldane")
	cmd := exec.Command("go", "build", "-o", path, "./cmd/haldane")
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// haldane runs a command as a person would.
func (j *job) haldane(args ...string) {
	j.Helper()
	if out, err := j.command("haldane", append(args, "--kube", "-n", j.ns)...).CombinedOutput(); err != nil {
		j.Fatalf("haldane %v: %v\n%s", args, err, out)
	}
}

// controller runs until the test ends.
func (j *job) controller(ns string) {
	j.Helper()
	var log bytes.Buffer
	cmd := j.command("haldane", "controller", "-n", ns, "--pause-at-rest")
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		j.Fatal(err)
	}
	j.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if j.Failed() {
			j.Logf("the controller says\n%s", log.String())
		}
	})
}

func (j *job) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(j.dir, name), args...)
	cmd.Env = j.env
	return cmd
}

// step runs a script of the action; it returns what it printed, its exit code,
// and what it wrote for the job.
func (j *job) step(script string, env ...string) (log string, code int, outputs map[string]string, summary string) {
	j.Helper()
	out, sum := filepath.Join(j.T.TempDir(), "out"), filepath.Join(j.T.TempDir(), "summary")
	cmd := exec.Command("../../deploy/action/" + script)
	cmd.Env = append(append(j.env, "GITHUB_OUTPUT="+out, "GITHUB_STEP_SUMMARY="+sum), env...)
	b, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		j.Fatalf("%s: %v", script, err)
	}
	outputs = map[string]string{}
	written, _ := os.ReadFile(out) // a step may write nothing
	for _, line := range strings.Split(strings.TrimSpace(string(written)), "\n") {
		key, value, _ := strings.Cut(line, "=")
		outputs[key] = value
	}
	text, _ := os.ReadFile(sum)
	return string(b), cmd.ProcessState.ExitCode(), outputs, string(text)
}

func (j *job) deploy(image string) {
	j.Helper()
	if log, code, _, _ := j.step("deploy.sh", "IMAGE="+image); code != 0 {
		j.Fatalf("deploy: exit code %d\n%s", code, log)
	}
}

// TestJob: what became of a version is told by exit code, outputs, annotation and
// summary.
func TestJob(t *testing.T) {
	j := newJob(t, "hello:v1")
	j.haldane("wait", "hello", "--timeout", "5m")

	j.deploy("registry.example/hello:v2") // can not start
	log, code, out, summary := j.step("wait.sh", "TIMEOUT=5m")
	if code != 2 || out["phase"] != "RolledBack" || out["reason"] == "" || !strings.Contains(log, "::error title=hello not released::") {
		t.Errorf("v2: exit code %d, outputs %v\n%s", code, out, log)
	}
	if !strings.Contains(summary, "### hello: RolledBack") || !strings.Contains(summary, "from v1 to v2") {
		t.Errorf("v2: the summary is\n%s", summary)
	}

	// A good one; nobody sends requests here, so that a person says it.
	j.deploy("registry.example/hello:v3")
	j.haldane("wait", "hello", "--for", "step=1", "--timeout", "5m")
	j.haldane("promote", "hello", "--full", "--reason", "no traffic")
	log, code, out, summary = j.step("wait.sh", "TIMEOUT=5m")
	if code != 0 || out["phase"] != "Promoted" || out["run"] == "" || !strings.Contains(log, "::notice title=hello promoted::") {
		t.Errorf("v3: exit code %d, outputs %v\n%s", code, out, log)
	}
	if !strings.Contains(summary, "### hello: Promoted") {
		t.Errorf("v3: the summary is\n%s", summary)
	}

	// A bad one again, whose image keeps its tag: the run before is not its run.
	if out, err := j.command("kubectl", "-n", j.ns, "set", "env", "deployment/hello", "BAD=yes").CombinedOutput(); err != nil {
		t.Fatalf("set env: %v: %s", err, out)
	}
	if log, code, out, _ = j.step("wait.sh", "TIMEOUT=5m"); code != 2 || out["phase"] != "RolledBack" {
		t.Errorf("v3 that can not start: exit code %d, outputs %v\n%s", code, out, log)
	}

	log, code, _, _ = j.step("wait.sh", "TIMEOUT=5m", "RELEASE=nobody")
	if code != 1 || !strings.Contains(log, "::error title=nobody not released::") {
		t.Errorf("an unknown release: exit code %d\n%s", code, log)
	}
}

// TestNothingIsRun: what inputs hold is text.
func TestNothingIsRun(t *testing.T) {
	j := newJob(t, "hello:v1")
	trap := filepath.Join(j.dir, "trap")
	evil := fmt.Sprintf("hello; touch %[1]s $(touch %[1]s) `touch %[1]s`\n::set-output name=phase::Promoted\nphase=Promoted", trap)
	for _, script := range []string{"deploy.sh", "wait.sh", "install.sh"} {
		log, code, out, _ := j.step(script, "RELEASE="+evil, "IMAGE="+evil, "CONTAINER="+evil, "MANIFESTS="+evil, "TIMEOUT=1s", "VERSION="+evil,
			"SHA256="+evil, "HALDANE_DOWNLOADS=file:///nowhere")
		if code == 0 || out["phase"] == "Promoted" {
			t.Errorf("%s took it: exit code %d, outputs %v\n%s", script, code, out, log)
		}
		for _, line := range strings.Split(log, "\n") {
			if strings.HasPrefix(line, "::set-output") {
				t.Errorf("%s lets an input speak to the runner:\n%s", script, log)
			}
		}
	}
	if _, err := os.Stat(trap); err == nil {
		t.Error("an input was run")
	}
}

// TestInstall: what is downloaded is checked before it is unpacked.
func TestInstall(t *testing.T) {
	dir := t.TempDir()
	at := filepath.Join(dir, "from", "v9")
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "haldane"), []byte("#!/bin/sh\necho installed\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		if out, err := exec.Command("tar", "-C", dir, "-czf", filepath.Join(at, "haldane-linux-"+arch+".tar.gz"), "haldane").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	sums, err := exec.Command("sh", "-c", "sha256sum "+at+"/haldane-linux-$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/').tar.gz").Output()
	if err != nil {
		t.Fatal(err)
	}
	good, _, _ := strings.Cut(string(sums), " ")
	j := &job{T: t, env: append(os.Environ(), "RUNNER_TEMP="+dir+"/tmp", "GITHUB_PATH="+dir+"/path", "VERSION=v9", "HALDANE_DOWNLOADS=file://"+dir+"/from")}
	for sum, want := range map[string]int{good: 0, strings.Repeat("0", 64): 1, "": 1} {
		if log, code, _, _ := j.step("install.sh", "SHA256="+sum); code != want {
			t.Errorf("checksum %q: exit code %d, expected %d\n%s", sum, code, want, log)
		}
	}
	if out, err := exec.Command(dir + "/tmp/haldane/haldane").Output(); err != nil || string(out) != "installed\n" {
		t.Errorf("the installed program: %v %s", err, out)
	}
}

// TestFirstVersionMended: nothing serves yet, so the version that comes after one
// that can not start is released in its place at once.
func TestFirstVersionMended(t *testing.T) {
	j := newJob(t, "hello:v2")
	if log, code, out, _ := j.step("wait.sh", "TIMEOUT=5m"); code != 2 || out["phase"] != "RolledBack" || !strings.Contains(log, "CreateContainerConfigError") {
		t.Errorf("v2: exit code %d, outputs %v\n%s", code, out, log)
	}
	j.deploy("registry.example/hello:v3")
	if log, code, out, _ := j.step("wait.sh", "TIMEOUT=5m"); code != 0 || out["phase"] != "Promoted" {
		t.Errorf("v3: exit code %d, outputs %v\n%s", code, out, log)
	}
}
