package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
)

// fake is a daemon's API over a story that is told state by state: a watch
// gets the states one after the other, everything else sees the newest told.
type fake struct {
	mu     sync.Mutex
	rel    map[string]v1alpha1.Release
	story  map[string][]v1alpha1.Release
	looks  []store.Look
	events []store.StoredEvent
	asked  []client.Ask
	token  string
	pace   time.Duration // between two states; zero: at once
}

func (f *fake) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/releases", f.list)
	mux.HandleFunc("GET /api/v1/releases/{name}", f.get)
	mux.HandleFunc("PUT /api/v1/releases/{name}", f.apply)
	mux.HandleFunc("DELETE /api/v1/releases/{name}", f.delete)
	mux.HandleFunc("POST /api/v1/releases/{name}/intents", f.ask)
	mux.HandleFunc("GET /api/v1/releases/{name}/runs", f.runs)
	mux.HandleFunc("GET /api/v1/runs/{id}", f.run)
	mux.HandleFunc("GET /api/v1/runs/{id}/looks", f.getLooks)
	mux.HandleFunc("GET /api/v1/runs/{id}/evidence", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/jsonl")
		if r.PathValue("id") == "hello-2" {
			_, _ = io.WriteString(w, `{"t":0,"metric":"errors","history":true,"stable":{"n":10000,"bad":100}}`+"\n"+
				`{"t":1,"metric":"errors","canary":{"n":40,"bad":20},"stable":{"n":360,"bad":4},"share":0.1}`+"\n")
		}
	})
	mux.HandleFunc("GET /api/v1/releases/{name}/events", f.getEvents)
	mux.HandleFunc("GET /api/v1/releases/{name}/logs", func(w http.ResponseWriter, r *http.Request) {
		reply(w, client.Logs{Text: "v2/0: listening on 4711\n"})
	})
	mux.HandleFunc("GET /api/v1/audit", func(w http.ResponseWriter, r *http.Request) {
		reply(w, client.List[store.Audit]{Items: []store.Audit{{ID: 1, At: day, Actor: store.Actor{Subject: "jane", From: "local"}, Action: "apply", Release: "hello", Detail: "generation 2"}}})
	})
	mux.HandleFunc("GET /api/v1/version", func(w http.ResponseWriter, r *http.Request) { reply(w, client.Version{Version: "v0.1.0-test"}) })
	mux.HandleFunc("GET /api/v1/watch", f.watch)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		token := f.token
		f.mu.Unlock()
		if token != "" && r.Header.Get("Authorization") != "Bearer "+token {
			fail(w, http.StatusUnauthorized, "a token is needed")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func fail(w http.ResponseWriter, status int, detail string, errs ...client.ProblemDetail) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(client.Problem{Status: status, Title: http.StatusText(status), Detail: detail, Errors: errs})
}

func (f *fake) named(w http.ResponseWriter, r *http.Request) (v1alpha1.Release, bool) {
	rel, ok := f.rel[r.PathValue("name")]
	if !ok {
		fail(w, http.StatusNotFound, fmt.Sprintf("there is no release %q", r.PathValue("name")))
	}
	return rel, ok
}

func (f *fake) list(w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := client.List[v1alpha1.Release]{Items: []v1alpha1.Release{}}
	for _, r := range f.rel {
		out.Items = append(out.Items, r)
	}
	slices.SortFunc(out.Items, func(a, b v1alpha1.Release) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	reply(w, out)
}

func (f *fake) get(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if rel, ok := f.named(w, r); ok {
		reply(w, rel)
	}
}

func (f *fake) apply(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, _ := io.ReadAll(r.Body)
	var rel v1alpha1.Release
	if err := yaml.UnmarshalStrict(b, &rel); err != nil {
		fail(w, http.StatusUnprocessableEntity, "the manifest was refused", client.ProblemDetail{Message: err.Error(), Location: "release.yaml:1:1"})
		return
	}
	if r.URL.Query().Get("dryRun") == "true" {
		reply(w, client.Applied{Release: rel, Changed: true, Plan: []string{"A run from v1 to " + rel.Spec.Version + " would start.", "Step 1: 5% of the traffic."}})
		return
	}
	old, had := f.rel[rel.Name]
	same := had && equal(old.Spec, rel.Spec)
	rel.Generation, rel.Status = old.Generation, old.Status
	if !same {
		rel.Generation++
	}
	f.rel[rel.Name] = rel
	reply(w, client.Applied{Release: rel, Changed: !same, Created: !had})
}

func equal(a, b any) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return string(x) == string(y)
}

func (f *fake) delete(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.named(w, r); ok {
		delete(f.rel, r.PathValue("name"))
		w.WriteHeader(http.StatusNoContent)
	}
}

func (f *fake) ask(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rel, ok := f.named(w, r)
	if !ok {
		return
	}
	var a client.Ask
	if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	f.asked = append(f.asked, a)
	allowed := slices.Contains(rel.Status.Allowed, string(a.Verb))
	msg := "done: " + string(a.Verb)
	if !allowed {
		msg = fmt.Sprintf("cannot %s now: the release is %s", a.Verb, rel.Status.Phase)
	}
	if a.Version != "" {
		msg += " to " + a.Version
	}
	reply(w, client.Answer{ID: int64(len(f.asked)), Answered: true, Done: allowed, Message: msg})
}

func (f *fake) runs(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rel, ok := f.named(w, r)
	if !ok {
		return
	}
	out := client.List[v1alpha1.Run]{}
	if rel.Status.Run != nil {
		run := v1alpha1.Run{Release: rel.Name, Status: *rel.Status.Run}
		run.Name = rel.Status.Run.Name
		out.Items = append(out.Items, run)
	}
	reply(w, out)
}

func (f *fake) run(w http.ResponseWriter, r *http.Request) {
	reply(w, v1alpha1.Run{Release: "hello", Status: v1alpha1.RunStatus{Name: r.PathValue("id"), Phase: "Superseded", To: "v2", Why: "v3 was applied"}})
}

func (f *fake) getLooks(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := client.List[store.Look]{}
	for _, l := range f.looks {
		if l.Run == r.PathValue("id") {
			out.Items = append(out.Items, l)
		}
	}
	if n, err := strconv.Atoi(r.URL.Query().Get("limit")); err == nil && n < len(out.Items) {
		out.Items = out.Items[len(out.Items)-n:]
	}
	reply(w, out)
}

func (f *fake) getEvents(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.named(w, r); !ok {
		return
	}
	after, _ := strconv.ParseInt(r.URL.Query().Get("after"), 10, 64)
	out := client.List[store.StoredEvent]{}
	for _, e := range f.events {
		if e.ID > after {
			out.Items = append(out.Items, e)
		}
	}
	reply(w, out)
}

func (f *fake) watch(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("release")
	w.Header().Set("Content-Type", "text/event-stream")
	send := func(event string, v any) {
		b, _ := json.Marshal(v)
		fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, b)
		_ = http.NewResponseController(w).Flush()
	}
	f.mu.Lock()
	states := append([]v1alpha1.Release{}, f.story[name]...)
	now, ok := f.rel[name]
	f.mu.Unlock()
	if !ok {
		send("gone", map[string]string{"name": name})
		return
	}
	if len(states) == 0 {
		states = []v1alpha1.Release{now}
	}
	for _, s := range states {
		f.mu.Lock()
		f.rel[name] = s
		f.mu.Unlock()
		send("release", s)
		if f.pace > 0 {
			select {
			case <-r.Context().Done():
				return
			case <-time.After(f.pace):
			}
		}
	}
	<-r.Context().Done()
}

var day = time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)

// hello is the release of the tests, in a phase of its run to v2.
func hello(phase string, step int) v1alpha1.Release {
	weights := []string{"5%", "10%", "50%", "100%"}
	r := v1alpha1.Release{}
	r.APIVersion, r.Kind = v1alpha1.GroupVersion.String(), "Release"
	r.Name, r.Generation = "hello", 2
	r.CreationTimestamp = metav1.NewTime(day)
	r.Spec.Version = "v2"
	r.Spec.Workload.Process = &v1alpha1.ProcessSpec{Command: []string{"./app"}, Env: map[string]string{"GREETING": "Hello"}}
	r.Spec.Traffic.Embedded = &v1alpha1.EmbeddedSpec{Listen: "127.0.0.1:8080"}
	run := &v1alpha1.RunStatus{Name: "hello-2", Phase: phase, From: "v1", To: "v2", ToID: "2222222222", Started: metav1.NewTime(day), Steps: weights,
		CanaryRequests: 1322, StableRequests: 12054, Evidence: "1 : 1.3"}
	r.Status = v1alpha1.ReleaseStatus{
		ObservedGeneration: 2, Phase: phase, Verdict: "Inconclusive", Run: run,
		Stable:  &v1alpha1.VersionStatus{ID: "1111111111", Name: "v1", Ready: 2, Instances: 2, Weight: "90%"},
		Allowed: []string{"abort", "pause", "promote", "promoteFull"},
	}
	ended := metav1.NewTime(day.Add(time.Minute))
	switch phase {
	case "Promoted":
		r.Status.Phase, run.Ended = "Idle", &ended
		run.Why = "every step was passed"
		r.Status.Message = "v2 serves all of the traffic."
		r.Status.Stable.ID, r.Status.Stable.Name = "2222222222", "v2"
		r.Status.Allowed = []string{"rollback"}
	case "RolledBack":
		run.Ended, run.Why = &ended, "errors are 4.6 times as frequent"
		r.Status.Message = "v2 was rolled back: errors are 4.6 times as frequent. v1 serves all of the traffic."
		r.Status.Allowed = []string{"retry"}
	default:
		r.Status.Canary = &v1alpha1.VersionStatus{ID: "2222222222", Name: "v2", Ready: 1, Instances: 1, Weight: weights[step]}
		r.Status.Weight, r.Status.Step = weights[step], fmt.Sprintf("%d/4", step+1)
		r.Status.Message = fmt.Sprintf("%s of the traffic goes to v2 (step %d of 4). Nothing is worse so far.", weights[step], step+1)
	}
	return r
}

func lookAt(at float64, step int) store.Look {
	canary, all := int64(33*at), int64(300*at)
	p := func(x float64) *float64 { return &x }
	return store.Look{Run: "hello-2", At: day.Add(time.Duration(at * float64(time.Second))), Step: step, Weight: release.Weight(1000), Seen: 0.101,
		Report: judge.Report{Verdict: judge.Inconclusive, Reason: "errors need more requests", LogE: 0.3, Threshold: math.Log(100), At: at, Canary: canary, Stable: all - canary,
			Metrics: []judge.MetricReport{
				{Name: "errors", Kind: judge.Proportion, Verdict: judge.Inconclusive, Required: true, Reason: "the margin is not proven yet",
					Stable: judge.SideReport{N: all - canary, Value: p(0.0101)}, Canary: judge.SideReport{N: canary, Value: p(0.0095)},
					Ratio: &judge.Interval{Value: p(0.95), Low: p(0.61), High: p(1.42)}, LogE: 0.3, Threshold: math.Log(200),
					LogProof: math.Log(20) * min(at/40, 0.99), ProofThreshold: math.Log(20), Margin: "at most 1.5 times", MoreRequests: p(max(33*(40-at), 0)), MoreSeconds: p(max(40-at, 0))},
				{Name: "latency", Kind: judge.Latency, Verdict: judge.Pass, Required: true, Unit: "s", Reason: "proven",
					Stable: judge.SideReport{N: all - canary, Value: p(0.0842)}, Canary: judge.SideReport{N: canary, Value: p(0.0861)},
					Ratio: &judge.Interval{Value: p(1.02), Low: p(0.97), High: p(1.08)}, LogE: -2, Threshold: math.Log(330),
					LogProof: 3.2, ProofThreshold: math.Log(20), Margin: "p99 at most 1.2 times"},
			}}}
}

func tale() []store.StoredEvent {
	mk := func(id int64, s int, reason, msg string) store.StoredEvent {
		return store.StoredEvent{ID: id, Release: "hello", Event: rollout.Event{At: day.Add(time.Duration(s) * time.Second), Reason: reason, Message: msg, Run: "hello-2"}}
	}
	return []store.StoredEvent{
		mk(1, 0, "RunStarted", "A run from v1 to v2 started."),
		mk(2, 2, "StepStarted", "5% of the traffic goes to v2."),
		mk(3, 9, "StepStarted", "10% of the traffic goes to v2."),
	}
}
