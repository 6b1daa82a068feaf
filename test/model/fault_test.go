package model

import (
	"fmt"
	"maps"
	"math"
	"net/http/httptest"
	"os"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/judge"
)

const (
	chat  = "/v1/chat/completions"
	plain = `{"model":"ngram","stream":true,"messages":[{"role":"user","content":"What is firedamp?"}]}`
	asked = `{"model":"ngram","stream":true,"messages":[{"role":"user","content":"Which gas?"}],"response_format":{"type":"json_schema","json_schema":{"name":"gas",
"strict":true,"schema":{"type":"object","properties":{"gas":{"type":"string","enum":["firedamp","whitedamp"]},"deadly":{"type":"boolean"}},"required":["gas","deadly"],"additionalProperties":false}}}}`
)

// half is the share at which the versions of these tests are compared.
const half = 0.5

// planted is a fault of the sample server, and the metric that must find it.
type planted struct {
	env    map[string]string
	body   string
	metric string
	share  float64 // of answers that have it; 0: all are slower or longer
}

var faults = map[string]planted{
	"slow first token": {map[string]string{"FIRST_TOKEN": "30ms"}, plain, "time-to-first-token", 0},
	"slow tokens":      {map[string]string{"PER_TOKEN": "5ms"}, plain, "time-per-output-token", 0},
	"rambling":         {map[string]string{"RAMBLE": "0.5"}, plain, "output-tokens", 0.5},
	"broken JSON":      {map[string]string{"BREAK_JSON": "0.2"}, asked, "invalid", 0.2},
	"refusals":         {map[string]string{"REFUSE": "0.2"}, plain, "refusal", 0.2},
	"empty answers":    {map[string]string{"EMPTY": "0.2"}, plain, "empty", 0.2},
	"repetition":       {map[string]string{"REPEAT": "0.3"}, plain, "repeated", 0.3},
	"cut streams":      {map[string]string{"CUT": "0.1"}, plain, "errors", 0.1},
	"error events":     {map[string]string{"STREAM_ERROR": "0.1"}, plain, "errors", 0.1},
}

// Every planted fault answers with a 200, and the metric that is about it, or one
// that it shows in as well, rolls it back.
func TestPlantedFaultsAreRolledBack(t *testing.T) {
	needsE2E(t)
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			run := d.versions(f.env, f.body, 20)
			rep := d.deciding(run.Name)
			if run.Phase != "RolledBack" {
				for _, m := range rep.Metrics {
					t.Logf("%s: canary %d of %d, stable %d of %d, %.1f of %.1f nats: %s", m.Name, m.Canary.Bad, m.Canary.N, m.Stable.Bad, m.Stable.N, m.LogE, m.Threshold, m.Reason)
				}
				t.Fatalf("%s: %s; %+v", run.Phase, run.Why, run.Metrics)
			}
			found := false
			for _, m := range rep.Metrics {
				if m.Name == f.metric {
					found = m.LogE >= m.Threshold/2
					t.Logf("%s; evidence of %s %.1f of %.1f nats, after %d requests, where no test needs fewer than %.0f",
						run.Why, m.Name, m.LogE, m.Threshold, rep.Canary+rep.Stable, limit(rep.Threshold, f.share))
				}
			}
			if !found {
				t.Errorf("%s has found nothing: %s", f.metric, run.Why)
			}
		})
	}
}

// limit is how many requests every test needs on average to reach so many nats,
// where a share of the canary's answers has a mark that none of stable's has: the
// threshold over the information of an answer about the version that gave it.
// Share 0: every answer tells.
func limit(threshold, share float64) float64 {
	const w = half
	if share == 0 {
		return threshold / -(w*math.Log(w) + (1-w)*math.Log(1-w))
	}
	bad, good := w*share*math.Log(1/w), w*(1-share)*math.Log((1-share)/(1-w*share))-(1-w)*math.Log(1-w*share)
	return threshold / (bad + good)
}

// versions releases a second server beside a first one, under a load of requests
// a second, and returns how its run ended or why it stopped.
// The rate is low, so that a busy machine does not hide the servers' own times.
func (d *daemon) versions(env map[string]string, body string, rate float64) v1alpha1.RunStatus {
	d.Helper()
	quick := map[string]string{"FIRST_TOKEN": "10ms", "PER_TOKEN": "1ms", "SEED": "101"}
	d.release("v1.yaml", d.manifest("v1", server(d.T, quick)))
	users(d, chat, body, rate)
	canary := maps.Clone(quick)
	canary["SEED"] = "202"
	maps.Copy(canary, env)
	r := d.release("v2.yaml", d.manifest("v2", server(d.T, canary)))
	if r.Status.Run == nil {
		d.Fatalf("there is no run: %s", r.Status.Message)
	}
	return *r.Status.Run
}

// manifest is a release of a model that is promoted only once its new version is
// proven to be at most half as slow again to each of its tokens, and half as long.
// Some requests are copied to both versions besides, so that answers are compared.
func (d *daemon) manifest(version string, s *httptest.Server) string {
	return fmt.Sprintf(`apiVersion: haldane.dev/v1alpha1
kind: Release
metadata:
  name: llm
spec:
  version: %s
  workload: {endpoints: {addresses: [%q], ready: {http: /health, timeout: 10s}}}
  traffic: {embedded: {listen: %q, model: {}, mirror: {methods: [POST], noise: 100}}}
  strategy: {canary: {steps: [{weight: 50, mirror: 20}]}, bake: 1s}
  analysis:
    preset: llm
    minRequests: 50
    metrics:
    - {name: errors, kind: errors, margin: "50%% or +3%%"}
    - {name: time-to-first-token, kind: amount, quantile: 50%%, source: {llm: timeToFirstToken}, margin: 50%%, required: true}
    - {name: time-per-output-token, kind: amount, quantile: 50%%, source: {llm: timePerOutputToken}, margin: 50%%, required: true}
    - {name: output-tokens, kind: amount, quantile: 50%%, source: {llm: outputTokens}, margin: 50%%, required: true}
    - {name: answers, kind: agreement}
`, version, s.Listener.Addr(), d.front)
}

// deciding is the look at which a run failed, or its last one.
func (d *daemon) deciding(run string) judge.Report {
	d.Helper()
	looks, err := d.api.Looks(d.Context(), run, 1000)
	if err != nil || len(looks) == 0 {
		d.Fatalf("%d looks of %s: %v", len(looks), run, err)
	}
	for _, l := range looks {
		if l.Report.Verdict == judge.Fail {
			return l.Report
		}
	}
	return looks[len(looks)-1].Report
}

// Two servers with one nondeterministic model are alike: none is rolled back, but
// with a chance of 1 in 100 each, and what their answers differ by is noise. Each is
// promoted, so that half as slow again, or half as long, would have been found.
// HALDANE_LONG=1 runs a hundred pairs; -parallel says how many at once.
func TestAlikeModelsAreNotRolledBack(t *testing.T) {
	needsE2E(t)
	pairs, most := 20, int64(2)
	if os.Getenv("HALDANE_LONG") != "" {
		pairs, most = 100, 5
	}
	var promoted, wrong, other, asked, copies atomic.Int64
	t.Run("pairs", func(t *testing.T) {
		for i := range pairs {
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				d := start(t)
				run := d.versions(map[string]string{"SEED": strconv.Itoa(1000 + i), "IGNORE_SEED": "true"}, plain, 20)
				switch run.Phase {
				case "Promoted":
					promoted.Add(1)
				case "RolledBack":
					wrong.Add(1)
				default:
					other.Add(1)
				}
				rep := d.deciding(run.Name)
				asked.Add(rep.Canary + rep.Stable)
				for _, m := range rep.Metrics {
					if m.Name == "answers" {
						copies.Add(m.Canary.N)
					}
				}
				t.Logf("%s: %s; %d requests", run.Phase, run.Why, rep.Canary+rep.Stable)
			})
		}
	})
	t.Logf("%d pairs: %d promoted, %d rolled back, %d paused; %d requests and %d compared copies", pairs, promoted.Load(), wrong.Load(), other.Load(), asked.Load(), copies.Load())
	// At alpha = 1 % more than 2 of 20, or 5 of 100, has a chance below 1 in 1000.
	if wrong.Load() > most || other.Load() > most {
		t.Errorf("%d rolled back and %d paused of %d alike pairs, expected at most %d each", wrong.Load(), other.Load(), pairs, most)
	}
}
