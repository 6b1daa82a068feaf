package kubernetes

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A version that turns bad while a person has paused the run, in a step that
// holds for minutes: neither is waited for.
func analysisFailsDuringAPause(s *scenario) {
	s.serve(2, "{canary: {steps: [{weight: 20, hold: 30m}]}, bake: 1s}", errorsOnly)
	tr := s.load(60)
	s.to("v2")
	s.has("v2", "20%")
	s.haldane("pause", "hello", "--reason", "lunch")
	if m := s.is("Paused"); !contains(m, "lunch") {
		s.Errorf("it says %s", m)
	}
	s.event("Normal", "RunPaused", "lunch")
	s.answered(tr, 100)
	s.fail("v2")
	s.phase("v2", "RolledBack")
	off := time.Now()
	s.answered(tr, 100)
	s.within(tr, off, "v1", 1, 1)
	if r := s.release().Status.Run; r.Cause != "VerdictFail" {
		s.Errorf("the cause is %s: %s", r.Cause, r.Why)
	}
	s.whole(tr, []string{"v1"}, "v2")
	s.atRest()
}

// Too few requests for a proof: at the step's deadline the run pauses and says
// what is missing; a person who promotes lets it go on.
func inconclusive(s *scenario) {
	s.serve(2, "{canary: {steps: [{weight: 20, minRequests: 1, require: proven, deadline: 5s}]}, bake: 1s}", errorsOnly)
	tr := s.load(20)
	s.to("v2")
	if m := s.is("Paused"); !contains(m, "no verdict") {
		s.Errorf("it says %s", m)
	}
	if v := s.release().Status.Verdict; v != "Inconclusive" {
		s.Errorf("the verdict is %s", v)
	}
	s.event("Warning", "Inconclusive", "the step needs proof")
	since := time.Now()
	s.answered(tr, 60)
	s.within(tr, since, "v2", 0.1, 0.3)
	s.haldane("promote", "hello")
	s.phase("v2", "Promoted")
	s.whole(tr, []string{"v1", "v2"})
	s.atRest()
}

// A gate for a person before anything rises, one that a webhook holds shut; a
// metric that is only watched ends nothing, however bad; one that is not, does.
func manualGatesAndDryRun(s *scenario) {
	var open, asked atomic.Bool
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Store(true)
		if !open.Load() {
			http.Error(w, "not on a Friday", http.StatusForbidden)
		}
	}))
	s.Cleanup(hook.Close)
	s.serve(2, `{canary: {steps: [
		{weight: 0, minRequests: 0, require: none, gates: [{person: true}]},
		{weight: 30, minRequests: 10, require: noHarm, gates: [{webhook: {url: "`+hook.URL+`"}}]}]}, bake: 10m}`,
		errorsOnly+", {name: latency, kind: latency, onFail: watch}")
	tr := s.load(50)
	s.to("v2", "LATENCY=300ms")
	s.waits("waits for a person")
	s.answered(tr, 50)
	if !last(tr.all(), "v2").IsZero() {
		s.Error("v2 answered before the first gate said yes")
	}
	s.haldane("promote", "hello")
	s.has("v2", "30%")
	s.waits("not on a Friday")
	s.event("Warning", "GateClosed", "not on a Friday")
	s.until("the latency is found to be worse", func() error {
		for _, m := range s.release().Status.Run.Metrics {
			if m.Name == "latency" && m.Verdict == "Fail" {
				return nil
			}
		}
		return &still{}
	})
	since := time.Now()
	s.answered(tr, 300)
	s.within(tr, since, "v2", 0.2, 0.4)
	open.Store(true)
	s.has("v2", "100%")
	s.phase("v2", "Baking")
	s.haldane("promote", "hello")
	s.phase("v2", "Promoted")

	open.Store(false)
	s.to("v3")
	s.waits("waits for a person")
	s.haldane("promote", "hello")
	s.has("v3", "30%")
	s.waits("not on a Friday")
	s.fail("v3")
	s.phase("v3", "RolledBack")
	s.condition("Stalled", metav1.ConditionTrue, "RolledBack")
	s.whole(tr, []string{"v1", "v2"}, "v3")
	if !asked.Load() {
		s.Error("the webhook was never asked")
	}
	s.atRest()
}
