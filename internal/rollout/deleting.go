package rollout

import (
	"slices"

	"github.com/haldane-project/haldane/internal/release"
)

// deleting takes a release down: its routing first, then its instances once
// nothing is routed to them and their requests have ended.
func (d *decider) deleting() Decision {
	if d.active() {
		d.run().Why, d.run().Cause = "the release was deleted", CausePerson
		d.event("RunAborted", d.run().To.Name+": the release was deleted", false)
		canary, n := d.run().To, d.canaryReplicas()
		stable, kept := d.state.Stable, d.stableReplicas()
		d.end(Aborted)
		if stable != nil {
			d.leave(*stable, kept)
		}
		if stable == nil || stable.ID != canary.ID {
			d.leave(canary, n)
		}
	} else if s := d.state.Stable; s != nil {
		d.leave(*s, d.in.Release.Replicas)
	} else if v := d.kept(); v != nil {
		d.leave(*v, d.in.Release.Replicas)
		d.run().Cause = CausePerson
	}
	d.state.Stable = nil
	d.settleLeaving()
	out := d.decision()
	out.Split = release.Split{}
	out.Gone = d.nothingLeft()
	return out
}

func (d *decider) nothingLeft() bool {
	s := d.in.Split
	if !s.Known || s.Pending || len(s.Split.Shares) > 0 || d.in.FleetStale || len(d.state.Leaving) > 0 {
		return false
	}
	return !slices.ContainsFunc(d.in.Fleet, func(g ObservedGroup) bool { return g.Total > 0 })
}
