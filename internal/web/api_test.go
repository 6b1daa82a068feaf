package web

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
)

// patience is how long a test waits for something that must happen; it is no figure.
const patience = 2 * time.Minute

// start serves a store on a loopback port.
func start(t *testing.T, m store.Store, change func(*Options)) (*Server, *httptest.Server) {
	t.Helper()
	o := Options{Store: m, Listen: "127.0.0.1:7070", Version: "test", Now: func() time.Time { return now }}
	if change != nil {
		change(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(func() { s.stop(); srv.Close() })
	return s, srv
}

func dial(t *testing.T, srv *httptest.Server, token string) *client.Client {
	t.Helper()
	c, err := client.New(srv.URL, client.Options{Token: token})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAPIThroughItsClient(t *testing.T) {
	m := newMemory()
	m.answer = "paused"
	_, srv := start(t, m, func(o *Options) { o.Listen = "127.0.0.1:7070" })
	c := dial(t, srv, "")
	ctx := context.Background()

	if got, err := c.List(ctx); err != nil || got == nil || len(got) != 0 {
		t.Fatalf("List of nothing = %v, %v", got, err)
	}
	dry, err := c.Apply(ctx, "hello", []byte(helloManifest), client.ApplyOptions{DryRun: true})
	if err != nil || !dry.Created || !dry.Changed || m.written() != 0 {
		t.Fatalf("dry run = %+v, %v, %d writes", dry, err, m.written())
	}
	a, err := c.Apply(ctx, "hello", []byte(helloManifest), client.ApplyOptions{File: "/srv/release.yaml"})
	if err != nil || !a.Created || a.Release.Name != "hello" || a.Release.Generation != 1 {
		t.Fatalf("Apply = %+v, %v", a, err)
	}
	a, err = c.Apply(ctx, "hello", []byte(helloManifest), client.ApplyOptions{File: "/srv/release.yaml"})
	if err != nil || a.Created || a.Changed {
		t.Fatalf("Apply of the same = %+v, %v", a, err)
	}
	if r, err := c.Get(ctx, "hello"); err != nil || r.Status.Phase != "Starting" {
		t.Fatalf("Get = %+v, %v", r.Status, err)
	}
	if _, err := c.Get(ctx, "nobody"); !client.IsNotFound(err) {
		t.Fatalf("Get of nothing: %v", err)
	}
	got, err := c.Ask(ctx, "hello", client.Ask{Verb: rollout.AskPause, Reason: "lunch", WaitSeconds: 60})
	if err != nil || !got.Answered || !got.Done || got.Message != "paused" {
		t.Fatalf("Ask = %+v, %v", got, err)
	}
	if m.asked[0].By != "local" || m.asked[0].Reason != "lunch" {
		t.Fatalf("intent kept as %+v", m.asked[0])
	}
	if _, err := c.Ask(ctx, "hello", client.Ask{Verb: "explode"}); !client.IsInvalid(err) {
		t.Fatalf("an unknown verb: %v", err)
	}
	if _, err := c.Ask(ctx, "hello", client.Ask{Verb: rollout.AskRollback, Version: "v0"}); !client.IsInvalid(err) || !strings.Contains(err.Error(), "no version") {
		t.Fatalf("an unknown version: %v", err)
	}
	if err := c.Delete(ctx, "hello"); err != nil {
		t.Fatal(err)
	}
	audit, err := c.Audit(ctx, 10)
	if err != nil || len(audit) != 4 || audit[0].Action != "delete" || audit[0].Actor.Subject != "local" || audit[0].Actor.From != "127.0.0.1" {
		t.Fatalf("Audit = %+v, %v", audit, err)
	}
	if v, err := c.Version(ctx); err != nil || v.Version != "test" {
		t.Fatalf("Version = %v, %v", v, err)
	}
}

func TestHistoryThroughTheClient(t *testing.T) {
	m := newMemory()
	rec := live(m, "hello")
	_, srv := start(t, m, nil)
	c, ctx := dial(t, srv, ""), context.Background()
	runs, err := c.Runs(ctx, "hello", 3)
	if err != nil || len(runs) != 3 || runs[0].Name != "hello-7" {
		t.Fatalf("Runs = %+v, %v", runs, err)
	}
	run, err := c.Run(ctx, "hello-7")
	if err != nil || run.Status.Phase != "Progressing" || len(run.Status.Metrics) != 3 {
		t.Fatalf("Run = %+v, %v", run, err)
	}
	looks, err := c.Looks(ctx, "hello-7", 2)
	if err != nil || len(looks) != 2 || looks[1].Report.At != rec.Look.Report.At {
		t.Fatalf("Looks = %+v, %v", looks, err)
	}
	events, err := c.Events(ctx, "hello", 0, 2)
	if err != nil || len(events) != 2 || events[0].ID != 1 {
		t.Fatalf("Events = %+v, %v", events, err)
	}
}

func TestEvidenceThroughTheClient(t *testing.T) {
	m := newMemory()
	line := `{"t":1,"metric":"errors"}` + "\n"
	m.evidence = map[string]string{"hello-7": strings.Repeat(line, 50_000), "hello-8": ""}
	_, srv := start(t, m, nil)
	c, ctx := dial(t, srv, ""), context.Background()
	for run, want := range m.evidence {
		e, err := c.Evidence(ctx, run)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(e)
		if err != nil || string(got) != want || e.Cut {
			t.Errorf("%s: %d bytes of %d, cut %v, %v", run, len(got), len(want), e.Cut, err)
		}
		e.Close()
	}
	m.cut = true
	if e, err := c.Evidence(ctx, "hello-8"); err != nil || !e.Cut {
		t.Errorf("cut evidence: %+v, %v", e, err)
	}
	if _, err := c.Evidence(ctx, "hello-9"); !client.IsNotFound(err) {
		t.Errorf("a run that is not there: %v", err)
	}
}

func TestManifestProblemsHavePlaces(t *testing.T) {
	_, srv := start(t, newMemory(), nil)
	bad := strings.Replace(helloManifest, `weight: "10%"`, `weight: "120%"`, 1)
	bad = strings.Replace(bad, "replicas: 2", "replica: 2", 1)
	_, err := dial(t, srv, "").Apply(context.Background(), "hello", []byte(bad), client.ApplyOptions{File: "release.yaml"})
	if !client.IsInvalid(err) {
		t.Fatalf("error %v", err)
	}
	for _, want := range []string{"3 problems", "release.yaml:8:", "release.yaml:12:", "spec.strategy.canary.steps[1].weight"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
}

func TestWatchTellsStateChangesAndEnd(t *testing.T) {
	m := newMemory()
	rec := live(m, "hello")
	idle(m, "other")
	_, srv := start(t, m, nil)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var got []string
	err := dial(t, srv, "").Watch(ctx, "hello", func(ch client.Change) error {
		switch {
		case ch.Release != nil && len(got) == 0:
			got = append(got, ch.Release.Status.Phase)
			rec.State.Run.Paused = &rollout.Pause{Reason: "lunch", Person: true}
			m.set(m.recs["other"])
			m.set(rec)
		case ch.Release != nil:
			got = append(got, ch.Release.Status.Phase)
			m.mu.Lock()
			delete(m.recs, "hello")
			m.changed("hello")
			m.mu.Unlock()
		case ch.Gone != "":
			got = append(got, "gone "+ch.Gone)
			return context.Canceled
		default:
			return ch.Down
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || strings.Join(got, ", ") != "Progressing, Paused, gone hello" {
		t.Fatalf("saw %q, ended by %v", got, err)
	}
	if err := dial(t, srv, "").Watch(ctx, "nobody", func(client.Change) error { return nil }); !client.IsNotFound(err) {
		t.Fatalf("watch of nothing ended by %v", err)
	}
}

func TestOpenAPIDescribesEveryRoute(t *testing.T) {
	_, srv := start(t, newMemory(), nil)
	resp, err := http.Get(srv.URL + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var doc struct {
		OpenAPI    string
		Paths      map[string]map[string]json.RawMessage
		Components struct{ Schemas map[string]json.RawMessage }
	}
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("version %q", doc.OpenAPI)
	}
	for path, methods := range map[string]string{
		"/api/v1/releases": "get", "/api/v1/releases/{name}": "get put delete", "/api/v1/releases/{name}/intents": "post",
		"/api/v1/releases/{name}/runs": "get", "/api/v1/releases/{name}/events": "get", "/api/v1/releases/{name}/logs": "get",
		"/api/v1/runs/{id}": "get", "/api/v1/runs/{id}/looks": "get", "/api/v1/runs/{id}/evidence": "get", "/api/v1/audit": "get", "/api/v1/watch": "get", "/api/v1/version": "get",
	} {
		for _, m := range strings.Fields(methods) {
			if doc.Paths[path][m] == nil {
				t.Errorf("%s %s is not described", m, path)
			}
		}
	}
	if doc.Components.Schemas["Release"] == nil || doc.Components.Schemas["Look"] == nil {
		t.Error("the objects are not described")
	}
}

func readAll(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPagesShowWhatIs(t *testing.T) {
	m := newMemory()
	_, srv := start(t, m, nil)
	page := func(path string, code int) string {
		t.Helper()
		resp, err := http.Get(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		text := readAll(t, resp)
		if resp.StatusCode != code {
			t.Fatalf("%s: %s\n%s", path, resp.Status, text)
		}
		return text
	}
	has := func(text string, wants ...string) {
		t.Helper()
		for _, w := range wants {
			if !strings.Contains(text, w) {
				t.Errorf("page lacks %q", w)
			}
		}
	}
	has(page("/", 200), "haldane apply -f release.yaml")
	rec := live(m, "hello")
	idle(m, "other")
	has(page("/", 200), "hello", "other", "Progressing", "2 of 4")
	has(page("/releases/hello", 200), "10% of the traffic goes to v2", "1.05", "Evidence over time", "Promote one step", "Step 2 of 4", "hello-3")
	has(page("/runs/hello-3", 200), "Rolled back", "Traffic off after")
	has(page("/releases/hello/ask?verb=abort", 200), "Abort?", "Reason")
	page("/releases/hello/ask?verb=retry", http.StatusConflict)
	page("/releases/nobody", http.StatusNotFound)
	page("/nothing", http.StatusNotFound)
	has(page("/audit", 200), "Nobody has asked")
	rec.State.Run = nil
	m.set(rec)
	page("/releases/hello", 200)
}

func TestRecordThroughTheClient(t *testing.T) {
	m := newMemory()
	_, srv := start(t, m, nil)
	c := dial(t, srv, "")
	if got, err := c.Record(t.Context()); err != nil || got.Rate != nil || got.Contradicted || got.Message != "No run with a placebo has ended yet." {
		t.Errorf("the record of nothing is %+v (%v)", got, err)
	}
	m.record = judge.Record{Runs: 100, Alarms: 20, Allowed: 1}
	got, err := c.Record(t.Context())
	if err != nil || got.Runs != 100 || got.Alarms != 20 || got.Rate == nil || *got.Rate.Value != 0.2 || !got.Contradicted || got.Message != m.record.Words() {
		t.Errorf("the record is %+v (%v)", got, err)
	}
	rec := live(m, "hello")
	look := rec.Look
	look.Report.Placebo = &judge.PlaceboReport{Finding: "Stable was compared with itself: no false alarm."}
	look.Report.Division = &judge.MetricReport{Reason: "traffic share: the canary got 5.1 % of 900 requests, where 5 % was asked for."}
	for path, want := range map[string][]string{
		"/":               {"20 false alarms in 100 runs"},
		"/releases/hello": {"Stable was compared with itself: no false alarm.", "Traffic share: the canary got 5.1 % of 900 requests"},
	} {
		resp, err := http.Get(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		for _, w := range want {
			if !strings.Contains(string(body), w) {
				t.Errorf("%s does not say %q", path, w)
			}
		}
	}
}
