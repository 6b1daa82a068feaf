package model

import (
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/app"
	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/demo/modelserver"
	"github.com/haldane-project/haldane/test/loopback"
)

// patience is how long a test waits for something that must happen, or for a run
// that takes in no evidence; it is no figure.
const patience = 3 * time.Minute

// daemon is a running daemon in this process.
type daemon struct {
	*testing.T
	api   *client.Client
	front string // host:port that users connect to
	// address of the API and of /metrics, host:port
	address string
	leave   time.Duration // how long users wait for an answer; 0: longer than any takes
	least   int           // answers of the new version before it goes on; 0: 50
}

func start(t *testing.T) *daemon { return startWith(t, app.Options{}) }

func startWith(t *testing.T, o app.Options) *daemon {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan string, 1), make(chan error, 1)
	o.Listen, o.Data, o.Grace, o.Ready = "127.0.0.1:0", t.TempDir(), 10*time.Second, func(a string) { ready <- a }
	go func() { ended <- app.Serve(ctx, o) }()
	select {
	case address := <-ready:
		t.Cleanup(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("the daemon did not stop cleanly: %v", err)
			}
		})
		c, err := client.New(address, client.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return &daemon{T: t, api: c, front: freeAddress(t), address: address}
	case err := <-ended:
		cancel()
		t.Fatalf("the daemon ended: %v", err)
		return nil
	}
}

// freeAddress is a loopback address that was free a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := loopback.Free()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// release applies a manifest, as the file that it came from, and waits until its
// version serves alone, or its run has ended or paused: for as long as the run
// takes in more evidence, however slow the machine is.
func (d *daemon) release(file, manifest string) v1alpha1.Release {
	d.Helper()
	ctx, cancel := d.beforeTheEnd()
	defer cancel()
	stuck := time.AfterFunc(patience, cancel)
	defer stuck.Stop()
	name := field(manifest, "  name: ")
	applied, err := d.api.Apply(ctx, name, []byte(manifest), client.ApplyOptions{File: file})
	if err != nil {
		d.Fatalf("apply %s: %v", file, err)
	}
	var last v1alpha1.Release
	seen := int64(0) // requests that the run was judged by
	done := errors.New("done")
	err = d.api.Watch(ctx, name, func(c client.Change) error {
		if c.Release == nil {
			return nil
		}
		last = *c.Release
		if r := last.Status.Run; r != nil && r.CanaryRequests+r.StableRequests != seen {
			seen = r.CanaryRequests + r.StableRequests
			stuck.Reset(patience)
		}
		if st := last.Status; st.ObservedGeneration >= applied.Release.Generation && (st.Phase == "Idle" || st.Phase == "RolledBack" || st.Phase == "Paused") {
			return done
		}
		return nil
	})
	if !errors.Is(err, done) {
		d.Fatalf("%s: %v; last: %s: %s", file, err, last.Status.Phase, last.Status.Message)
	}
	return last
}

// beforeTheEnd is the test's context, which ends in time to say what was waited for.
func (d *daemon) beforeTheEnd() (context.Context, context.CancelFunc) {
	if end, ok := d.Deadline(); ok {
		return context.WithDeadline(d.Context(), end.Add(-30*time.Second))
	}
	return context.WithCancel(d.Context())
}

// field is the rest of the first line that begins so.
func field(text, begin string) string {
	_, rest, _ := strings.Cut(text, "\n"+begin)
	value, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(value)
}

var probe = regexp.MustCompile(`ready: \{http: [^,}]+`)

// example reads an example's manifest with this test's addresses in it, and with
// time for the instances of a busy machine to say that they are ready.
func example(t *testing.T, file string, replace ...string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := probe.ReplaceAllString(string(b), "$0, timeout: 30s")
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(text, replace[i]) {
			t.Fatalf("%s does not contain %q", file, replace[i])
		}
		text = strings.ReplaceAll(text, replace[i], replace[i+1])
	}
	return text
}

// server is a sample model server at a fixed hour.
func server(t *testing.T, env map[string]string) *httptest.Server {
	t.Helper()
	set, err := modelserver.SettingsFrom(func(k string) string { return env[k] })
	if err != nil {
		t.Fatal(err)
	}
	set.Now = func() time.Time { return time.Unix(1_700_000_000, 0) }
	s, err := modelserver.New(set)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return srv
}

// behind releases a server that runs already; model says how its traffic is read.
func (d *daemon) behind(s *httptest.Server, model string) {
	d.Helper()
	d.release("endpoints.yaml", `apiVersion: haldane.dev/v1alpha1
kind: Release
metadata:
  name: model
spec:
  version: v1
  workload: {endpoints: {addresses: [`+s.Listener.Addr().String()+`], ready: {http: /health, timeout: 30s}}}
  traffic: {embedded: {listen: `+d.front+`, model: `+model+`}}
`)
}

func needsE2E(t *testing.T) {
	t.Helper()
	if os.Getenv("HALDANE_E2E") == "" {
		t.Skip("HALDANE_E2E is not set")
	}
}

// run runs a command in a directory and returns what it wrote.
func run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(name), err, out)
	}
	return string(out)
}
