package model

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/judge"
)

const (
	chat  = "/v1/chat/completions"
	plain = `{"model":"ngram","stream":true,"messages":[{"role":"user","content":"What is firedamp?"}]}`
	asked = `{"model":"ngram","stream":true,"messages":[{"role":"user","content":"Which gas?"}],"response_format":{"type":"json_schema","json_schema":{"name":"gas",
"strict":true,"schema":{"type":"object","properties":{"gas":{"type":"string","enum":["firedamp","whitedamp"]},"deadly":{"type":"boolean"}},"required":["gas","deadly"],"additionalProperties":false}}}}`
)

// brief asks for answers of about one length.
const brief = `{"model":"ngram","stream":true,"messages":[{"role":"system","content":"Answer in two sentences."},{"role":"user","content":"What is firedamp?"}]}`

// half is the share at which the versions of these tests are compared.
const half = 0.5

// planted is a fault of the sample server, the metric that is about it, and others
// that it shows in.
type planted struct {
	env     map[string]string
	body    string
	metric  string
	besides []string
	share   float64 // of answers that have it; 0: all are slower or longer
}

var faults = map[string]planted{
	"slow first token":   {map[string]string{"FIRST_TOKEN": "600ms"}, plain, "time-to-first-token", nil, 0},
	"slow tokens":        {map[string]string{"PER_TOKEN": "25ms"}, plain, "time-per-output-token", nil, 0},
	"stalls":             {map[string]string{"STALL": "0.2"}, plain, "gap", []string{"time-per-output-token"}, 0.2},
	"rambling":           {map[string]string{"RAMBLE": "0.5"}, plain, "output-tokens", nil, 0.5},
	"endless answers":    {map[string]string{"ENDLESS": "0.2"}, plain, "abandoned", nil, 0.2},
	"broken JSON":        {map[string]string{"BREAK_JSON": "0.2"}, asked, "invalid", nil, 0.2},
	"refusals":           {map[string]string{"REFUSE": "0.2"}, plain, "refusal", nil, 0.2},
	"empty answers":      {map[string]string{"EMPTY": "0.2"}, plain, "empty", nil, 0.2},
	"repetition":         {map[string]string{"REPEAT": "0.3"}, plain, "repeated", []string{"output-tokens"}, 0.3},
	"cut streams":        {map[string]string{"CUT": "0.1"}, plain, "errors", nil, 0.1},
	"broken connections": {map[string]string{"ABORT": "0.1"}, plain, "errors", nil, 0.1},
	"error events":       {map[string]string{"STREAM_ERROR": "0.1"}, plain, "errors", nil, 0.1},
	"answers of 503":     {map[string]string{"ERRORS": "0.1"}, plain, "errors", nil, 0.1},
}

// Every planted fault, all but one of which answer with a 200, is rolled back for
// what it is, or for what it shows in as well.
func TestPlantedFaultsAreRolledBack(t *testing.T) {
	needsE2E(t)
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := start(t)
			if f.metric == "abandoned" {
				d.leave = 10 * time.Second
			}
			d.least = 200 // a fault of one answer in five, or ten, is to be found before the version could go on
			run := d.versions(unlike(f.env), f.env, f.body, 20)
			rep := d.deciding(run.Name)
			about := func(metric string) bool { return metric == f.metric || slices.Contains(f.besides, metric) }
			if run.Phase != "RolledBack" || !slices.ContainsFunc(rep.Blame, about) {
				for _, m := range rep.Metrics {
					t.Logf("%s: canary %d of %d, stable %d of %d, %.1f of %.1f nats: %s", m.Name, m.Canary.Bad, m.Canary.N, m.Stable.Bad, m.Stable.N, m.LogE, m.Threshold, m.Reason)
				}
				t.Fatalf("%s: %s; expected a way back for %s", run.Phase, run.Why, f.metric)
			}
			for _, m := range rep.Metrics {
				if slices.Contains(rep.Blame, m.Name) {
					t.Logf("%s; evidence of %s %.1f of %.1f nats, after %d requests, where no test needs fewer than %.0f",
						run.Why, m.Name, m.LogE, m.Threshold, rep.Canary+rep.Stable, limit(m.Threshold, f.share))
				}
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

// quick is a server whose faults are found soon. The times of steady are far above
// what a busy machine adds to them, so that two such servers are seen to be alike.
var (
	quick  = map[string]string{"FIRST_TOKEN": "10ms", "PER_TOKEN": "1ms"}
	steady = map[string]string{"FIRST_TOKEN": "40ms", "PER_TOKEN": "2ms", "IGNORE_SEED": "true"}
)

// slow are times of which a busy machine's are a small part, for what is thrice or
// five times as slow.
var slow = map[string]string{"FIRST_TOKEN": "200ms", "PER_TOKEN": "5ms"}

// unlike is a quick server whose times are slow where the fault's are.
func unlike(fault map[string]string) map[string]string {
	env := maps.Clone(quick)
	for k, v := range slow {
		if fault[k] != "" {
			env[k] = v
		}
	}
	return env
}

// versions releases a second server beside a first one, under a load of requests
// a second, and returns how its run ended or why it stopped.
// The rate is low, so that a busy machine does not hide the servers' own times.
func (d *daemon) versions(both, canary map[string]string, body string, rate float64) v1alpha1.RunStatus {
	d.Helper()
	with := func(seed string, others map[string]string) map[string]string {
		env := maps.Clone(both)
		env["SEED"] = seed
		maps.Copy(env, others)
		return env
	}
	d.release("v1.yaml", d.manifest("v1", server(d.T, with("101", nil))))
	users(d, chat, body, rate)
	r := d.release("v2.yaml", d.manifest("v2", server(d.T, with("202", canary))))
	if r.Status.Run == nil {
		d.Fatalf("there is no run: %s", r.Status.Message)
	}
	return *r.Status.Run
}

// manifest is a release of a model that is promoted only once its new version is
// proven to be at most half as slow again to each of its tokens, and half as long.
// Some requests are copied to both versions besides, so that answers are compared.
// What one model says twice has few words in common: half of such answers are less
// alike than a tenth.
func (d *daemon) manifest(version string, s *httptest.Server) string {
	return fmt.Sprintf(`apiVersion: haldane.dev/v1alpha1
kind: Release
metadata:
  name: llm
spec:
  version: %s
  workload: {endpoints: {addresses: [%q], ready: {http: /health, timeout: 30s}}}
  traffic: {embedded: {listen: %q, model: {}, mirror: {methods: [POST], noise: 100, compare: {threshold: 10%%}}}}
  strategy: {canary: {steps: [{weight: 50, mirror: 20}]}, bake: 1s}
  analysis:
    preset: llm
    minRequests: %d
    metrics:
    - {name: errors, kind: errors, margin: "50%% or +3%%"}
    - {name: time-to-first-token, kind: amount, quantile: 50%%, source: {llm: timeToFirstToken}, margin: 50%%, required: true}
    - {name: time-per-output-token, kind: amount, quantile: 50%%, source: {llm: timePerOutputToken}, margin: 50%%, required: true}
    - {name: output-tokens, kind: amount, quantile: 50%%, source: {llm: outputTokens}, margin: 50%%, required: true}
    - {name: gap, kind: amount, quantile: 90%%, source: {llm: gap}, margin: 100%%}
    - {name: abandoned, kind: proportion, source: {llm: abandoned}}
    - {name: answers, kind: agreement}
`, version, s.Listener.Addr(), d.front, cmp.Or(d.least, 50))
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

// alike is what pairs of versions that are alike came to.
type alike struct {
	promoted, wrong, other, asked  atomic.Int64
	compared, differ, again, noise atomic.Int64 // of copies
}

// add takes in a pair, whose run has ended.
func (a *alike) add(d *daemon, run v1alpha1.RunStatus) {
	d.Helper()
	switch run.Phase {
	case "Promoted":
		a.promoted.Add(1)
	case "RolledBack":
		a.wrong.Add(1)
	default:
		a.other.Add(1)
	}
	rep := d.deciding(run.Name)
	a.asked.Add(rep.Canary + rep.Stable)
	found, err := d.api.Differences(d.Context(), "llm")
	if err != nil {
		d.Fatal(err)
	}
	a.compared.Add(found.Counts.Compared)
	a.differ.Add(found.Counts.Differ)
	a.again.Add(found.Counts.Again)
	a.noise.Add(found.Counts.Noise)
	d.Logf("%s: %s; %d requests; %d of %d copies differ, and %d of %d of stable's own", run.Phase, run.Why, rep.Canary+rep.Stable,
		found.Counts.Differ, found.Counts.Compared, found.Counts.Noise, found.Counts.Again)
}

// noisy is the share of stable's own copies that differ from what users got.
func (a *alike) noisy() float64 {
	return float64(a.noise.Load()) / float64(max(1, a.again.Load()))
}

// beyond is by how many standard errors the copies of the new version differ more
// often from what users got than stable's own do. The two share the user's answer,
// which makes their difference smaller than that of independent shares.
func (a *alike) beyond() float64 {
	x, n, y, m := float64(a.differ.Load()), float64(a.compared.Load()), float64(a.noise.Load()), float64(a.again.Load())
	both := (x + y) / (n + m)
	if both == 0 || both == 1 {
		return 0
	}
	return (x/n - y/m) / math.Sqrt(both*(1-both)*(1/n+1/m))
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
	var a alike
	t.Run("pairs", func(t *testing.T) {
		for i := range pairs {
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				d := start(t)
				a.add(d, d.versions(steady, map[string]string{"SEED": strconv.Itoa(1000 + i)}, brief, 20))
			})
		}
	})
	t.Logf("%d pairs: %d promoted, %d rolled back, %d paused; %d requests; %d of %d copies differ, %d of %d of stable's own: %+.1f standard errors",
		pairs, a.promoted.Load(), a.wrong.Load(), a.other.Load(), a.asked.Load(), a.differ.Load(), a.compared.Load(), a.noise.Load(), a.again.Load(), a.beyond())
	// At alpha = 1 % more than 2 of 20, or 5 of 100, has a chance below 1 in 1000.
	if a.wrong.Load() > most || a.other.Load() > most {
		t.Errorf("%d rolled back and %d paused of %d alike pairs, expected at most %d each", a.wrong.Load(), a.other.Load(), pairs, most)
	}
	// Where all or none differ nothing is compared. 3.1 standard errors are as rare.
	if share := a.noisy(); share < 0.1 || share > 0.9 || a.compared.Load() == 0 || a.beyond() > 3.1 {
		t.Errorf("%d of %d copies differ, and %d of %d of stable's own", a.differ.Load(), a.compared.Load(), a.noise.Load(), a.again.Load())
	}
}
