package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/store/sqlite"
	"github.com/haldane-project/haldane/internal/web"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// says fails the test unless err says what is wanted.
func says(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("error %v, expected it to say %q", err, w)
		}
	}
}

func TestTokensAreRead(t *testing.T) {
	_, token, err := web.NewToken("ann", web.Operator)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	got, err := readTokens(write(t, filepath.Join(dir, "tokens"), "# who\n\n"+token.Line()+"\n"))
	if err != nil || len(got) != 1 || got[0] != token {
		t.Errorf("tokens %v, error %v", got, err)
	}
	if got, err := readTokens(""); got != nil || err != nil {
		t.Errorf("no file gives %v, %v", got, err)
	}
	_, err = readTokens(filepath.Join(dir, "absent"))
	says(t, err, "read the token file", "absent")
	_, err = readTokens(write(t, filepath.Join(dir, "bad"), "ann king\n"))
	says(t, err, filepath.Join(dir, "bad"), "line 1", "expected NAME ROLE SHA256")
}

const endpointsYAML = `apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: {name: hello}
spec:
  workload:
    endpoints: {addresses: [127.0.0.1:1]}
  traffic:
    embedded: {listen: 127.0.0.1:0}
`

const queryYAML = endpointsYAML + `  analysis:
    metrics:
    - {name: queue, kind: gauge, source: {prometheus: 'avg(queue{version="$version"})'}, limit: "< 50", onFail: watch}
`

func TestFilesAreAppliedAtTheStart(t *testing.T) {
	dir := t.TempDir()
	db, err := sqlite.Open(t.Context(), filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	yes := func(context.Context, release.Release) error { return nil }
	file := write(t, filepath.Join(dir, "hello.yaml"), strings.Replace(endpointsYAML, "endpoints: {addresses: [127.0.0.1:1]}", "process: {command: [./app]}", 1))
	for range 2 {
		if err := applyFiles(t.Context(), db, []string{file}, yes); err != nil {
			t.Fatal(err)
		}
		rec, err := db.Get(t.Context(), "hello")
		if err != nil || rec.Generation != 1 {
			t.Errorf("generation %d, error %v, expected 1: the same file twice changes nothing", rec.Generation, err)
		}
		rel, err := parse(rec)
		if err != nil || rel.Version.Workload.Process.Dir != dir {
			t.Errorf("the process runs in %+v (%v), expected the file's directory", rel.Version.Workload.Process, err)
		}
	}
	says(t, applyFiles(t.Context(), db, []string{filepath.Join(dir, "absent.yaml")}, yes), "read the manifest", "absent.yaml")
	says(t, applyFiles(t.Context(), db, []string{write(t, filepath.Join(dir, "bad.yaml"), "kind: Release\nspce: {}\n")}, yes), "bad.yaml", "apiVersion")
	no := func(context.Context, release.Release) error { return errors.New("not here") }
	says(t, applyFiles(t.Context(), db, []string{file}, no), "hello.yaml", "not here")
}

// anything is a provider that can serve every metric.
type anything struct{ metric.Provider }

func (anything) Check(context.Context, release.Release, []release.Metric) error { return nil }

func TestCheckSaysWhatThisDaemonCanNot(t *testing.T) {
	none := &metrics{querier: noHistory{errors.New("no space left")}}
	embedded := release.Traffic{Embedded: &release.Embedded{}}
	query := release.Analysis{Metrics: []release.Metric{{Name: "errors"}, {Name: "queue", Source: release.Source{Prometheus: "x"}}}}
	for _, c := range []struct {
		rel    release.Release
		refuse func([]release.Metric) error
		want   string
	}{
		{release.Release{Traffic: embedded, Analysis: query}, (&metrics{}).refuse, ""},
		{release.Release{Traffic: embedded, Analysis: query}, noRefusal, ""},
		{release.Release{Traffic: embedded, Analysis: query}, none.refuse, "metric queue needs the metrics history, which could not be opened: no space left"},
		{release.Release{Traffic: embedded}, none.refuse, ""},
		{release.Release{}, noRefusal, "this daemon splits traffic with embedded only"},
		{release.Release{Traffic: embedded, Version: release.Version{Workload: release.Workload{Deployment: &release.Deployment{}}}}, noRefusal, "needs the Kubernetes controller"},
	} {
		err := check(anything{}, c.refuse)(t.Context(), c.rel)
		if c.want == "" && err != nil {
			t.Errorf("refused: %v", err)
		}
		if c.want != "" {
			says(t, err, c.want)
		}
	}
}

// TestDaemonWithoutHistory: a history that can not be opened keeps nobody from
// being served.
func TestDaemonWithoutHistory(t *testing.T) {
	data := t.TempDir()
	write(t, filepath.Join(data, "metrics"), "where a directory is expected")
	file := write(t, filepath.Join(t.TempDir(), "hello.yaml"), queryYAML)
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan string, 1), make(chan error, 1)
	var log bytes.Buffer // read after the end
	go func() {
		ended <- Serve(ctx, Options{Listen: "127.0.0.1:0", Data: data, Files: []string{file},
			Log: slog.New(slog.NewTextHandler(&log, nil)), Ready: func(a string) { ready <- a }})
	}()
	var address string
	select {
	case address = <-ready:
	case err := <-ended:
		t.Fatalf("the daemon ended: %v", err)
	}
	for path, want := range map[string]int{"/metrics": http.StatusOK, "/prometheus/api/v1/query?query=up": http.StatusServiceUnavailable} {
		resp, err := http.Get("http://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s answers %s: %.200s", path, resp.Status, body)
		}
	}
	c, err := client.New(address, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Apply(t.Context(), "other", fmt.Appendf(nil, "%s", strings.Replace(queryYAML, "name: hello", "name: other", 1)), client.ApplyOptions{})
	says(t, err, "metric queue needs the metrics history", "not a directory")
	if _, err := c.Apply(t.Context(), "plain", fmt.Appendf(nil, "%s", strings.Replace(endpointsYAML, "name: hello", "name: plain", 1)), client.ApplyOptions{DryRun: true}); err != nil {
		t.Errorf("a release without a query is refused: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the daemon did not stop cleanly: %v", err)
	}
	if !strings.Contains(log.String(), "there is no metrics history") {
		t.Errorf("nothing was said: %s", log.String())
	}
}

func TestDaemonThatCanNotStartSaysWhy(t *testing.T) {
	dir := t.TempDir()
	start := func(o Options) error { return Serve(t.Context(), o) }
	says(t, start(Options{Listen: "0.0.0.0:0", Data: filepath.Join(dir, "a")}), "without authentication")
	says(t, start(Options{Listen: "127.0.0.1:0", Data: write(t, filepath.Join(dir, "file"), "")}), "data directory")
	says(t, start(Options{Listen: "256.0.0.1:0", Data: filepath.Join(dir, "b")}), "listen for the API on 256.0.0.1:0", "--listen")
	says(t, start(Options{Listen: "127.0.0.1:0", Data: filepath.Join(dir, "c"), TokensFile: filepath.Join(dir, "absent")}), "token file")
	says(t, start(Options{Listen: "127.0.0.1:0", Data: filepath.Join(dir, "d"), Files: []string{filepath.Join(dir, "absent")}}), "read the manifest")
}
