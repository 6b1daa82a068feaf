package kubernetes

import (
	"context"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A version whose pods crash at their start never gets a request, nor does the
// next bad one that takes its place; the good one behind them is promoted.
func goodBadGoodAndBadBad(s *scenario) {
	s.serve(2, quick, errorsOnly)
	before, _ := s.pods("v1")
	tr := s.load(60)
	s.to("v2", "BROKEN=1")
	s.until("v2 crashes", func() error { return s.crashing("v2") })
	s.to("v3", "BROKEN=1")
	s.until("v3 crashes", func() error { return s.crashing("v3") })
	s.untouched("v1", before)
	s.to("v4")
	s.phase("v4", "Promoted")
	s.whole(tr, []string{"v1", "v4"})
	h := s.history()
	for _, v := range []string{"v2", "v3"} {
		if p := h[v].Status.Phase; p != "Superseded" && p != "RolledBack" {
			s.Errorf("the run to %s is %s", v, p)
		}
	}
	if from := h["v4"].Status.From; from != "v1" {
		s.Errorf("the run to v4 is from %s", from)
	}
	s.atRest()
}

// A third version arrives while the second has traffic: the second's goes
// first, and the third begins from the first version and the first step.
func thirdVersionMidway(s *scenario) {
	s.serve(2, gated, errorsOnly)
	before, _ := s.pods("v1")
	tr := s.load(60)
	s.to("v2")
	s.has("v2", "10%")
	s.waits("waits for a person")
	s.haldane("promote", "hello")
	s.has("v2", "30%")
	s.answered(tr, 50)

	s.to("v3")
	s.has("v3", "10%")
	s.until("v3 answers", func() error { return answered(tr, "v3") })
	s.untouched("v1", before)
	if r := s.release().Status; r.Run.From != "v1" || r.Step != "1/4" {
		s.Errorf("the run to v3 is from %s and at step %s", r.Run.From, r.Step)
	}
	shots := tr.all()
	if gone, came := last(shots, "v2"), first(shots, "v3"); !gone.Before(came) {
		s.Errorf("v2 answered at %v, after v3 at %v", gone, came)
	}
	for _, next := range []string{"30%", "60%"} {
		s.waits("waits for a person")
		s.haldane("promote", "hello")
		s.has("v3", next)
	}
	s.waits("waits for a person")
	s.haldane("promote", "hello")
	s.phase("v3", "Promoted")
	s.whole(tr, []string{"v1", "v2", "v3"})
	if p := s.history()["v2"].Status; p.Phase != "Superseded" || p.Cause != "NewerVersion" {
		s.Errorf("the run to v2 is %s, for %s", p.Phase, p.Cause)
	}
	s.atRest()
}

// Nothing is analysed, and the image does not exist: the version is rolled back
// all the same, by its instances.
func badImageWithAnalysisSkipped(s *scenario) {
	s.serve(2, "{canary: {steps: [{weight: 50, require: none}]}, bake: 1s}", errorsOnly)
	before, _ := s.pods("v1")
	tr := s.load(60)
	s.deployImage("v2", "haldane.test/absent:1", 2)
	s.phase("v2", "RolledBack")
	s.whole(tr, []string{"v1"})
	s.untouched("v1", before)
	if r := s.release().Status.Run; r.Cause != "NotReady" || !contains(r.Why, "ErrImageNeverPull") {
		s.Errorf("the cause is %s: %s", r.Cause, r.Why)
	}
	s.event("Warning", "RunRolledBack", "ErrImageNeverPull")
	s.atRest()
}

// `kubectl rollout undo` within the window is a way back at once, without steps
// and evidence; a version that is not the one before is a release like any other.
func rollbackWindow(s *scenario) {
	const plan = "{canary: {steps: [{weight: 10, minRequests: 10}, {weight: 50, minRequests: 30, require: noHarm}]}, rollbackWindow: 1h, bake: 1s}"
	s.serve(2, plan, errorsOnly)
	tr := s.load(60)
	s.to("v2")
	s.phase("v2", "Promoted")
	s.undo()
	s.phase("v1", "Promoted")
	if r := s.release().Status.Run; !slices.Equal(r.Steps, []string{"100%"}) || r.CanaryRequests != 0 || r.From != "v2" {
		s.Errorf("inside the window the run was %+v", r)
	}
	if seen := s.shares("v1"); slices.Contains(seen, "10%") {
		s.Errorf("v1 had the shares %v on its way back", seen)
	}
	s.event("Normal", "RunPromoted", "v1 serves all of the traffic in place of v2")

	s.to("v3")
	s.phase("v3", "Promoted")
	s.to("v2") // it served before v1 did
	s.phase("v2", "Promoted")
	if r := s.release().Status.Run; len(r.Steps) != 3 || r.CanaryRequests == 0 {
		s.Errorf("outside of the window the run was %+v", r)
	}
	s.whole(tr, []string{"v1", "v2", "v3"})
	s.atRest()
}

// A person goes forward step by step and to the end, never to a share that the
// plan does not have; a plan that is shortened midway holds from the next run
// on; deleting the Release midway gives back the routes and the Deployment.
func jumpRemovedStepsAndDelete(s *scenario) {
	s.serve(2, gated, errorsOnly)
	tr := s.load(60)
	s.to("v2")
	s.waits("waits for a person")
	s.haldane("promote", "hello")
	s.has("v2", "30%")

	s.declare("{canary: {steps: [{weight: 20, minRequests: 0, gates: [{person: true}]}]}, bake: 1s}", errorsOnly)
	s.until("the shorter plan is taken in", func() error { return s.observed() })
	s.has("v2", "30%")
	s.waits("waits for a person")
	s.haldane("promote", "hello")
	s.has("v2", "60%")
	s.haldane("promote", "hello", "--full")
	s.phase("v2", "Promoted")
	if seen := s.shares("v2"); slices.Contains(seen, "20%") {
		s.Errorf("v2 had the shares %v", seen)
	}
	s.atRest()

	s.to("v3")
	s.has("v3", "20%")
	since := time.Now()
	s.answered(tr, 200)
	s.within(tr, since, "v3", 0.15, 0.25)
	if err := s.Dynamic.Resource(releases).Namespace(s.ns).Delete(context.Background(), "hello", metav1.DeleteOptions{}); err != nil {
		s.Fatal(err)
	}
	s.until("the Release is gone", func() error {
		_, err := s.Dynamic.Resource(releases).Namespace(s.ns).Get(context.Background(), "hello", metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			return &still{err}
		}
		return nil
	})
	s.atRest()
	for _, name := range []string{"hello-stable", "hello-canary"} {
		if _, err := s.Client.CoreV1().Services(s.ns).Get(context.Background(), name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			s.Errorf("Service %s: %v", name, err)
		}
	}
	if d := s.deployment(); d.Spec.Paused || d.Labels["haldane.dev/release"] != "" || len(d.Annotations) != 1 {
		s.Errorf("the Deployment is paused %v, its labels %v and annotations %v", d.Spec.Paused, d.Labels, d.Annotations)
	}
	s.until("the Deployment has rolled out by itself", func() error {
		if d := s.deployment(); d.Status.UpdatedReplicas != 2 || d.Status.Replicas != 2 || d.Status.AvailableReplicas != 2 {
			return &still{}
		}
		return nil
	})
	s.answers("v3")
	s.whole(tr, []string{"v1", "v2", "v3"})
}

// still says that what is waited for is not so yet.
type still struct{ err error }

func (s *still) Error() string {
	if s.err != nil {
		return "not yet: " + s.err.Error()
	}
	return "not yet"
}

// observed tells an error until the spec was acted on.
func (s *scenario) observed() error {
	if r := s.release(); r.Status.ObservedGeneration < r.Generation {
		return &still{}
	}
	return nil
}

// undo is what a user does to go back.
func (s *scenario) undo() {
	s.Helper()
	s.kubectl("rollout", "undo", "deployment/hello")
}

// crashing tells an error until a version's pod was started again.
func (s *scenario) crashing(version string) error {
	if uids, restarts := s.pods(version); len(uids) == 0 || restarts == 0 {
		return &still{}
	}
	return nil
}
