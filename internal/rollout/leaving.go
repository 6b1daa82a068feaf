package rollout

import (
	"fmt"
	"slices"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// defaultDrain bounds the wait for a version's last requests where its
// workload states no bound.
const defaultDrain = 30 * time.Second

// leave keeps a version's instances until its traffic is gone.
func (d *decider) leave(v release.Version, replicas int) {
	d.stay(v.ID)
	if replicas > 0 {
		d.state.Leaving = append(d.state.Leaving, Leaving{Version: v, Replicas: replicas})
	}
}

// stay takes a version back that was leaving.
func (d *decider) stay(v release.VersionID) {
	d.state.Leaving = slices.DeleteFunc(d.state.Leaving, func(l Leaving) bool { return l.Version.ID == v })
	if len(d.state.Leaving) == 0 {
		d.state.Leaving = nil
	}
}

// settleLeaving notes which versions are observed to have no share, and lets
// those go whose requests have ended or had their time.
func (d *decider) settleLeaving() {
	var keep []Leaving
	for _, l := range d.state.Leaving {
		if l.Off.IsZero() && d.gone(l.Version.ID) {
			l.Off = d.now
		}
		if !l.Off.IsZero() && !d.gone(l.Version.ID) {
			l.Off = time.Time{} // somebody gave it traffic again, or it can not be seen
		}
		if l.Off.IsZero() || !d.drained(&l) || !d.covered(&l) {
			keep = append(keep, l)
		}
	}
	d.state.Leaving = keep
}

func (d *decider) drained(l *Leaving) bool {
	return d.inFlight(l.Version.ID) == 0 || d.over(&l.Off, drainOf(l.Version))
}

// covered reports whether the traffic that left a version has enough instances
// to go to, or at least one after the bound of its drain. Without any its own
// stay: a router may fall back on them.
func (d *decider) covered(l *Leaving) bool {
	s := d.state.Stable
	if d.in.Deleted || s == nil || s.ID == l.Version.ID {
		return true
	}
	if d.hasReady(s.ID, d.in.Release.Replicas) || d.allOnCanary() && d.hasReady(d.run().To.ID, d.in.Release.Replicas) {
		return true
	}
	return d.hasReady(s.ID, 1) && d.over(&l.Off, drainOf(l.Version))
}

// allOnCanary reports whether the run's step has all of the traffic.
func (d *decider) allOnCanary() bool {
	if !d.active() || d.run().Phase != Progressing && d.run().Phase != Baking {
		return false
	}
	return d.step().Weight == release.Full
}

func drainOf(v release.Version) time.Duration {
	switch w := v.Workload; {
	case w.Process != nil && w.Process.Drain > 0:
		return w.Process.Drain
	case w.Endpoints != nil && w.Endpoints.Drain > 0:
		return w.Endpoints.Drain
	}
	return defaultDrain
}

func (d *decider) inFlight(v release.VersionID) int64 {
	var n int64
	for _, f := range d.in.Split.InFlight {
		if f.Version == v {
			n += f.Count
		}
	}
	return n
}

// off reports whether a leaving version's share is observed to be gone.
func (d *decider) off(v release.VersionID) bool {
	for _, l := range d.state.Leaving {
		if l.Version.ID == v {
			return !l.Off.IsZero()
		}
	}
	return d.gone(v)
}

// stopped reports whether nothing of a version is left.
func (d *decider) stopped(v release.VersionID) bool {
	leaving := slices.ContainsFunc(d.state.Leaving, func(l Leaving) bool { return l.Version.ID == v })
	return !leaving && !d.in.FleetStale && d.group(v).Total == 0
}

func (d *decider) leavingSentence(v release.VersionID, name string) string {
	if !d.off(v) {
		return fmt.Sprintf("the router has not let go of %s yet", name)
	}
	if n := d.inFlight(v); n == 0 {
		return fmt.Sprintf("the instances of %s stop", name)
	}
	return fmt.Sprintf("%s of %s end, then its instances stop", count(int(d.inFlight(v)), "request", "requests"), name)
}
