package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// needed is the number of instances for a share of the traffic, at least one.
func needed(share release.Weight, replicas int) int {
	return max(1, (int(share)*replicas+int(release.Full)-1)/int(release.Full))
}

// needOf is what the canary needs in a step.
func (d *decider) needOf(s release.Step) int {
	return needed(max(s.Capacity, s.Weight), d.in.Release.Replicas)
}

// carried is what the traffic that a version may have in force needs.
func (d *decider) carried(v release.VersionID) int {
	all, o := d.in.Release.Replicas, d.in.Split
	if o.Known && !o.Pending {
		return instancesFor(o.Split.Of(v), all)
	}
	if r := d.run(); v == r.To.ID {
		return instancesFor(r.Peak, all)
	}
	if d.in.FleetStale {
		return all
	}
	return min(d.group(v).Total, all)
}

// instancesFor is what a share needs, none for no share.
func instancesFor(share release.Weight, replicas int) int {
	if share <= 0 {
		return 0
	}
	return needed(share, replicas)
}

// trackPeak keeps the run's largest share that may be in force.
func (d *decider) trackPeak(want release.Split) {
	if !d.active() {
		return
	}
	r, o := d.run(), d.in.Split
	r.Peak = max(r.Peak, want.Of(r.To.ID))
	if o.Known && !o.Pending {
		r.Peak = max(o.Split.Of(r.To.ID), want.Of(r.To.ID))
	}
}

// canaryReplicas is the number of instances that the run's version is to have.
func (d *decider) canaryReplicas() int {
	r := d.run()
	if r.Phase == Baking || r.Phase == Finishing {
		return d.in.Release.Replicas
	}
	i := r.Step
	if r.Phase == Preparing {
		i = d.first()
	}
	n := d.needOf(r.Plan.Steps[i])
	if r.Ahead {
		n = max(n, d.needOf(d.nextStep()))
	}
	return max(n, d.carried(r.To.ID))
}

// stableReplicas keeps stable whole for an instant way back. Only a rolling
// run, which replaces instances, lowers it, never below what its observed
// traffic needs.
func (d *decider) stableReplicas() int {
	all := d.in.Release.Replicas
	r := d.run()
	if !d.active() || r.Plan.Kind != release.Rolling || r.From == nil || r.Extra {
		return all
	}
	switch r.Phase {
	case Progressing, Baking, Finishing:
		return max(instancesFor(release.Full-d.step().Weight, all), d.carried(r.From.ID))
	}
	return all
}

// fleet is the instances that are wanted, sorted by version.
func (d *decider) fleet() []Group {
	var out []Group
	add := func(v release.Version, n int) {
		if n > 0 && !slices.ContainsFunc(out, func(g Group) bool { return g.Version.ID == v.ID }) {
			out = append(out, Group{Version: v, Replicas: n})
		}
	}
	if d.active() && d.run().Phase != RollingBack {
		add(d.run().To, d.canaryReplicas())
	}
	if s := d.state.Stable; s != nil {
		add(*s, d.stableReplicas())
	}
	if v := d.kept(); v != nil {
		add(*v, d.in.Release.Replicas)
	}
	for _, l := range d.state.Leaving {
		add(l.Version, l.Replicas)
	}
	slices.SortFunc(out, func(a, b Group) int { return cmp.Compare(a.Version.ID, b.Version.ID) })
	return out
}

// group is what is observed of a version's instances.
func (d *decider) group(v release.VersionID) ObservedGroup {
	for _, g := range d.in.Fleet {
		if g.Version == v {
			return g
		}
	}
	return ObservedGroup{Version: v}
}

func (d *decider) ready(v release.VersionID) int { return d.group(v).Ready }

// hasReady reports whether enough instances are known to be ready.
func (d *decider) hasReady(v release.VersionID, need int) bool {
	return !d.in.FleetStale && d.ready(v) >= need
}

// watchCapacity goes back when the canary's instances stay too few for longer
// than they may take to get ready.
func (d *decider) watchCapacity() {
	r := d.run()
	need := d.needOf(d.step())
	if r.Ahead {
		need = max(need, d.needOf(d.nextStep()))
	}
	if d.in.FleetStale || r.From == nil {
		return
	}
	have := d.ready(r.To.ID)
	if have >= need {
		r.Short = time.Time{}
		return
	}
	if r.Short.IsZero() {
		r.Short = d.now
	}
	if r.Plan.ReadyDeadline <= 0 || !d.over(&r.Short, r.Plan.ReadyDeadline) {
		return
	}
	cause := CauseNotReady
	if have < d.needOf(d.step()) {
		cause = CauseDied
	}
	d.rollBack(RolledBack, cause, fmt.Sprintf("only %d of %s ready for %s", have, count(need, "instance was", "instances were"), span(r.Plan.ReadyDeadline)), "")
}

// waitsForInstances says what is missing, and tells it when instances have trouble.
func (d *decider) waitsForInstances(v release.VersionID, need int) string {
	g := d.group(v)
	s := fmt.Sprintf("%d of %s ready", g.Ready, count(need, "instance is", "instances are"))
	if d.in.FleetStale {
		return s + " as far as is known: the runtime can not be asked now"
	}
	if g.Error != "" {
		s += ": " + g.Error
		if d.run() != nil {
			d.note("WorkloadNotReady", d.run().To.Name+": "+s, true)
		}
	}
	return s
}
