package release

import "slices"

// Compile turns a strategy into the one form that the core knows: a list of
// steps that ends with all of the traffic. It is pure, and invents no default:
// what the user left out was filled in by the manifest.
func (s Strategy) Compile(a Analysis, replicas int) Plan {
	p := Plan{
		Kind:           s.Kind,
		KeepBoth:       s.Kind == AB,
		Bake:           s.Bake,
		OnInconclusive: s.OnInconclusive,
		ReadyDeadline:  s.ReadyDeadline,
	}
	switch s.Kind {
	case Canary:
		p.Steps = proofBeforeAll(slices.Clone(s.Steps))
	case BlueGreen:
		p.Steps = []Step{s.preview(a)}
	case AB:
		p.Steps = []Step{s.compare(a)}
	case Rolling:
		p.Steps = s.batches(a, max(replicas, 1))
	case Shadow:
		p.Steps = []Step{s.shadow(a)}
	}
	if n := len(p.Steps); n == 0 || p.Steps[n-1].Weight != Full {
		p.Steps = append(p.Steps, FullStep())
	}
	return p
}

// proofBeforeAll moves the proof that a user's own step of 100 % asks for to the
// step before it: with all of the traffic on one version nothing is left to
// compare it with, so that the proof could never come.
func proofBeforeAll(steps []Step) []Step {
	n := len(steps)
	if n == 0 || steps[n-1].Weight != Full || steps[n-1].Require != Proven {
		return steps
	}
	last := &steps[n-1]
	last.Require = None
	if n > 1 {
		before := &steps[n-2]
		before.Require = Proven
		before.Looseness = min(before.Looseness, last.Looseness)
	}
	return steps
}

// FullStep is the compiled last step: all of the traffic, nothing to wait for
// but the instances that it needs.
func FullStep() Step {
	return Step{Name: "all", Weight: Full, Capacity: Full, Require: None, Looseness: 1}
}

// preview starts the new version in full, seen by the preview's requests only.
func (s Strategy) preview(a Analysis) Step {
	st := s.comparison("preview", a)
	st.Capacity = Full
	if s.Preview != nil {
		st.Matches = []Match{*s.Preview}
	}
	return st
}

// FairCapacity is the share of the instances with which none of the new
// version carries more than one of the old: stable keeps all of its instances
// and serves the rest of the traffic, so that is weight to rest. A comparison
// under unequal load would accuse the new version of it.
func FairCapacity(w Weight) Weight {
	if 2*w >= Full {
		return Full
	}
	return (w*Full + Full - w - 1) / (Full - w)
}

// compare keeps both versions side by side. How many users match is not known,
// so that matches need the whole capacity.
func (s Strategy) compare(a Analysis) Step {
	st := s.comparison("compare", a)
	st.Weight, st.Capacity = s.Share, FairCapacity(s.Share)
	st.Matches = slices.Clone(s.Matches)
	if len(st.Matches) > 0 {
		st.Capacity = Full
	}
	return st
}

// shadow copies requests to the new version.
func (s Strategy) shadow(a Analysis) Step {
	st := s.comparison("shadow", a)
	st.Mirror, st.Capacity = s.Share, s.Share
	return st
}

// comparison is the one step of the strategies that compare first and switch
// then. Where no verdict is required no request need come either: a preview
// that nobody looks at must not hold up the switch.
func (s Strategy) comparison(name string, a Analysis) Step {
	st := Step{
		Name: name, Hold: s.Hold, Require: s.Require, Looseness: 1,
		Gates: slices.Clone(s.Gates), Deadline: s.StepDeadline,
	}
	if s.Require != None {
		st.MinRequests = a.MinRequests
	}
	return st
}

// batches replaces instances in parts as equal as whole instances allow; the
// weight of a batch is the share of the instances that were replaced. There are
// never more batches than instances.
func (s Strategy) batches(a Analysis, replicas int) []Step {
	n := min(max(s.Batches, 1), replicas)
	steps := make([]Step, 0, n)
	for i := 1; i <= n; i++ {
		instances := (i*replicas + n - 1) / n
		w := Weight(instances * int(Full) / replicas)
		steps = append(steps, Step{
			Name: "batch", Weight: w, Capacity: w, Hold: s.Hold,
			Require: NoHarm, Looseness: 1, MinRequests: a.MinRequests, Deadline: s.StepDeadline,
		})
	}
	last := &steps[n-1]
	last.Require, last.MinRequests = None, 0
	return steps
}
