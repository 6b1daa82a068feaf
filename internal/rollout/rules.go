package rollout

import (
	"fmt"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
)

// freshFor is how old the newest evidence may be for the share to rise on it.
const freshFor = 2 * time.Minute

// rule is one condition for leaving a step or phase. Its check says whether it
// holds and, when it does not, what is waited for: half a sentence for people.
type rule struct {
	name  string
	skips bool // a person who promotes need not wait for it
	check func(*decider) (ok bool, reason string)
}

// The rules, each named for what it waits for.
var (
	rulePaused      = rule{"paused", false, (*decider).notPaused}
	ruleForce       = rule{"split", false, (*decider).splitInForce}
	ruleFresh       = rule{"evidence", true, (*decider).evidenceFresh}
	ruleHold        = rule{"hold", true, (*decider).holdOver}
	ruleRequests    = rule{"requests", true, (*decider).enoughRequests}
	ruleRequirement = rule{"requirement", true, (*decider).requirementMet}
	ruleGates       = rule{"gates", true, (*decider).gatesSaidYes}
	ruleWindow      = rule{"window", true, (*decider).windowOpen}
	ruleCapacity    = rule{"capacity", false, (*decider).capacityReady}
	ruleBake        = rule{"bake", true, (*decider).bakeOver}
)

// stepRules must hold to leave a step, in this order; the first that does not
// is told. evidenceRules are those that the step's deadline bounds.
var (
	evidenceRules = []rule{ruleForce, ruleFresh, ruleHold, ruleRequests, ruleRequirement}
	stepRules     = []rule{rulePaused, ruleForce, ruleFresh, ruleHold, ruleRequests, ruleRequirement, ruleGates, ruleWindow, ruleCapacity}
	bakeRules     = []rule{rulePaused, ruleForce, ruleBake, ruleCapacity}
)

// wait returns the name of the first rule that does not hold and writes down
// why; empty when all hold.
func (d *decider) wait(rules ...rule) string {
	name, reason := d.blockedBy(rules)
	if name != "" {
		d.run().Why = reason
	}
	return name
}

func (d *decider) blockedBy(rules []rule) (name, reason string) {
	r := d.run()
	for _, x := range rules {
		if x.skips && (r.Skip || r.SkipAll) {
			continue
		}
		if ok, why := x.check(d); !ok {
			return x.name, why
		}
	}
	return "", ""
}

func (d *decider) notPaused() (bool, string) {
	if p := d.run().Paused; p != nil {
		return false, "the run is paused"
	}
	return true, ""
}

func (d *decider) splitInForce() (bool, string) {
	switch o := d.in.Split; {
	case !o.Known:
		return false, "the router can not be asked for the split in force"
	case o.Pending:
		return false, "the router has not acted on the split yet"
	case !d.inForce():
		return false, "the router does not have the split of this step yet"
	}
	return true, ""
}

// evidenceFresh: a share rises only on evidence of this step that is not old.
// The first rise from no traffic can have none, unless the step demands it.
func (d *decider) evidenceFresh() (bool, string) {
	r, s, e := d.run(), d.step(), d.evidence()
	if !d.rises() || r.Extra || s.Weight == 0 && s.Require == release.None {
		return true, ""
	}
	from := r.Entered
	if e.Newest.After(from) {
		from = e.Newest
	}
	age, seen := d.now.Sub(e.Newest), e.Report.Canary > r.StepBase
	if e.Missing == "" && seen && e.Newest.After(r.Entered) && age <= freshFor && age >= -freshFor {
		return true, ""
	}
	why := "no request of it was seen in this step"
	switch {
	case e.Missing != "":
		why = e.Missing
	case seen:
		why = "the newest evidence is of " + clock(e.Newest)
	}
	if d.over(&from, freshFor) {
		d.note("NoData", fmt.Sprintf("%s waits in step %d of %d, no data is never good: %s", r.To.Name, r.Step+1, len(r.Plan.Steps), why), true)
	}
	return false, "there is no fresh evidence: " + why
}

func (d *decider) holdOver() (bool, string) {
	r, hold := d.run(), d.step().Hold
	if d.over(&r.Entered, hold) {
		return true, ""
	}
	return false, "the step holds until " + clock(r.Entered.Add(hold))
}

func (d *decider) enoughRequests() (bool, string) {
	got, min := d.evidence().Report.Canary-d.run().StepBase, d.step().MinRequests
	if got >= min {
		return true, ""
	}
	return false, fmt.Sprintf("%s of %s requests of this step were seen", thousands(got), thousands(min))
}

func (d *decider) requirementMet() (bool, string) {
	rep := d.evidence().Report
	require := d.step().Require
	if rep.Doubt != "" && require != release.None {
		return false, rep.Doubt
	}
	switch require {
	case release.Proven:
		if rep.Verdict == judge.Pass {
			return true, ""
		}
		return false, "the step needs proof of every required metric"
	case release.NoHarm:
		if rep.Verdict != judge.Fail && !d.evidence().Newest.IsZero() {
			return true, ""
		}
		return false, "the step needs evidence and none of harm"
	}
	return true, ""
}

// capacityReady asks for the instances of the next step before its weight.
func (d *decider) capacityReady() (bool, string) {
	r := d.run()
	need := d.needOf(d.nextStep())
	if r.Phase == Baking {
		need = d.in.Release.Replicas
	}
	if d.last() && r.From == nil || d.hasReady(r.To.ID, need) {
		return true, ""
	}
	return false, d.waitsForInstances(r.To.ID, need)
}

func (d *decider) bakeOver() (bool, string) {
	r := d.run()
	if d.over(&r.Entered, r.Plan.Bake) {
		return true, ""
	}
	return false, fmt.Sprintf("%s is kept ready until %s", r.From.Name, clock(r.Entered.Add(r.Plan.Bake)))
}
