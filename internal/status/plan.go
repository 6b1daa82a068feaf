package status

import (
	"fmt"
	"strings"
	"time"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
)

// Plan says in sentences what applying a release would do; st is what is kept
// of it now, nil for a new one.
func Plan(rel release.Release, st *rollout.State) []string {
	to := rel.Version.Name
	switch {
	case st == nil || st.Stable == nil:
		return []string{fmt.Sprintf("%s would start as the first version with %s and serve all of the traffic once ready; there is nothing to compare it with.", to, count(rel.Replicas, "instance", "instances"))}
	case st.Stable.ID == rel.Version.ID && active(st):
		return []string{fmt.Sprintf("The run to %s would be aborted: %s is what serves.", st.Run.To.Name, to)}
	case st.Stable.ID == rel.Version.ID:
		return []string{fmt.Sprintf("%s serves already: no run would start.", to)}
	}
	var out []string
	switch {
	case active(st) && st.Run.To.ID == rel.Version.ID:
		return []string{fmt.Sprintf("The run to %s goes on with the plan that it began with; a changed strategy or analysis holds from the next run on.", to)}
	case active(st):
		out = append(out, fmt.Sprintf("The run to %s would end first: its traffic goes back to %s.", st.Run.To.Name, st.Stable.Name))
	case st.Rejected == rel.Version.ID:
		return []string{fmt.Sprintf("%s was rolled back before: it would not start again by itself; ask with `haldane retry`.", to)}
	}
	out = append(out, fmt.Sprintf("A run from %s to %s would start.", st.Stable.Name, to))
	plan := rel.Strategy.Compile(rel.Analysis, rel.Replicas)
	for i, s := range plan.Steps {
		out = append(out, fmt.Sprintf("Step %d of %d: %s", i+1, len(plan.Steps), stepSentence(s, rel)))
	}
	if plan.Bake > 0 {
		out = append(out, fmt.Sprintf("Then %s is kept ready for %s, for an instant way back.", st.Stable.Name, Duration(plan.Bake)))
	}
	return append(out, risk(rel.Analysis))
}

func active(st *rollout.State) bool { return st.Run != nil && !st.Run.Phase.Ended() }

func stepSentence(s release.Step, rel release.Release) string {
	var b strings.Builder
	n := instancesFor(s.Capacity, rel.Replicas)
	fmt.Fprintf(&b, "%s of the traffic, %d of %s", Percent(s.Weight), n, count(rel.Replicas, "instance", "instances"))
	if s.Mirror > 0 {
		fmt.Fprintf(&b, ", a copy of %s of the requests", Percent(s.Mirror))
	}
	if len(s.Matches) > 0 {
		b.WriteString(", and the requests that match " + count(len(s.Matches), "rule", "rules"))
	}
	if s.Weight == release.Full {
		return b.String() + "."
	}
	b.WriteString(", left when ")
	b.WriteString(strings.Join(conditionsToLeave(s), ", "))
	return b.String() + "."
}

func conditionsToLeave(s release.Step) []string {
	var c []string
	if s.Hold > 0 {
		c = append(c, "at least "+Duration(s.Hold)+" passed")
	}
	if s.MinRequests > 0 {
		c = append(c, "at least "+count(int(s.MinRequests), "request was", "requests were")+" answered")
	}
	switch s.Require {
	case release.Proven:
		c = append(c, "every required metric is proven to be within its margin")
	case release.NoHarm:
		c = append(c, "nothing speaks against it")
	}
	for _, g := range s.Gates {
		c = append(c, fmt.Sprintf("gate %s says yes", g.Name))
	}
	if len(c) == 0 {
		c = []string{"its instances are ready"}
	}
	return c
}

func risk(a release.Analysis) string {
	if len(a.Metrics) == 0 {
		return "No metric is declared: nothing is judged."
	}
	names := make([]string, 0, len(a.Metrics))
	for _, m := range a.Metrics {
		names = append(names, m.Name)
	}
	return fmt.Sprintf("Judged by %s at every moment: a version that is no worse is rolled back with a chance of at most %s in the whole run.",
		strings.Join(names, ", "), Share(a.FalseRollback))
}

func instancesFor(capacity release.Weight, replicas int) int {
	return max(1, (int(capacity)*replicas+int(release.Full)-1)/int(release.Full))
}

// Ago writes how long ago a moment was.
func Ago(now, then time.Time) string {
	return Duration(max(0, now.Sub(then)).Truncate(time.Second)) + " ago"
}
