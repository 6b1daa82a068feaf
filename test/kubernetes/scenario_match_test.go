package kubernetes

import (
	"fmt"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Requests with a header see the new version before all others, and only they;
// after an abort nobody does. A step that copies requests is refused where the
// gateway does not say that it copies any (Traefik does not): nothing is sent to
// the new version, and the Release says why.
func headerRouteAndMirror(s *scenario) {
	const plan = `{canary: {steps: [
		{weight: 0, minRequests: 10, matches: [{headers: [{name: X-Canary, exact: "yes"}]}], gates: [{person: true}]},
		{weight: 20, minRequests: 0, matches: [{headers: [{name: X-Canary, exact: "yes"}]}], require: noHarm, gates: [{person: true}]}]}, bake: 1s}`
	s.serve(2, plan, errorsOnly)
	users, tagged := s.load(50), s.load(50, "X-Canary: yes")
	s.to("v2")
	s.answers("v2", "X-Canary: yes")
	s.waits("waits for a person")
	since := time.Now()
	s.answered(users, 100)
	s.answered(tagged, 50)
	s.within(users, since, "v1", 1, 1)
	s.within(tagged, since, "v2", 1, 1)

	s.haldane("promote", "hello")
	s.has("v2", "20%")
	since = time.Now()
	s.answered(users, 200)
	s.within(users, since, "v2", 0.15, 0.25)
	s.within(tagged, since, "v2", 1, 1)
	s.haldane("abort", "hello")
	s.phase("v2", "Aborted")
	since = time.Now()
	s.answered(users, 50)
	s.answered(tagged, 50)
	s.within(users, since, "v1", 1, 1)
	s.within(tagged, since, "v1", 1, 1)
	s.atRest()

	s.declare(`{canary: {steps: [{weight: 0, mirror: 50, minRequests: 10}, {weight: 20, require: noHarm}]}, bake: 1s}`, errorsOnly)
	s.to("v3")
	s.waits("does not list HTTPRouteRequestMirror among its supported features")
	s.answered(users, 100)
	s.haldane("abort", "hello")
	s.phase("v3", "Aborted")
	s.whole(users, []string{"v1", "v2"})
	s.whole(tagged, []string{"v1", "v2"})
	s.atRest()
}

// Users who are known by a header go to the new version by cohorts that grow
// from step to step: whoever has seen it keeps it, and all are back with the old
// one after the rollback.
func sessionAffinity(s *scenario) {
	cohort := func(users string) string {
		return `{weight: 0, minRequests: 10, matches: [{headers: [{name: X-User, regexp: "` + users + `"}]}], require: noHarm, gates: [{person: true}]}`
	}
	s.serve(2, "{canary: {steps: ["+cohort("user-[0-1]")+", "+cohort("user-[0-4]")+"]}, bake: 10m}", errorsOnly)
	tr := s.load(50, "X-User: user-0")
	others := s.load(50, "X-User: user-9")
	s.to("v2")
	s.answers("v2", "X-User: user-0")
	few := s.versions()
	s.waits("waits for a person")
	s.haldane("promote", "hello")
	s.answers("v2", "X-User: user-4")
	more := s.versions()
	for user, version := range few {
		if version == "v2" && more[user] != "v2" {
			s.Errorf("%s was with v2 and went to %s", user, more[user])
		}
	}
	if want := split(2); !cmp.Equal(few, want) {
		s.Errorf("in the first step: %s", cmp.Diff(want, few))
	}
	if want := split(5); !cmp.Equal(more, want) {
		s.Errorf("in the second step: %s", cmp.Diff(want, more))
	}
	s.waits("waits for a person")
	s.fail("v2")
	s.phase("v2", "RolledBack")
	if want, got := split(0), s.versions(); !cmp.Equal(got, want) {
		s.Errorf("after the rollback: %s", cmp.Diff(want, got))
	}
	s.whole(tr, []string{"v1"}, "v2")
	s.whole(others, []string{"v1"})
	s.atRest()
}

// split says which version each of ten users has when the first n have v2.
func split(n int) map[string]string {
	out := map[string]string{}
	for i := range 10 {
		out[fmt.Sprintf("user-%d", i)] = "v1"
		if i < n {
			out[fmt.Sprintf("user-%d", i)] = "v2"
		}
	}
	return out
}

// versions asks for every user, five times in turn, which version answers.
func (s *scenario) versions() map[string]string {
	s.Helper()
	out := map[string]string{}
	for range 5 {
		for i := range 10 {
			user := fmt.Sprintf("user-%d", i)
			v, err := s.ask("X-User: " + user)
			if err != nil {
				s.Errorf("%s got no answer: %v", user, err)
				continue
			}
			if was, ok := out[user]; ok && was != v {
				s.Errorf("%s was answered by %s and by %s", user, was, v)
			}
			out[user] = v
		}
	}
	return out
}
