package telemetry

import (
	"github.com/haldane-project/haldane/internal/release"
)

// portion is what one cell saw at one share.
type portion struct {
	share release.Weight
	sides [sides]side
}

type side struct {
	n, bad   int64
	class    [classes]int64
	failed   []uint64 // units of the failed requests, where users are told apart
	bins     [numBins]uint32
	bytes    [numBins]uint32
	measured []measured // nil: no answer yet
}

// count adds a request. The time of one that takes long is counted when it is
// overdue, and not again at its end: both versions' times are cut at one age.
func (s *side) count(e *ended, m *measures) {
	if e.answer != nil && e.stage != release.Overdue {
		s.measure(e, m)
	}
	if e.fault || e.heard != nil {
		return
	}
	if e.stage != release.Overdue {
		s.n++
		s.class[e.class]++
		if e.failed {
			s.bad++
			s.failed = append(s.failed, e.unit)
			return
		}
		s.bytes[e.bytes]++
	}
	if e.stage != release.EndedOverdue {
		s.bins[e.bin]++
	}
}

// into adds a portion to a sum, which is made on first use.
func (p *portion) into(sum *portion) *portion {
	if sum == nil {
		sum = &portion{share: p.share}
	}
	for who := range p.sides {
		from, to := &p.sides[who], &sum.sides[who]
		to.add(from)
	}
	return sum
}

func (s *side) add(from *side) {
	s.n += from.n
	s.bad += from.bad
	s.failed = append(s.failed, from.failed...)
	for i, n := range from.class {
		s.class[i] += n
	}
	for i, n := range from.bins {
		s.bins[i] += n
	}
	for i, n := range from.bytes {
		s.bytes[i] += n
	}
	s.addMeasured(from)
}

// portion is what is handed out of a sum.
func (t *Tap) portion(p *portion) Portion {
	out := Portion{Share: p.share}
	for who, to := range map[int]*Count{stable: &out.Rest, canary: &out.Canary, labelled: &out.Placebo} {
		s := &p.sides[who]
		*to = s.take()
		if t.users != nil {
			to.Users, to.Firsts = t.users.count(s.failed)
			for i := range to.Measured {
				to.Measured[i].Users, to.Measured[i].Firsts = t.measures.users[i].count(s.measured[i].failed)
			}
		}
	}
	all := &p.sides[stable]
	all.add(&p.sides[labelled])
	out.Stable = all.take()
	out.Stable.Users, out.Stable.Firsts = out.Rest.Users+out.Placebo.Users, out.Rest.Firsts+out.Placebo.Firsts
	for _, part := range [2][]Measured{out.Rest.Measured, out.Placebo.Measured} {
		for i, m := range part {
			out.Stable.Measured[i].Users += m.Users
			out.Stable.Measured[i].Firsts += m.Firsts
		}
	}
	return out
}

func (s *side) take() Count {
	return Count{N: s.n, Bad: s.bad, Class: s.class, Bins: sparse(s.bins[:]), Bytes: sparse(s.bytes[:]), Measured: s.takeMeasured()}
}
