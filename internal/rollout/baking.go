package rollout

import (
	"fmt"
	"slices"

	"github.com/haldane-project/haldane/internal/release"
)

// maxEarlier bounds the versions that a rollback can name.
const maxEarlier = 10

// baking keeps the old version's instances while all of the traffic is on the
// new one: until its end every alarm and every person can take it straight back.
func (d *decider) baking() bool {
	if blocked := d.wait(bakeRules...); blocked != "" {
		d.watchCapacity()
		return d.run().Phase != Baking
	}
	d.promote()
	d.enter(Finishing, d.run().Step, "")
	return true
}

// promote makes the run's new version the stable one.
func (d *decider) promote() {
	r := d.run()
	r.Cause, r.Paused = CausePlan, nil
	to := r.To
	d.state.Stable = &to
	same := func(v release.Version) bool { return v.ID == to.ID || r.From != nil && v.ID == r.From.ID }
	d.state.Earlier = slices.DeleteFunc(d.state.Earlier, same)
	msg := fmt.Sprintf("%s serves all of the traffic", to.Name)
	if r.From != nil {
		d.state.Earlier = slices.Insert(d.state.Earlier, 0, *r.From)
		d.leave(*r.From, d.stableReplicas())
		msg = fmt.Sprintf("%s serves all of the traffic in place of %s", to.Name, r.From.Name)
		if e := d.evidence().Report; e.Canary > 0 {
			msg += fmt.Sprintf(", after %s of its requests were compared with %s", thousands(e.Canary), thousands(e.Stable))
		}
	}
	d.state.Earlier = d.state.Earlier[:min(len(d.state.Earlier), maxEarlier)]
	r.Why = msg
	d.event("RunPromoted", msg, false)
}
