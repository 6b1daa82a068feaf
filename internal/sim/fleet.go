package sim

import (
	"context"
	"slices"
	"time"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/workload"
)

var _ workload.Runtime = (*Fleet)(nil)

// Fleet runs instances that exist only in the world.
type Fleet struct {
	w        *World
	groups   []group // sorted by version
	traits   []trait // by version, in the world's order
	outUntil time.Duration
	changed  chan string
	// OnApply sees what is wanted, before it is acted upon.
	OnApply func([]rollout.Group)
}

type group struct {
	version   release.VersionID
	want      int
	instances []instance
	stopping  []time.Duration // when the instances that were taken end
}

// instance is not ready before a time.
type instance struct{ from time.Duration }

// trait is how a version's instances behave.
type trait struct {
	start   time.Duration
	never   bool // never ready
	blocked bool // and no retry helps
}

func newFleet(w *World) *Fleet {
	f := &Fleet{w: w, changed: make(chan string, 1)}
	for i := range w.versions {
		t := trait{start: w.span(0, 2*time.Minute)}
		if i > 0 && w.rng.IntN(10) == 0 {
			t.never, t.blocked = true, w.rng.IntN(2) == 0
		}
		f.traits = append(f.traits, t)
	}
	return f
}

func (f *Fleet) trait(v release.VersionID) *trait {
	i := slices.IndexFunc(f.w.versions, func(x release.Version) bool { return x.ID == v })
	return &f.traits[i]
}

// Apply starts and stops instances.
func (f *Fleet) Apply(_ context.Context, _ release.Release, want []rollout.Group) error {
	if f.out() {
		return errDown
	}
	if f.OnApply != nil {
		f.OnApply(want)
	}
	for _, g := range want {
		if !slices.ContainsFunc(f.groups, func(x group) bool { return x.version == g.Version.ID }) {
			f.groups = append(f.groups, group{version: g.Version.ID})
		}
	}
	slices.SortFunc(f.groups, func(a, b group) int {
		if a.version < b.version {
			return -1
		}
		return 1
	})
	for i := range f.groups {
		g := &f.groups[i]
		g.want = 0
		if k := slices.IndexFunc(want, func(x rollout.Group) bool { return x.Version.ID == g.version }); k >= 0 {
			g.want = want[k].Replicas
		}
		f.adjust(g)
	}
	return nil
}

func (f *Fleet) adjust(g *group) {
	t := f.trait(g.version)
	for len(g.instances) < g.want {
		g.instances = append(g.instances, instance{from: f.w.elapsed + f.w.span(0, t.start+1)})
	}
	for len(g.instances) > g.want {
		g.instances = g.instances[:len(g.instances)-1]
		g.stopping = append(g.stopping, f.w.elapsed+f.w.span(0, 10*time.Second))
	}
}

// Observe reports what runs.
func (f *Fleet) Observe(context.Context, release.Release) (workload.Fleet, error) {
	if f.out() {
		return workload.Fleet{}, errDown
	}
	var out workload.Fleet
	for i := range f.groups {
		g := &f.groups[i]
		total := len(g.instances) + len(g.stopping)
		if total == 0 {
			continue
		}
		o := rollout.ObservedGroup{Version: g.version, Ready: f.Ready(g.version), Total: total}
		if t := f.trait(g.version); t.never {
			o.Error, o.Blocked = "exit code 1", t.blocked
		}
		out.Groups = append(out.Groups, o)
		out.Backends = append(out.Backends, release.Backend{Version: g.version})
	}
	return out, nil
}

// Ready is the number of a version's instances that are ready now.
func (f *Fleet) Ready(v release.VersionID) int {
	n := 0
	for _, g := range f.groups {
		if g.version != v || f.trait(v).never {
			continue
		}
		for _, i := range g.instances {
			if i.from <= f.w.elapsed {
				n++
			}
		}
	}
	return n
}

// Wanted is the number of a version's instances that are wanted now.
func (f *Fleet) Wanted(v release.VersionID) int {
	for _, g := range f.groups {
		if g.version == v {
			return g.want
		}
	}
	return 0
}

// Changed delivers nothing: worlds make passes whenever time passes.
func (f *Fleet) Changed() <-chan string { return f.changed }

func (f *Fleet) out() bool {
	if f.w.chance(f.w.Faults.RuntimeOut) {
		f.outUntil = f.w.elapsed + f.w.span(0, 3*time.Minute)
	}
	return f.w.elapsed < f.outUntil
}

func (f *Fleet) step() {
	for i := range f.groups {
		g := &f.groups[i]
		for k := range g.instances {
			if f.w.chance(f.w.Faults.Crash) {
				g.instances[k].from = f.w.elapsed + f.w.span(0, time.Minute)
			}
		}
		g.stopping = slices.DeleteFunc(g.stopping, func(at time.Duration) bool { return at <= f.w.elapsed })
	}
}

// lose is a machine that was restarted: what is wanted is forgotten too.
func (f *Fleet) lose() { f.groups = nil }
