package model

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
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
	s := server(t, map[string]string{"FIRST_TOKEN": "5ms", "PER_TOKEN": "1ms"})
	for _, model := range counted {
		t.Run(model, func(t *testing.T) {
			d := start(t)
			d.behind(s, model)
			out := run(t, dir, nil, "node", "client.mjs", s.URL, "http://"+d.front)
			t.Log(out)
			if !strings.Contains(out, "\n16 cases\n") {
				t.Errorf("not every case was run:\n%s", out)
			}
		})
	}
}

// users send one request again and again until the test ends. They leave only where
// the test says so: it would be the machine that they leave for.
func users(d *daemon, path, body string, rate float64) {
	g, err := load.New(load.Options{
		URL: "http://" + d.front + path, Method: http.MethodPost, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(body), Rate: rate,
		Timeout: cmp.Or(d.leave, patience),
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

// wants releases a file of an example and checks how its run ended. Good versions
// are judged with a smaller chance of a false rollback: at the usual one of them
// all some would be rolled back now and then.
func (d *daemon) wants(file, manifest, phase, why string) {
	d.Helper()
	if phase == "Promoted" {
		if !strings.Contains(manifest, "falseRollback: 1%") {
			d.Fatalf("%s has no falseRollback: 1%%", file)
		}
		manifest = strings.Replace(manifest, "falseRollback: 1%", "falseRollback: 0.01%", 1)
	}
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
	t.Parallel()
	dir := t.TempDir()
	run(t, "../../examples/llm", nil, "go", "build", "-o", filepath.Join(dir, "llm"), ".")
	d := start(t)
	read := func(name string) (file, manifest string) {
		return filepath.Join(dir, name), example(t, filepath.Join("../../examples/llm", name), "127.0.0.1:8080", d.front)
	}
	d.release(read("release.yaml"))
	users(d, "/v1/chat/completions", `{"model":"ngram","stream":true,"messages":[{"role":"user","content":"What is firedamp?"}]}`, 50)
	file, manifest := read("v2.yaml")
	d.wants(file, manifest, "RolledBack", "a good version shows so much") // to its first token, or by its errors: whichever is found first
	file, manifest = read("v3.yaml")
	d.wants(file, manifest, "Promoted", "")
}

// One server, one model: what is released is the prompt.
func TestThePromptExample(t *testing.T) {
	needsE2E(t)
	t.Parallel()
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
	file, manifest = read("prompt-v3.yaml")
	d.wants(file, manifest, "Promoted", "")
	if got := raw(t, d.front, "POST", "/v1/responses", `{"model":"ngram","input":"What is coal?","seed":1}`); !strings.Contains(got.body, `"instructions":"Answer in two sentences. Never talk about divers."`) {
		t.Errorf("the new prompt did not reach the server: %s", got.body)
	}
}

// One server, several models: a dearer one is taken back or paused, as its manifest
// says, by what its answers' tokens cost. Clients see no usage that they did not
// ask for.
func TestThePriceExample(t *testing.T) {
	needsE2E(t)
	t.Parallel()
	s, d := server(t, nil), start(t)
	read := func(name string, others ...string) (file, manifest string) {
		return name, example(t, filepath.Join("../../examples/llm", name), append(others, "127.0.0.1:8082", d.front, "127.0.0.1:8000", s.Listener.Addr().String())...)
	}
	d.release(read("price.yaml"))
	const fixed = `{"model":"ngram-2","stream":%t,"seed":1,"max_tokens":10,"messages":[{"role":"user","content":"What is firedamp?"}]}`
	if got := raw(t, d.front, "POST", chat, fmt.Sprintf(fixed, true)); strings.Contains(got.body, "completion_tokens") {
		t.Errorf("a client got a usage that it did not ask for: %s", got.body)
	}
	var said struct {
		Usage struct {
			In  float64 `json:"prompt_tokens"`
			Out float64 `json:"completion_tokens"`
		}
	}
	if err := json.Unmarshal([]byte(raw(t, s.Listener.Addr().String(), "POST", chat, fmt.Sprintf(fixed, false)).body), &said); err != nil || said.Usage.Out == 0 {
		t.Fatalf("the server's own usage: %+v, %v", said, err)
	}
	users(d, chat, fmt.Sprintf(fixed, true), 50)
	file, manifest := read("price-v2.yaml")
	d.wants(file, manifest, "RolledBack", "USD against")
	file, manifest = read("price-v2.yaml", "version: large", "version: large-again", "{llm: cost}, ", "{llm: cost}, onFail: pause, ")
	if r := d.release(file, manifest); r.Status.Phase != "Paused" || !strings.Contains(r.Status.Message, "cost") {
		t.Errorf("%s: %s; expected a pause for cost", r.Status.Phase, r.Status.Message)
	}
	file, manifest = read("price-v3.yaml")
	d.wants(file, manifest, "Promoted", "")
	r, err := d.api.Get(t.Context(), "price")
	if err != nil {
		t.Fatal(err)
	}
	want := (said.Usage.In*0.15 + said.Usage.Out*0.60) / 1e6
	for _, m := range d.deciding(r.Status.Run.Name).Metrics {
		// Values are kept in classes of 5 %.
		if m.Name == "cost" && (m.Stable.Value == nil || math.Abs(*m.Stable.Value/want-1) > 0.05) {
			t.Errorf("an answer costs %v, expected %g: %+v", m.Stable.Value, want, m)
		}
	}
}
