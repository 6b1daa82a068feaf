package kubernetes

import (
	"fmt"
	"time"
)

// A version that fails for those who look at it before the switch is never
// switched to; one that turns bad after the switch is switched back from, by an
// absolute limit, since nothing is left to compare it with.
func preAndPostPromotionAnalysisBlueGreen(s *scenario) {
	const plan = `{blueGreen: {preview: {headers: [{name: X-Preview, exact: "yes"}]}, require: noHarm}, bake: 10m}`
	s.serve(2, plan, `{name: errors, kind: errors, limit: "<= 5%"}`)
	before, _ := s.pods("v1")
	users := s.load(50)
	viewers := s.load(50, "X-Preview: yes")

	s.to("v2", "ERRORS=0.5")
	s.phase("v2", "RolledBack")
	if r := s.release().Status.Run; r.Cause != "VerdictFail" {
		s.Errorf("before the switch the cause is %s: %s", r.Cause, r.Why)
	}
	if len(s.shares("v2")) > 0 && s.shares("v2")[len(s.shares("v2"))-1] == "100%" {
		s.Errorf("the shares of v2 were %v", s.shares("v2"))
	}
	s.untouched("v1", before)

	s.to("v3")
	s.phase("v3", "Baking")
	switched := time.Now()
	s.answered(users, 100)
	s.within(users, switched, "v3", 1, 1)
	s.untouched("v1", before)
	s.fail("v3")
	s.phase("v3", "RolledBack")
	back := time.Now()
	s.answered(users, 100)
	s.within(users, back, "v1", 1, 1)
	if r := s.release().Status.Run; r.Cause != "VerdictFail" {
		s.Errorf("after the switch the cause is %s: %s", r.Cause, r.Why)
	}
	s.untouched("v1", before)
	s.whole(users, []string{"v1"}, "v3")
	s.whole(viewers, []string{"v1"}, "v2", "v3")
	s.atRest()
}

// The old version is kept whole for the bake and goes then; a version that is
// not ready in time is given up, and the active one is untouched.
func blueGreenDelayedScaleDownAndDeadline(s *scenario) {
	s.serve(2, "{blueGreen: {}, bake: 8s, readyDeadline: 15s}", errorsOnly)
	tr := s.load(60)
	s.to("v2")
	s.until("v2 answers", func() error { return answered(tr, "v2") })
	s.until("a pod of v1 goes", func() error {
		if old, _ := s.pods("v1"); len(old) == 2 {
			return &still{}
		}
		return nil
	})
	if kept := time.Since(first(tr.all(), "v2")); kept < 8*time.Second {
		s.Errorf("v1 was kept for %v after the switch, expected 8 s at least", kept)
	}
	s.phase("v2", "Promoted")
	s.until("v1 is gone", func() error {
		if old, _ := s.pods("v1"); len(old) > 0 {
			return fmt.Errorf("%d pods run", len(old))
		}
		return nil
	})
	active, _ := s.pods("v2")

	s.to("v3", "UNREADY=1")
	s.phase("v3", "RolledBack")
	if r := s.release().Status.Run; r.Cause != "NotReady" {
		s.Errorf("the cause is %s: %s", r.Cause, r.Why)
	}
	s.event("Warning", "RunRolledBack", "0 of 2 instances were ready")
	s.untouched("v2", active)
	s.whole(tr, []string{"v1", "v2"})
	s.atRest()
}
