package kubernetes

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// quick is a plan whose steps ask for little evidence, so that a scenario is
// over soon.
const quick = "{canary: {steps: [{weight: 10, minRequests: 10}, {weight: 30, minRequests: 30}, {weight: 60, minRequests: 60, require: noHarm}]}, bake: 2s}"

// gated is a plan whose steps are left when a person says so.
const gated = `{canary: {steps: [
	{weight: 10, minRequests: 0, gates: [{person: true}]},
	{weight: 30, minRequests: 0, gates: [{person: true}]},
	{weight: 60, minRequests: 0, require: noHarm, gates: [{person: true}]}]}, bake: 2s}`

// A good version under load: its weight climbs, it becomes the stable one, and
// nobody notices.
func goodCanaryToTheEnd(s *scenario) {
	s.serve(2, quick, errorsOnly)
	tr := s.load(60)
	s.to("v2")
	s.phase("v2", "Baking", "Finishing", "Promoted")
	baked, _ := s.pods("v2")
	s.phase("v2", "Promoted")
	s.answered(tr, 50)
	s.whole(tr, []string{"v1", "v2"})
	var climb []string
	for _, w := range s.shares("v2") {
		if w != "0%" {
			climb = append(climb, w)
		}
	}
	if !slices.Equal(climb, []string{"10%", "30%", "60%", "100%"}) {
		s.Errorf("the weight went %v", climb)
	}
	s.untouched("v2", baked)
	s.event("Normal", "RunPromoted", "v2 serves all of the traffic in place of v1")
	s.condition("Ready", metav1.ConditionTrue, "Idle")
	s.atRest()
	if d := s.deployment(); d.Spec.Paused || s.release().Status.Stable.Name != "v2" {
		s.Errorf("at rest: paused %v, stable %+v", d.Spec.Paused, s.release().Status.Stable)
	}
}

// A version that answers 500: its traffic goes back, and stable was never
// touched.
func rollbackOn5xx(s *scenario) {
	s.serve(2, quick, errorsOnly)
	before, _ := s.pods("v1")
	tr := s.load(60)
	s.to("v2", "ERRORS=0.5")
	s.phase("v2", "RolledBack")
	off := time.Now()
	s.answered(tr, 100)
	s.within(tr, off, "v1", 1, 1)
	s.whole(tr, []string{"v1"}, "v2")
	s.untouched("v1", before)
	s.event("Warning", "RunRolledBack", "all of the traffic goes back to v1")
	s.condition("Ready", metav1.ConditionFalse, "RolledBack")
	s.condition("Stalled", metav1.ConditionTrue, "RolledBack")
	if r := s.release().Status.Run; r.Cause != "VerdictFail" || !contains(r.Why, "errors") {
		s.Errorf("the cause is %s: %s", r.Cause, r.Why)
	}
	s.atRest()
}

// A version that answers well but late: no peer's suite tries the failing side.
func latencyRegression(s *scenario) {
	s.serve(2, "{canary: {steps: [{weight: 30}]}, bake: 2s}", errorsOnly+", {name: latency, kind: latency}")
	tr := s.load(60)
	s.to("v2", "LATENCY=400ms")
	s.phase("v2", "RolledBack")
	s.whole(tr, []string{"v1", "v2"})
	if r := s.release().Status.Run; r.Cause != "VerdictFail" || !contains(r.Why, "latency") {
		s.Errorf("the cause is %s: %s", r.Cause, r.Why)
	}
	s.event("Warning", "RunRolledBack", "latency")
	s.atRest()
}

// After a failed release, writing the old version again starts nothing; a new
// one starts a run, which succeeds.
func failedReleaseThenRetry(s *scenario) {
	s.serve(2, quick, errorsOnly)
	before, _ := s.pods("v1")
	tr := s.load(60)
	s.to("v2", "ERRORS=0.5")
	s.phase("v2", "RolledBack")
	failed := s.release().Status.Run.Name

	s.to("v1")
	s.isReady()
	s.answered(tr, 100)
	if run := s.release().Status.Run.Name; run != failed {
		s.Errorf("run %s began when the version that serves was written again", run)
	}
	s.untouched("v1", before)
	if d := s.deployment(); d.Spec.Paused {
		s.Error("the Deployment is still paused")
	}

	s.to("v3")
	s.phase("v3", "Promoted")
	s.whole(tr, []string{"v1", "v3"}, "v2")
	if h := s.history(); h["v2"].Status.Phase != "RolledBack" || h["v3"].Status.From != "v1" {
		s.Errorf("the history is %+v", h)
	}
	s.atRest()
}

// A person aborts, tries again from the first step, and promotes step by step.
func abortRetryPromote(s *scenario) {
	s.serve(2, gated, errorsOnly)
	tr := s.load(60)
	s.to("v2")
	s.waits("waits for a person")
	s.haldane("promote", "hello")
	s.has("v2", "30%")

	s.haldane("abort", "hello", "--reason", "not today")
	s.phase("v2", "Aborted")
	off := time.Now()
	s.answered(tr, 100)
	s.within(tr, off, "v1", 1, 1)
	s.condition("Ready", metav1.ConditionFalse, "Aborted")
	s.condition("Stalled", metav1.ConditionTrue, "Aborted")
	s.event("Warning", "RunAborted", "not today")
	aborted := s.release().Status.Run.Name

	s.haldane("retry", "hello")
	s.has("v2", "10%")
	if r := s.release().Status; r.Step != "1/4" || r.Run.Name == aborted {
		s.Errorf("tried again, run %s is at step %s", r.Run.Name, r.Step)
	}
	for _, next := range []string{"30%", "60%"} {
		s.waits("waits for a person")
		s.haldane("promote", "hello")
		s.has("v2", next)
	}
	s.waits("waits for a person")
	s.haldane("promote", "hello")
	s.phase("v2", "Promoted")
	s.whole(tr, []string{"v1", "v2"})
	s.atRest()
}

// A person promotes to the end, past steps and evidence; an abort works after
// that still.
func promoteFull(s *scenario) {
	const slow = "{canary: {steps: [{weight: 10, hold: 30m}, {weight: 50, hold: 30m}]}, bake: 10m}"
	s.serve(2, slow, errorsOnly)
	tr := s.load(60)
	s.to("v2")
	s.has("v2", "10%")
	s.haldane("promote", "hello", "--full")
	s.has("v2", "100%")
	s.phase("v2", "Baking")
	all := time.Now()
	s.answered(tr, 100)
	s.within(tr, all, "v2", 1, 1)
	if seen := s.shares("v2"); slices.Contains(seen, "50%") {
		s.Errorf("the shares were %v, expected no step between", seen)
	}

	s.haldane("abort", "hello")
	s.phase("v2", "Aborted")
	back := time.Now()
	s.answered(tr, 100)
	s.within(tr, back, "v1", 1, 1)
	s.atRest()

	s.haldane("retry", "hello")
	s.has("v2", "10%")
	s.haldane("promote", "hello", "--full")
	s.phase("v2", "Baking")
	s.haldane("promote", "hello") // ends the bake
	s.phase("v2", "Promoted")
	s.whole(tr, []string{"v1", "v2"})
	s.atRest()
}
