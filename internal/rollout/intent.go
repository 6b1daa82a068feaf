package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/haldane-project/haldane/internal/release"
)

// strength orders what people ask for at the same time: what takes risk away
// comes first, and what would add to it is refused beside it.
func strength(v Verb) int {
	switch v {
	case AskAbort:
		return 0
	case AskRollback:
		return 1
	case AskPause:
		return 2
	}
	return 3
}

// answerIntents answers every intent exactly once.
func (d *decider) answerIntents() {
	intents := slices.Clone(d.in.Intents)
	slices.SortStableFunc(intents, func(a, b Intent) int {
		return cmp.Or(cmp.Compare(strength(a.Verb), strength(b.Verb)), cmp.Compare(a.ID, b.ID))
	})
	for _, i := range intents {
		msg, done := d.answerOne(i)
		d.consumed = append(d.consumed, IntentAnswer{ID: i.ID, Done: done, Message: msg})
	}
	slices.SortFunc(d.consumed, func(a, b IntentAnswer) int { return cmp.Compare(a.ID, b.ID) })
}

func (d *decider) refuseAll(why string) {
	for _, i := range d.in.Intents {
		d.consumed = append(d.consumed, IntentAnswer{ID: i.ID, Message: why})
	}
}

func (d *decider) answerOne(i Intent) (string, bool) {
	if i.Run != "" && (d.run() == nil || d.run().ID != i.Run) {
		return fmt.Sprintf("meant for run %s, but %s", i.Run, d.runSentence()), false
	}
	if v := d.outranked(i); v != "" {
		return fmt.Sprintf("a person asked to %s at the same time, and that comes first", v), false
	}
	switch i.Verb {
	case AskAbort:
		return d.askAbort(i)
	case AskPause:
		return d.askPause(i)
	case AskResume:
		return d.askResume(i)
	case AskPromote, AskPromoteFull:
		return d.askPromote(i)
	case AskRetry:
		return d.askRetry(i)
	case AskRollback:
		return d.askRollback(i)
	}
	return fmt.Sprintf("unknown verb %q; known: pause, resume, promote, promoteFull, abort, retry, rollback", i.Verb), false
}

// outranked is the stronger verb asked for in the same pass, empty: none.
func (d *decider) outranked(i Intent) Verb {
	if strength(i.Verb) < 3 {
		return ""
	}
	for _, o := range d.in.Intents {
		meant := o.Run == "" || d.in.State.Run != nil && d.in.State.Run.ID == o.Run
		if meant && (o.Verb == AskAbort || o.Verb == AskRollback || o.Verb == AskPause && i.Verb != AskRetry) {
			return o.Verb
		}
	}
	return ""
}

func (d *decider) runSentence() string {
	r := d.run()
	if r == nil {
		return "there is no run"
	}
	return fmt.Sprintf("run %s is the last one (%s)", r.ID, r.Phase)
}

// open reports whether the run can still be steered.
func (d *decider) open() bool {
	return d.active() && (d.run().Phase == Preparing || d.run().Phase == Progressing || d.run().Phase == Baking)
}

func (d *decider) askAbort(i Intent) (string, bool) {
	r := d.run()
	switch {
	case d.open():
		d.rollBack(Aborted, CausePerson, asked("abort", i), i.By)
		return "the traffic goes back", true
	case d.active() && r.Phase == RollingBack:
		return fmt.Sprintf("%s is being taken off the traffic already", r.To.Name), true
	case d.active() && r.From != nil: // Finishing: it was promoted, so going back is a run
		return d.goBack(*r.From, i)
	}
	return d.runSentence() + ": nothing to abort; ask for a rollback to go back to an earlier version", false
}

func (d *decider) askPause(i Intent) (string, bool) {
	if !d.open() {
		return d.runSentence() + ": nothing to pause", false
	}
	if p := d.run().Paused; p != nil && p.Person {
		return "it is paused already: " + p.Reason, true
	}
	d.pause(asked("pause", i), true)
	d.events[len(d.events)-1].By = i.By
	return "paused: the share does not rise; harm still takes it away", true
}

func (d *decider) askResume(i Intent) (string, bool) {
	if !d.open() || d.run().Paused == nil {
		return d.runSentence() + ": it is not paused", false
	}
	was := d.run().Paused.Reason
	d.resume()
	d.event("RunResumed", asked("resume", i)+"; it was paused: "+was, false)
	d.events[len(d.events)-1].By = i.By
	return "resumed", true
}

// askPromote ends the waiting of one step, or of all of them. It answers for
// hold, evidence and gates, never for instances, and never for harm.
func (d *decider) askPromote(i Intent) (string, bool) {
	r := d.run()
	full := i.Verb == AskPromoteFull
	switch {
	case !d.open():
		return d.runSentence() + ": nothing to promote", false
	case r.Phase == Preparing && !full:
		return "its instances are not ready yet, and no person can answer for that; ask for a full promotion to skip the steps after it", false
	}
	if r.Paused != nil {
		d.resume()
	}
	r.Skip, r.SkipAll = true, r.SkipAll || full
	d.event("Approved", d.promoteSentence(i, full), false)
	d.events[len(d.events)-1].By = i.By
	return "promoted: it goes on once the instances for it are ready", true
}

func (d *decider) promoteSentence(i Intent, full bool) string {
	r := d.run()
	if full {
		return asked("promotion to all of the traffic", i)
	}
	if r.Phase == Baking {
		return asked("the end of the bake", i)
	}
	return asked(fmt.Sprintf("promotion past step %d of %d", r.Step+1, len(r.Plan.Steps)), i)
}

// askRetry begins a run anew to a version that was rolled back or aborted.
func (d *decider) askRetry(i Intent) (string, bool) {
	v := d.in.Release.Version
	switch {
	case d.active() && (d.run().Phase != RollingBack || d.run().TrafficOff.IsZero()):
		return d.runSentence() + ": retry when it has ended", false
	case d.state.Stable != nil && d.state.Stable.ID == v.ID:
		return fmt.Sprintf("%s serves already: nothing to retry", v.Name), false
	case d.state.Rejected == "":
		return fmt.Sprintf("%s was not rejected: nothing to retry", v.Name), false
	}
	d.state.Rejected, d.by = "", i.By
	return fmt.Sprintf("%s is tried again from its first step", v.Name), true
}

// askRollback goes back to an earlier version, or ends a run that is under way.
func (d *decider) askRollback(i Intent) (string, bool) {
	stable := d.state.Stable
	switch {
	case d.open() && (i.Version == "" || stable != nil && names(*stable, i.Version)):
		return d.askAbort(i)
	case d.open():
		return d.runSentence() + ": abort it first, then go back further", false
	case d.active() && d.run().Phase == RollingBack:
		return fmt.Sprintf("%s is being taken off the traffic already", d.run().To.Name), i.Version == ""
	case stable == nil:
		return "no version has served yet: nothing to go back to", false
	}
	to := d.earlier(i.Version)
	if to == nil {
		return d.noEarlier(i.Version), false
	}
	return d.goBack(*to, i)
}

// goBack begins a run to a version that has served before: it needs instances
// and no evidence. What serves now is rejected, so that the spec does not start
// it again.
func (d *decider) goBack(to release.Version, i Intent) (string, bool) {
	if d.active() {
		d.promoted()
	}
	d.state.Rejected = ""
	if want := d.in.Release.Version.ID; want != to.ID {
		d.state.Rejected = want
	}
	d.by = i.By
	d.begin(to, d.direct(), true)
	return fmt.Sprintf("going back to %s once its instances are ready", to.Name), true
}

func (d *decider) earlier(v release.VersionID) *release.Version {
	for _, e := range d.state.Earlier {
		if v == "" && e.ID != d.state.Rejected || v != "" && names(e, v) {
			return &e
		}
	}
	return nil
}

func (d *decider) noEarlier(v release.VersionID) string {
	var known []string
	for _, e := range d.state.Earlier {
		known = append(known, fmt.Sprintf("%s (%s)", e.Name, e.ID))
	}
	switch {
	case len(known) == 0:
		return "no earlier version is known"
	case v == "":
		return "the earlier versions were rejected: name one of " + strings.Join(known, ", ")
	}
	return fmt.Sprintf("no earlier version %s; known: %s", v, strings.Join(known, ", "))
}

func names(v release.Version, word release.VersionID) bool {
	return v.ID == word || v.Name == string(word)
}

func asked(what string, i Intent) string {
	s := fmt.Sprintf("%s asked for by %s", what, i.By)
	if i.By == "" {
		s = what + " asked for"
	}
	if i.Reason != "" {
		s += ": " + i.Reason
	}
	return s
}
