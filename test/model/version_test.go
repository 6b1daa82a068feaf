package model

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/rollout"
)

const saidByAll = `{"model":"base","temperature":1,"messages":[{"role":"user","content":"Hi"}],"lora":"none","retrieval":{"index":"none","k":3}}`

// What of a request a version can be, and what its server gets: one part, or all
// of them together.
var versions = map[string]struct{ stable, canary, toStable, toCanary string }{
	"a model": {
		`setJSON: {model: m-1}`, `setJSON: {model: m-2}`,
		` {"model":"m-1","temperature":1,"messages":[{"role":"user","content":"Hi"}],"lora":"none","retrieval":{"index":"none","k":3}}`,
		` {"model":"m-2","temperature":1,"messages":[{"role":"user","content":"Hi"}],"lora":"none","retrieval":{"index":"none","k":3}}`,
	},
	"an adapter": {
		`setJSON: {lora: a-1}`, `setJSON: {lora: a-2}`,
		` {"model":"base","temperature":1,"messages":[{"role":"user","content":"Hi"}],"lora":"a-1","retrieval":{"index":"none","k":3}}`,
		` {"model":"base","temperature":1,"messages":[{"role":"user","content":"Hi"}],"lora":"a-2","retrieval":{"index":"none","k":3}}`,
	},
	"parameters": {
		`setJSON: {temperature: 0.7}`, `setJSON: {temperature: 0, max_tokens: 50}`,
		` {"model":"base","temperature":0.7,"messages":[{"role":"user","content":"Hi"}],"lora":"none","retrieval":{"index":"none","k":3}}`,
		` {"model":"base","temperature":0,"messages":[{"role":"user","content":"Hi"}],"lora":"none","retrieval":{"index":"none","k":3},"max_tokens":50}`,
	},
	"an index": {
		`setJSON: {retrieval.index: docs-1}`, `setJSON: {retrieval.index: docs-2}`,
		` {"model":"base","temperature":1,"messages":[{"role":"user","content":"Hi"}],"lora":"none","retrieval":{"index":"docs-1","k":3}}`,
		` {"model":"base","temperature":1,"messages":[{"role":"user","content":"Hi"}],"lora":"none","retrieval":{"index":"docs-2","k":3}}`,
	},
	"all parts": {
		`setJSON: {model: m-1, lora: a-1, retrieval.index: docs-1}, system: One., setHeaders: {X-Part: one}`,
		`setJSON: {model: m-2, lora: a-2, retrieval.index: docs-2}, system: Two., setHeaders: {X-Part: two}`,
		`one {"model":"m-1","temperature":1,"messages":[{"role":"system","content":"One."},{"role":"user","content":"Hi"}],"lora":"a-1","retrieval":{"index":"docs-1","k":3}}`,
		`two {"model":"m-2","temperature":1,"messages":[{"role":"system","content":"Two."},{"role":"user","content":"Hi"}],"lora":"a-2","retrieval":{"index":"docs-2","k":3}}`,
	},
}

// parts is a release of one server whose version is a rewrite.
func (d *daemon) parts(version, rewrite string, s *httptest.Server) string {
	return fmt.Sprintf(`apiVersion: haldane.dev/v1alpha1
kind: Release
metadata:
  name: llm
spec:
  version: %s
  workload:
    endpoints: {addresses: [%q]}
    rewrite: {%s}
  traffic: {embedded: {listen: %q, model: {}}}
  strategy: {canary: {steps: [{weight: 50, hold: 30m}]}}
  analysis: {metrics: [{name: errors, kind: errors}]}
`, version, s.Listener.Addr(), rewrite, d.front)
}

// One server gets, for each request, all that is of one version and nothing of
// the other, before, while both are compared, and after the new one is taken back.
func TestAVersionIsWhatItRewrites(t *testing.T) {
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, "%s %s", r.Header.Get("X-Part"), b)
	}))
	t.Cleanup(echo.Close)
	for name, v := range versions {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			d.release("v1.yaml", d.parts("v1", v.stable, echo))
			if got := d.echoed(); got != v.toStable {
				t.Fatalf("before: %s\nexpected %s", got, v.toStable)
			}
			applied, err := d.api.Apply(t.Context(), "llm", []byte(d.parts("v2", v.canary, echo)), client.ApplyOptions{File: "v2.yaml"})
			if err != nil {
				t.Fatal(err)
			}
			for seen := map[string]int{}; seen[v.toStable] < 10 || seen[v.toCanary] < 10; {
				got := d.echoed()
				if seen[got]++; got != v.toStable && got != v.toCanary {
					t.Fatalf("neither version's: %s", got)
				}
				if t.Context().Err() != nil {
					t.Fatalf("seen %v", seen)
				}
			}
			if _, err := d.api.Ask(t.Context(), "llm", client.Ask{Verb: rollout.AskAbort}); err != nil {
				t.Fatal(err)
			}
			d.until(applied.Release.Generation, func(st v1alpha1.ReleaseStatus) bool { return st.Phase == "Aborted" })
			if got := d.echoed(); got != v.toStable {
				t.Errorf("after: %s\nexpected %s", got, v.toStable)
			}
		})
	}
}

// echoed is what the server got of a request.
func (d *daemon) echoed() string {
	d.Helper()
	res, err := http.Post("http://"+d.front+chat, "application/json", bytes.NewBufferString(saidByAll))
	if err != nil {
		d.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		d.Fatal(err)
	}
	return string(b)
}
