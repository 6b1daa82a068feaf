package model

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/haldane-project/haldane/internal/load"
)

// OpenAI's own client sees through the proxy what it sees without.
func TestTheOfficialClient(t *testing.T) {
	needsE2E(t)
	dir := t.TempDir()
	for _, file := range []string{"package.json", "package-lock.json", "client.mjs"} {
		b, err := os.ReadFile(filepath.Join("openai", file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, dir, nil, "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	s, d := server(t, map[string]string{"FIRST_TOKEN": "5ms", "PER_TOKEN": "1ms"}), start(t)
	d.behind(s)
	out := run(t, dir, nil, "node", "client.mjs", s.URL, "http://"+d.front)
	t.Log(out)
	if !strings.Contains(out, "\n16 cases\n") {
		t.Errorf("not every case was run:\n%s", out)
	}
}

// users send one request again and again until the test ends.
func users(d *daemon, path, body string, rate float64) {
	g, err := load.New(load.Options{
		URL: "http://" + d.front + path, Method: http.MethodPost, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(body), Rate: rate,
	})
	if err != nil {
		d.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan load.Report, 1)
	go func() { done <- g.Run(ctx) }()
	d.Cleanup(func() {
		cancel()
		rep := <-done
		d.Logf("users: %d requests, %d failed", rep.Requests, rep.Failed)
	})
}

// wants releases a file of an example and checks how its run ended.
func (d *daemon) wants(file, manifest, phase, why string) {
	d.Helper()
	r := d.release(file, manifest)
	st := r.Status.Run
	if st == nil || st.Phase != phase || !strings.Contains(st.Why, why) {
		d.Fatalf("%s: %s, %+v; expected %s for %q", file, r.Status.Message, st, phase, why)
	}
	d.Logf("%s: %s: %s", filepath.Base(file), st.Phase, st.Why)
}

// The example's README, step by step.
func TestTheLLMExample(t *testing.T) {
	needsE2E(t)
	dir := t.TempDir()
	run(t, "../../examples/llm", nil, "go", "build", "-o", filepath.Join(dir, "llm"), ".")
	d := start(t)
	read := func(name string) (file, manifest string) {
		return filepath.Join(dir, name), example(t, filepath.Join("../../examples/llm", name), "127.0.0.1:8080", d.front)
	}
	d.release(read("release.yaml"))
	users(d, "/v1/chat/completions", `{"model":"ngram","stream":true,"messages":[{"role":"user","content":"What is firedamp?"}]}`, 50)
	file, manifest := read("v2.yaml")
	d.wants(file, manifest, "RolledBack", "errors")
	file, manifest = read("v3.yaml")
	d.wants(file, manifest, "Promoted", "")
}

// One server, one model: what is released is the prompt.
func TestThePromptExample(t *testing.T) {
	needsE2E(t)
	s, d := server(t, nil), start(t)
	read := func(name string) (file, manifest string) {
		return name, example(t, filepath.Join("../../examples/llm", name), "127.0.0.1:8081", d.front, "127.0.0.1:8000", s.Listener.Addr().String())
	}
	d.release(read("prompt.yaml"))
	if got := raw(t, d.front, "POST", "/v1/responses", `{"model":"ngram","input":"What is coal?","seed":1}`); !strings.Contains(got.body, `"instructions":"Answer in two sentences."`) {
		t.Fatalf("the prompt did not reach the server: %s", got.body)
	}
	users(d, "/v1/chat/completions", `{"model":"ngram","messages":[{"role":"user","content":"What is firedamp?"}]}`, 50)
	file, manifest := read("prompt-v2.yaml")
	d.wants(file, manifest, "RolledBack", "output-tokens")
}

var right = regexp.MustCompile(`(?m)^(v\d): (\d+) answers, ([\d.]+) % right$`)

// Real digits through the proxy: each version is as right as its README says.
func TestTheDigitsExample(t *testing.T) {
	needsE2E(t)
	python := "/usr/bin/python3" // Debian's scikit-learn is Debian's python3's
	if err := exec.Command(python, "-c", "import sklearn").Run(); err != nil {
		t.Fatalf("scikit-learn is not installed (package python3-sklearn): %v", err)
	}
	dir, err := filepath.Abs("../../examples/digits")
	if err != nil {
		t.Fatal(err)
	}
	for version, share := range map[string]float64{"release": 90, "v2": 71, "v3": 99} {
		t.Run(version, func(t *testing.T) {
			d := start(t)
			file := filepath.Join(dir, version+".yaml")
			d.release(file, example(t, file, "127.0.0.1:8080", d.front, "[python3,", "["+python+",", "env: {", `env: {PYTHONDONTWRITEBYTECODE: "1", `))
			answered := func(body string, status int, says string) {
				t.Helper()
				if got := raw(t, d.front, "POST", "/v2/models/digits/infer", body); got.status != status || !strings.Contains(got.body, says) {
					t.Errorf("%.80s: %d %s, expected %d %s", body, got.status, got.body, status, says)
				}
			}
			answered(fmt.Sprintf(`{"id":"a","inputs":[{"name":"pixels","datatype":"FP32","shape":[2,64],"data":[%s0]}]}`, strings.Repeat("0,", 127)), 200, `"id": "a"`)
			answered(`{"inputs":[{"name":"pixels","datatype":"FP32","shape":[1,64],"data":[NaN]}]}`, 400, "expected 64 numbers")
			answered(`{`, 400, "no JSON")
			answered(`{"inputs":[]}`, 400, "one tensor")
			out := run(t, dir, []string{"PYTHONDONTWRITEBYTECODE=1"}, python, "client.py", "http://"+d.front, "--rate", "200", "--seconds", "4", "--label-after", "0.2")
			t.Log(out)
			m := right.FindStringSubmatch(out)
			if m == nil || !strings.Contains(out, "\n0 requests failed") {
				t.Fatalf("the client said %s", out)
			}
			// 800 or so different digits of 899: within three points of the whole half.
			if got, _ := strconv.ParseFloat(m[3], 64); got < share-3 || got > share+3 {
				t.Errorf("%s is right in %g %% of the answers, expected about %g", m[1], got, share)
			}
		})
	}
}

// A classifier that answers as fast and as often as its predecessor, and wrongly:
// a person is asked, since the classes change; with labels, which come later, it
// is taken off. The better one is promoted.
func TestDigitsAreJudgedByWhatTheySay(t *testing.T) {
	needsE2E(t)
	dir, err := filepath.Abs("../../examples/digits")
	if err != nil {
		t.Fatal(err)
	}
	d := start(t)
	read := func(version string) (file, manifest string) {
		file = filepath.Join(dir, version+".yaml")
		return file, example(t, file, "127.0.0.1:8080", d.front, "[python3,", "[/usr/bin/python3,", "env: {", `env: {PYTHONDONTWRITEBYTECODE: "1", `)
	}
	d.release(read("release"))
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, "/usr/bin/python3", "client.py", "http://"+d.front, "--rate", "100", "--label-after", "0.5")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); _ = cmd.Wait() }()
	file, manifest := read("v2")
	d.wants(file, manifest, "RolledBack", "wrong")
	file, manifest = read("v3")
	d.wants(file, manifest, "Promoted", "")
}
