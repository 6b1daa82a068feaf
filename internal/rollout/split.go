package rollout

import (
	"cmp"
	"reflect"
	"slices"

	"github.com/haldane-project/haldane/internal/release"
)

// split is the assignment of traffic that is wanted. Its shares sum to Full, or
// it is empty where no version can serve. A version has no share unless its
// run is in a step or was promoted.
func (d *decider) split() release.Split {
	out := release.Split{Salt: d.salt()}
	r, stable := d.run(), d.state.Stable
	switch {
	case d.active() && r.Phase == Progressing:
		d.stepSplit(&out)
	case d.active() && r.Phase == Baking:
		out.Rest = d.rest()
		out.Shares = shares(r.To.ID, release.Full, r.From.ID)
	case stable != nil:
		out.Rest = stable.ID
		out.Shares = []release.Share{{Version: stable.ID, Weight: release.Full}}
	default:
		return release.Split{}
	}
	return out
}

// stepSplit is the split of the run's step.
func (d *decider) stepSplit(out *release.Split) {
	r, s := d.run(), d.step()
	if r.From == nil {
		out.Rest = r.To.ID
		out.Shares = []release.Share{{Version: r.To.ID, Weight: release.Full}}
		return
	}
	out.Rest = d.rest()
	out.Shares = shares(r.To.ID, s.Weight, r.From.ID)
	for _, m := range s.Matches {
		out.Matched = append(out.Matched, release.Matched{Match: m, Version: r.To.ID})
	}
	if s.Mirror > 0 {
		out.Mirror = &release.Mirror{Version: r.To.ID, Share: s.Mirror}
	}
}

// rest is the version that shields and gets what nobody else does: the proven
// one, which in a run that a person asked for is where it goes to.
func (d *decider) rest() release.VersionID {
	if d.run().Extra {
		return d.run().To.ID
	}
	return d.run().From.ID
}

// shares gives a version its weight and the other one the rest.
func shares(v release.VersionID, w release.Weight, other release.VersionID) []release.Share {
	out := []release.Share{{Version: v, Weight: w}, {Version: other, Weight: release.Full - w}}
	slices.SortFunc(out, func(a, b release.Share) int { return cmp.Compare(a.Version, b.Version) })
	return out
}

// salt seeds the sticky hash. It is kept after a run, so that nobody is moved at its end.
func (d *decider) salt() string {
	if d.run() != nil {
		return d.run().ID
	}
	return d.in.Release.Name
}

// inForce reports whether the wanted split is the one that is observed.
func (d *decider) inForce() bool {
	o := d.in.Split
	if !o.Known || o.Pending {
		return false
	}
	want := d.split()
	return slices.Equal(positive(o.Split.Shares), positive(want.Shares)) &&
		sameMatches(o.Split.Matched, want.Matched) && reflect.DeepEqual(o.Split.Mirror, want.Mirror)
}

func sameMatches(a, b []release.Matched) bool {
	return len(a) == len(b) && (len(a) == 0 || reflect.DeepEqual(a, b))
}

func positive(in []release.Share) []release.Share {
	var out []release.Share
	for _, s := range in {
		if s.Weight > 0 {
			out = append(out, s)
		}
	}
	return out
}

// gone reports whether a version is observed to get no request any more.
func (d *decider) gone(v release.VersionID) bool {
	o := d.in.Split
	return o.Known && !o.Pending && !gets(o.Split, v)
}

// gets reports whether a split can send any request or copy to a version.
func gets(s release.Split, v release.VersionID) bool {
	return s.Of(v) > 0 || s.Rest == v || s.Mirror != nil && s.Mirror.Version == v ||
		slices.ContainsFunc(s.Matched, func(m release.Matched) bool { return m.Version == v })
}
