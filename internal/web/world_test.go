package web

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/manifest"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
)

// now is the moment at which the pages of the tests are looked at.
var now = time.Date(2026, 3, 4, 10, 15, 0, 0, time.UTC)

const helloManifest = `
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: {name: hello}
spec:
  version: v2
  workload:
    process: {command: [python3, app.py], replicas: 2, ready: {http: /hello}}
  traffic:
    embedded: {listen: "127.0.0.1:8080"}
  strategy:
    canary: {steps: [{weight: "5%"}, {weight: "10%"}, {weight: "50%"}]}
  analysis:
    metrics:
    - {name: errors, kind: errors}
    - {name: latency, kind: latency, margin: "20%"}
`

func ptr[T any](v T) *T { return &v }

func testVersion(name string) release.Version {
	return release.NewVersion(name, release.Workload{Process: &release.Process{Command: []string{"python3", "app.py"}}})
}

var testPlan = release.Plan{Kind: release.Canary, Steps: []release.Step{
	{Weight: 500, Hold: 30 * time.Second, MinRequests: 50, Require: release.NoHarm, Looseness: 1, Capacity: 500},
	{Weight: 1000, Hold: 30 * time.Second, MinRequests: 50, Require: release.NoHarm, Looseness: 1, Capacity: 1000},
	{Weight: 5000, Hold: time.Minute, MinRequests: 50, Require: release.Proven, Looseness: 1, Capacity: 5000},
	{Weight: release.Full, Require: release.None, Looseness: 1, Capacity: release.Full},
}}

// reportAt is a judge's report t seconds into a run: bad makes errors of the
// canary speak against it.
func reportAt(t float64, bad bool) judge.Report {
	canary, stable := int64(t*9), int64(t*80)
	logE, ratio, verdict := 0.6*math.Sin(t/20), 1.05, judge.Inconclusive
	reason := fmt.Sprintf("Nothing is worse so far; about %d more requests are needed for errors.", 3100-canary)
	if bad {
		logE, ratio = t/11, 4.6
		reason = "Errors are 4.6 times as many as stable's; the evidence is 1 : 4300."
	}
	if bad && logE > 6 {
		verdict = judge.Fail
	}
	wide := 2.6 / math.Sqrt(1+t/25)
	proof := math.Max(0, t/55)
	if bad {
		proof = 0
	}
	return judge.Report{
		Verdict: verdict, Reason: reason, LogE: logE * 0.9, Threshold: math.Log(100), Canary: canary, Stable: stable, At: t,
		Metrics: []judge.MetricReport{
			{Name: "errors", Kind: judge.Proportion, Verdict: verdict, Required: true, Reason: reason,
				Stable: judge.SideReport{N: stable, Bad: stable / 244, Value: ptr(0.0041)}, Canary: judge.SideReport{N: canary, Bad: canary / 230, Value: ptr(0.0041 * ratio)},
				Ratio: &judge.Interval{Value: ptr(ratio), Low: ptr(ratio * math.Exp(-wide/2)), High: ptr(ratio * math.Exp(wide/2))},
				LogE:  logE, Threshold: math.Log(200), LogProof: proof, ProofThreshold: math.Log(20), Margin: "at most 1.5 times or 0.1% more", MoreRequests: ptr(3100 - float64(canary))},
			{Name: "latency", Kind: judge.Latency, Verdict: judge.Pass, Required: true, Unit: "s", Reason: "Proven to be within the margin.",
				Stable: judge.SideReport{N: stable, Value: ptr(0.084)}, Canary: judge.SideReport{N: canary, Value: ptr(0.086)},
				Ratio: &judge.Interval{Value: ptr(1.02), Low: ptr(0.97 - wide/20), High: ptr(1.08 + wide/20)},
				LogE:  0.3, Threshold: math.Log(200), LogProof: t / 30, ProofThreshold: math.Log(20), Margin: "at most 1.2 times at p99"},
			{Name: "cpu", Kind: judge.Gauge, Verdict: judge.Inconclusive, Unit: "cores", Reason: "Only shown: nothing speaks against it.",
				Stable: judge.SideReport{N: 40, Value: ptr(0.31)}, Canary: judge.SideReport{N: 40, Value: ptr(0.34)},
				Ratio: &judge.Interval{Value: ptr(1.1), Low: ptr(0.7)}, LogE: 0.2, Threshold: math.Log(400)},
		},
	}
}

// history fills a store's looks and events of a run of so many seconds.
func history(m *memory, name string, run rollout.Run, seconds int, bad bool) {
	steps := []struct {
		from   int
		weight release.Weight
	}{{4, 500}, {60, 1000}, {120, 5000}}
	event := func(at time.Time, reason, message, by string, warning bool) {
		m.events = append(m.events, store.StoredEvent{ID: int64(len(m.events) + 1), Release: name,
			Event: rollout.Event{At: at, Reason: reason, Message: message, Run: run.ID, By: by, Warning: warning}})
	}
	event(run.Started, "RunStarted", fmt.Sprintf("Run from %s to %s began: 5%%, 10%%, 50%%, 100%%.", run.From.Name, run.To.Name), "", false)
	for i, s := range steps {
		if s.from < seconds {
			event(run.Started.Add(time.Duration(s.from)*time.Second), "StepStarted", fmt.Sprintf("Step %d of 4: %d%% of the traffic goes to %s.", i+1, s.weight/100, run.To.Name), "", false)
		}
	}
	for t := 4; t < seconds; t++ {
		l := store.Look{Run: run.ID, At: run.Started.Add(time.Duration(t) * time.Second), Report: reportAt(float64(t), bad)}
		for i, s := range steps {
			if t >= s.from {
				l.Step, l.Weight = i, s.weight
			}
		}
		l.Seen = float64(l.Weight) / 10000 * (1 + 0.12*math.Sin(float64(t)*1.7))
		m.looks[run.ID] = append(m.looks[run.ID], l)
	}
	if bad {
		event(run.Started.Add(time.Duration(seconds)*time.Second), "RunRolledBack", fmt.Sprintf("%s was rolled back: errors are 4.6 times as many.", run.To.Name), "", true)
	}
}

func newRun(name string, seq int, from, to release.Version, started time.Time) rollout.Run {
	return rollout.Run{ID: fmt.Sprintf("%s-%d", name, seq), From: &from, To: to, Plan: testPlan, Phase: rollout.Progressing, Started: started, Entered: started}
}

// live puts a release into the store that is in the second step of a run.
func live(m *memory, name string) store.Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	v1, v2 := testVersion("v1"), testVersion("v2")
	run := newRun(name, 7, v1, v2, now.Add(-100*time.Second))
	run.Step = 1
	history(m, name, run, 100, false)
	looks := m.looks[run.ID]
	obj, _, err := manifest.Parse("test", []byte(strings.Replace(helloManifest, "name: hello", "name: "+name, 1)))
	if err != nil {
		panic(err)
	}
	doc, _ := manifest.Canonical(obj)
	rec := store.Record{Name: name, UID: "u-" + name, Generation: 7, Manifest: doc, Created: now.Add(-time.Hour), Applied: run.Started, Revision: 3,
		State: rollout.State{Stable: &v1, Run: &run, RunSeq: 7}, Look: &looks[len(looks)-1],
		Observed: store.Observed{At: now, Fleet: []rollout.ObservedGroup{{Version: v1.ID, Ready: 2, Total: 2}, {Version: v2.ID, Ready: 1, Total: 1}},
			Split: release.Split{Shares: []release.Share{{Version: v1.ID, Weight: 9000}, {Version: v2.ID, Weight: 1000}}}}}
	for seq := 1; seq < 7; seq++ {
		old := newRun(name, seq, v1, testVersion(fmt.Sprintf("v1.%d", seq)), now.Add(-time.Duration(8-seq)*time.Hour))
		old.Phase, old.Ended, old.Why = rollout.Promoted, old.Started.Add(9*time.Minute), "every step passed"
		if seq%3 == 0 {
			old.Phase, old.Cause, old.Why, old.TrafficOff = rollout.RolledBack, rollout.CauseVerdict, "errors are 4.6 times as many as stable's", old.Started.Add(72*time.Second)
			old.Ended = old.Started.Add(75 * time.Second)
			history(m, name, old, 72, true)
		}
		rep := reportAt(72, seq%3 == 0)
		m.runs = append(m.runs, store.RunRecord{Release: name, Run: old, Last: &rep})
	}
	m.runs = append(m.runs, store.RunRecord{Release: name, Run: run, Last: &rec.Look.Report})
	m.recs[name] = rec
	return rec
}

// idle puts a release at rest into the store.
func idle(m *memory, name string) store.Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := testVersion("v3")
	run := rollout.Run{ID: name + "-1", To: v, Phase: rollout.Promoted, Started: now.Add(-3 * time.Hour), Ended: now.Add(-2 * time.Hour)}
	rec := store.Record{Name: name, UID: "u-" + name, Generation: 1, Manifest: json.RawMessage(`{"metadata":{"name":"` + name + `"}}`), Created: now.Add(-4 * time.Hour),
		State: rollout.State{Stable: &v, Run: &run, RunSeq: 1},
		Observed: store.Observed{At: now, Fleet: []rollout.ObservedGroup{{Version: v.ID, Ready: 3, Total: 3}},
			Split: release.Split{Shares: []release.Share{{Version: v.ID, Weight: release.Full}}}}}
	m.recs[name] = rec
	m.runs = append(m.runs, store.RunRecord{Release: name, Run: run})
	return rec
}

// showcase fills a store with one release in every state that pages show.
func showcase(m *memory) {
	live(m, "hello")
	idle(m, "search")
	back := live(m, "checkout")
	run := *back.State.Run
	run.Phase, run.Cause, run.Why, run.Step = rollout.RolledBack, rollout.CauseVerdict, "errors are 4.6 times as many as stable's (always-valid interval 2.8 to 7.7)", 1
	run.Ended, run.TrafficOff = now.Add(-20*time.Second), now.Add(-25*time.Second)
	m.looks[run.ID] = nil
	history(m, "checkout", run, 72, true)
	back.State.Run = &run
	back.Look = &m.looks[run.ID][len(m.looks[run.ID])-1]
	back.Observed.Split.Shares = []release.Share{{Version: run.From.ID, Weight: release.Full}}
	back.Observed.Fleet = back.Observed.Fleet[:1]
	m.recs["checkout"] = back
	wait := live(m, "recommender")
	r := *wait.State.Run
	r.Paused = &rollout.Pause{Since: now.Add(-4 * time.Minute), Reason: "cpu of v2 is 1.9 times stable's; a person should look", Person: false}
	wait.State.Run = &r
	look := *wait.Look
	look.Report = answering(look.Report)
	wait.Look = &look
	m.recs["recommender"] = wait
	v := testVersion("v1")
	first := rollout.Run{ID: "ocr-1", To: v, Phase: rollout.Preparing, Started: now.Add(-9 * time.Second)}
	m.recs["ocr"] = store.Record{Name: "ocr", Manifest: json.RawMessage(`{"metadata":{"name":"ocr"}}`), Applied: first.Started, State: rollout.State{Run: &first},
		Observed: store.Observed{At: now, Fleet: []rollout.ObservedGroup{{Version: v.ID, Ready: 0, Total: 2, Error: "python3 app.py: exit status 1 (ModuleNotFoundError: No module named 'flask')"}}}}
	for i, a := range []string{"apply", "pause", "resume", "promote", "abort"} {
		m.audit = append(m.audit, store.Audit{ID: int64(i + 1), At: now.Add(time.Duration(i-9) * time.Minute), Actor: store.Actor{Subject: "ada", From: "10.1.7.21"}, Action: a, Release: "hello", Detail: "before the sale begins"})
	}
}

// answering is a report with what models' answers show, and what could mislead.
func answering(rep judge.Report) judge.Report {
	side := func(n int64, value, low, high float64) judge.SideReport {
		return judge.SideReport{N: n, Value: &value, Low: &low, High: &high}
	}
	ratio := func(value, low, high float64) *judge.Interval {
		return &judge.Interval{Value: &value, Low: &low, High: &high}
	}
	rep.Metrics = append(slices.Clone(rep.Metrics),
		judge.MetricReport{Name: "time-to-first-token", Kind: judge.Amount, Unit: "s", Verdict: judge.Inconclusive, Reason: "time-to-first-token: nothing is worse so far; about 310 more requests are needed to prove it at most 1.2 times.",
			Stable: side(2104, 0.212, 0.2, 0.226), Canary: side(118, 0.231, 0.19, 0.28), Ratio: ratio(1.09, 0.9, 1.3), LogE: 0.7, Threshold: 7, Margin: "at most 1.2 times"},
		judge.MetricReport{Name: "refusal", Kind: judge.Proportion, Verdict: judge.Inconclusive, Reason: "refusal: nothing is worse so far.",
			Stable: side(2104, 0.012, 0.008, 0.02), Canary: side(118, 0.017, 0, 0.07), Ratio: ratio(1.4, 0.2, 6), Threshold: 7, Margin: "at most 1.5 times or 0.1 % more"},
		judge.MetricReport{Name: "finish-reason", Kind: judge.Category, Verdict: judge.Fail, ClassName: "length", Reason: `finish-reason: the canary's distribution differs from stable's, most in "length": 31 % against 4 %; without a difference one sees so much with a chance of 1 : 4 300 at most.`,
			Stable: side(2104, 0.04, 0.03, 0.06), Canary: side(118, 0.31, 0.2, 0.43), LogE: 8.4, Threshold: 5.3})
	rep.Caveats = []string{
		"The prefix cache of v2 was cold in its first 60 s: it knew 4 % of its input, v1's knew 61 %. analysis.warmUp leaves that time out.",
		"rude: of 40 questions to the evaluator 12 brought no verdict and count for nothing (9 were answered with something else than was asked for, 3 failed); the last: ask the evaluator: context deadline exceeded.",
	}
	return rep
}

// busy is what the versions of showcase do now.
func busy(name string) []Rate {
	if name == "search" {
		return nil
	}
	return []Rate{
		{Version: testVersion("v1").ID, Requests: 81.4, Errors: 0.0041, Latency: 0.031, CPU: ptr(0.62), Memory: ptr(148e6)},
		{Version: testVersion("v2").ID, Requests: 9.1, Errors: 0.0043, Latency: 0.032, CPU: ptr(0.08), Memory: ptr(151e6), Restarts: 1},
	}
}
