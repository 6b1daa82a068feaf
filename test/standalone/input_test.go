package standalone

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/app"
	"github.com/haldane-project/haldane/internal/client"
)

// answers reports which version answers at the front.
func (d *daemon) answers() string {
	d.t.Helper()
	resp, err := http.Get("http://" + d.front + "/")
	if err != nil {
		d.t.Fatalf("nothing answers at %s: %v", d.front, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		d.t.Fatalf("the front answers %s", resp.Status)
	}
	return resp.Header.Get("X-Version")
}

func (d *daemon) mustServe(name string) {
	d.t.Helper()
	if got := d.answers(); got != name {
		d.t.Errorf("%s answers, expected %s", got, name)
	}
}

func TestBadManifestChangesNothing(t *testing.T) {
	d := start(t)
	d.apply(version{name: "v1"}, quick)
	d.serves("v1")
	for _, c := range []struct{ from, to, want string }{
		{"minRequests: 20", "minRequest: 20", "minRequests"},
		{"weight: 50", "weight: 120", "weight"},
		{"listen:", "liste:", "listen"},
	} {
		bad := bytes.Replace(d.manifest(version{name: "v2"}, quick), []byte(c.from), []byte(c.to), 1)
		_, err := d.api.Apply(context.Background(), "hello", bad, client.ApplyOptions{File: "release.yaml"})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s -> %s: the error %v does not name %s", c.from, c.to, err, c.want)
		}
	}
	rel, err := d.api.Get(context.Background(), "hello")
	if err != nil || rel.Generation != 1 {
		t.Errorf("generation %d, expected that nothing was applied: %v", rel.Generation, err)
	}
	d.mustServe("v1")
}

func TestPortInUseIsSaidAndMended(t *testing.T) {
	d := start(t)
	l, err := net.Listen("tcp", d.front)
	if err != nil {
		t.Fatal(err)
	}
	d.apply(version{name: "v1"}, quick)
	rel := d.wait("the error", func(r v1alpha1.Release) bool { return strings.Contains(r.Status.Message, d.front) })
	if !strings.Contains(rel.Status.Message, "another program has this address") {
		t.Errorf("the message does not say what is wrong: %s", rel.Status.Message)
	}
	l.Close()
	d.serves("v1")
	d.mustServe("v1")
}

func TestVersionThatNeverGetsReady(t *testing.T) {
	d := start(t)
	d.apply(version{name: "v1"}, quick)
	d.serves("v1")
	d.apply(version{name: "v2", env: map[string]string{"NEVER_READY": "1"}}, quick+"    readyDeadline: 2s\n")
	rel := d.ends("v2", "RolledBack")
	if rel.Status.Run.Cause != "NotReady" || rel.Status.Run.CanaryRequests != 0 {
		t.Errorf("cause %s after %d requests: %s", rel.Status.Run.Cause, rel.Status.Run.CanaryRequests, rel.Status.Message)
	}
	d.mustServe("v1")
}

func TestProgramThatDoesNotExist(t *testing.T) {
	d := start(t)
	d.apply(version{name: "v1"}, quick)
	d.serves("v1")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Replace(d.manifest(version{name: "v2"}, quick), []byte(exe), []byte("/no/such/program"), 1)
	if _, err := d.api.Apply(context.Background(), "hello", bad, client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	rel := d.ends("v2", "RolledBack")
	if !strings.Contains(rel.Status.Message, "/no/such/program") {
		t.Errorf("the message does not name the program: %s", rel.Status.Message)
	}
	d.mustServe("v1")
}

// TestVersionThatDiesAtHalf: the canary's processes die under traffic at 50 %.
func TestVersionThatDiesAtHalf(t *testing.T) {
	d := start(t)
	d.apply(version{name: "v1"}, quick)
	d.serves("v1")
	users := d.load(200, nil)
	d.apply(version{name: "v2", env: map[string]string{"DIE_AFTER": "150"}}, `
  strategy:
    canary: {steps: [{weight: 50, minRequests: 100000}]}
`)
	rel := d.ends("v2", "RolledBack")
	rep := users.stop()
	if rep.Failed > 10 {
		t.Errorf("users saw %d errors of %d requests", rep.Failed, rep.Requests)
	}
	t.Logf("%s; users saw %d errors in %d requests", rel.Status.Message, rep.Failed, rep.Requests)
	d.mustServe("v1")
}

func TestCorruptDatabaseIsRefusedWithARemedy(t *testing.T) {
	data, front := t.TempDir(), freeAddress(t)
	d := startOn(t, data, front)
	d.apply(version{name: "v1"}, quick)
	d.serves("v1")
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(data, "*.db"))
	if err != nil || len(files) != 1 {
		t.Fatalf("found %v: %v", files, err)
	}
	content, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for i := 100; i < len(content); i++ {
		content[i] ^= 0x5a
	}
	if err := os.WriteFile(files[0], content, 0o600); err != nil {
		t.Fatal(err)
	}
	err = app.Serve(context.Background(), app.Options{Listen: "127.0.0.1:0", Data: data})
	if err == nil || !strings.Contains(err.Error(), files[0]) {
		t.Errorf("the error does not name the file: %v", err)
	}
}

// TestClientsThatSendGarbageOrNeverRead must not disturb the others.
func TestClientsThatSendGarbageOrNeverRead(t *testing.T) {
	d := start(t)
	d.apply(version{name: "v1"}, quick)
	d.serves("v1")
	// One of these never sends the body that it announced: v1 drains with it inside.
	for _, garbage := range []string{"\x00\x01\x02\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc",
		"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"} {
		c, err := net.Dial("tcp", d.front)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, garbage); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 { // ask and never read
		c, err := net.Dial("tcp", d.front)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	users := d.load(100, nil)
	d.apply(version{name: "v2"}, quick)
	rel := d.serves("v2")
	if rep := users.stop(); rep.Failed != 0 {
		t.Errorf("users saw %d errors of %d requests; %s", rep.Failed, rep.Requests, rel.Status.Message)
	}
}

// TestStopLosesNoAcceptedRequest: the daemon is told to stop while answers are under
// way, which come once it takes no more.
func TestStopLosesNoAcceptedRequest(t *testing.T) {
	d := start(t)
	end := filepath.Join(t.TempDir(), "end")
	d.apply(version{name: "v1", env: map[string]string{"UNTIL": end}}, quick)
	d.serves("v1")
	const clients = 20
	results := make(chan error, clients)
	for range clients {
		go func() {
			resp, err := http.Get("http://" + d.front + "/")
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			results <- err
		}()
	}
	d.inFlight(clients)
	stopped := make(chan error, 1)
	go func() { stopped <- d.stop() }()
	d.refuses()
	if err := os.WriteFile(end, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	for range clients {
		if err := <-results; err != nil {
			t.Errorf("an accepted request was lost: %v", err)
		}
	}
}

// refuses waits until nobody listens at the front any more.
func (d *daemon) refuses() {
	d.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", d.front)
		if err != nil {
			return
		}
		c.Close()
	}
	d.t.Fatalf("%s was always open", d.front)
}

// inFlight waits until so many requests are inside versions, as /metrics says.
func (d *daemon) inFlight(n int) {
	d.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		resp, err := http.Get("http://" + d.base + "/metrics")
		if err != nil {
			d.t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			d.t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "haldane_requests_in_flight{") && strings.HasSuffix(strings.TrimSpace(line), fmt.Sprint(" ", n)) {
				return
			}
		}
	}
	d.t.Fatalf("%d requests were never in flight at once", n)
}
