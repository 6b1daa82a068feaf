package evaluator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/cli"
	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/test/loopback"
)

// patience is how long a test waits for something that must happen; it is no figure.
const patience = 10 * time.Minute

func TestMain(m *testing.M) {
	if os.Getenv("HALDANE_TEST_ROLE") == "haldane" {
		os.Exit(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// daemon is a `haldane serve` process.
type daemon struct {
	*testing.T
	api      *client.Client
	front    string
	answered atomic.Int64 // users' requests
	log      safeBuffer
}

// safeBuffer is the log of a daemon, a line a write; serving gets the address of
// its API.
type safeBuffer struct {
	serving chan string

	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, page, found := strings.Cut(string(p), "msg=serving page=http://"); found {
		address, _, _ := strings.Cut(page, " ")
		s.serving <- address
	}
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func start(t *testing.T) *daemon {
	t.Helper()
	d := &daemon{T: t, front: freeAddress(t), log: safeBuffer{serving: make(chan string, 1)}}
	cmd := exec.Command(os.Args[0], "serve", "--listen", "127.0.0.1:0", "--data", t.TempDir())
	cmd.Env = append(os.Environ(), "HALDANE_TEST_ROLE=haldane", "JUDGE_KEY=sesame")
	cmd.Stderr = &d.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := <-ended; err != nil {
			t.Errorf("the daemon did not stop cleanly: %v", err)
		}
		if strings.Contains(d.log.String(), "sesame") {
			t.Error("the evaluator's key stands in the log")
		}
	})
	select {
	case address := <-d.log.serving:
		var err error
		if d.api, err = client.New(address, client.Options{}); err != nil {
			t.Fatal(err)
		}
	case err := <-ended:
		ended <- err
		t.Fatalf("the daemon ended: %v\n%s", err, d.log.String())
	case <-time.After(patience):
		t.Fatalf("the daemon does not serve:\n%s", d.log.String())
	}
	return d
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

// model is a chat server; say gives its n-th answer.
func model(t *testing.T, say func(n int64) string) string {
	t.Helper()
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(completion(say(n.Add(1))))
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// always is a model that says one thing.
func always(text string) func(int64) string { return func(int64) string { return text } }

// completion is a chat completion that says this.
func completion(text string) map[string]any {
	return map[string]any{"object": "chat.completion", "id": "c", "model": "m", "choices": []any{map[string]any{
		"index": 0, "finish_reason": "stop", "message": map[string]any{"role": "assistant", "content": text}}},
		"usage": map[string]int{"prompt_tokens": 100, "completion_tokens": 10}}
}

// manifest releases a version whose answers one metric is about.
func (d *daemon) manifest(version, back, metric, more string) string {
	if more == "" {
		more = "canary: {steps: [{weight: 50}]}, bake: 1s, stepDeadline: 10m, onInconclusive: rollback"
	}
	return fmt.Sprintf(`apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: {name: chat}
spec:
  version: %s
  workload: {endpoints: {addresses: [%q]}}
  traffic: {embedded: {listen: %q, model: {}, mirror: {methods: [GET, POST], noise: 0}}}
  strategy: {%s}
  analysis:
    minRequests: 300
    metrics:
    - {name: errors, kind: errors, margin: "50%% or +5%%"}
    - %s
`, version, back, d.front, more, metric)
}

const question = `{"model":"m","messages":[{"role":"user","content":"How are you?"}]}`

// release applies a manifest and lets users ask until the release is as wanted.
func (d *daemon) release(manifest string, want func(v1alpha1.ReleaseStatus) bool) v1alpha1.ReleaseStatus {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), patience)
	defer cancel()
	applied, err := d.api.Apply(ctx, "chat", []byte(manifest), client.ApplyOptions{File: "release.yaml"})
	if err != nil {
		d.Fatal(err)
	}
	asking, stop := context.WithCancel(ctx)
	var users sync.WaitGroup
	for range 2 {
		users.Go(func() {
			for asking.Err() == nil {
				d.ask(asking)
			}
		})
	}
	defer func() { stop(); users.Wait() }()
	var last v1alpha1.ReleaseStatus
	done := errors.New("done")
	err = d.api.Watch(ctx, "chat", func(c client.Change) error {
		if c.Release == nil {
			return nil
		}
		last = c.Release.Status
		if last.ObservedGeneration >= applied.Release.Generation && want(last) {
			return done
		}
		return nil
	})
	if !errors.Is(err, done) {
		d.Fatalf("%v; last: %s: %s\n%s", err, last.Phase, last.Message, d.log.String())
	}
	return last
}

func (d *daemon) ask(ctx context.Context) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+d.front+"/v1/chat/completions", strings.NewReader(question))
	if err != nil {
		d.Error(err)
		return
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return // the release does not listen yet, or the test has ended
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	if res.StatusCode == http.StatusOK {
		d.answered.Add(1)
	}
}

func ended(st v1alpha1.ReleaseStatus) bool {
	return st.Phase == "Idle" || st.Phase == "RolledBack" || st.Phase == "Paused"
}

// of is a metric of a run.
func of(st v1alpha1.ReleaseStatus, name string) v1alpha1.MetricStatus {
	if st.Run != nil {
		for _, m := range st.Run.Metrics {
			if m.Name == name {
				return m
			}
		}
	}
	return v1alpha1.MetricStatus{}
}
