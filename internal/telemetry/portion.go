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
	bins     [numBins]uint32
	bytes    [numBins]uint32 // where users are told apart, of each the first
	byUser   *byUser         // nil: nothing was counted by user yet
	measured []measured      // nil: no answer yet
}

// byUser is what a side holds where users are told apart.
type byUser struct {
	bad   [badUsers][]uint64 // units of the bad requests
	times [numBins]uint32    // of each user the first
}

// What requests can be bad by: they failed, or by the class of their status code.
const (
	failed = iota
	clientError
	serverError
	badUsers
)

// users makes it on first use.
func (s *side) users() *byUser {
	if s.byUser == nil {
		s.byUser = &byUser{}
	}
	return s.byUser
}

// count adds a request. The time of one that takes long is counted when it is
// overdue, and not again at its end: both versions' times are cut at one age.
func (s *side) count(e *ended, t *Tap) {
	if e.answer != nil && e.stage != release.Overdue {
		s.measure(e, t.measures)
	}
	if e.fault || e.heard != nil {
		return
	}
	if e.stage != release.Overdue {
		s.n++
		s.class[e.class]++
		if t.users != nil {
			s.badBy(e)
		}
		if e.failed {
			s.bad++
			return
		}
		if t.users == nil || t.users.sizes.first(e.unit) {
			s.bytes[e.bytes]++
		}
	}
	if e.stage != release.EndedOverdue {
		s.bins[e.bin]++
		if t.users != nil && t.users.times.first(e.unit) {
			s.users().times[e.bin]++
		}
	}
}

// badBy notes whose request was bad, and by what.
func (s *side) badBy(e *ended) {
	if e.failed {
		s.users().bad[failed] = append(s.users().bad[failed], e.unit)
	}
	switch e.class {
	case 4:
		s.users().bad[clientError] = append(s.users().bad[clientError], e.unit)
	case 5:
		s.users().bad[serverError] = append(s.users().bad[serverError], e.unit)
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
	for i, n := range from.class {
		s.class[i] += n
	}
	for i, n := range from.bins {
		s.bins[i] += n
	}
	for i, n := range from.bytes {
		s.bytes[i] += n
	}
	if from.byUser != nil {
		s.users().add(from.byUser)
	}
	s.addMeasured(from)
}

func (u *byUser) add(from *byUser) {
	for i := range u.bad {
		u.bad[i] = append(u.bad[i], from.bad[i]...)
	}
	for i, n := range from.times {
		u.times[i] += n
	}
}

// portion is what is handed out of a sum.
func (t *Tap) portion(p *portion) Portion {
	out := Portion{Share: p.share}
	for who, to := range map[int]*Count{stable: &out.Rest, canary: &out.Canary, labelled: &out.Placebo} {
		*to = p.sides[who].take()
		t.countUsers(&p.sides[who], to)
	}
	all := &p.sides[stable]
	all.add(&p.sides[labelled])
	out.Stable = all.take()
	out.Stable.addUsers(&out.Rest)
	out.Stable.addUsers(&out.Placebo)
	return out
}

// countUsers tells whose requests were bad, and whose for the first time.
func (t *Tap) countUsers(s *side, to *Count) {
	if t.users == nil {
		return
	}
	if u := s.byUser; u != nil {
		to.Users, to.Firsts = t.users.bad[failed].count(u.bad[failed])
		to.Coded[4].Users, to.Coded[4].Firsts = t.users.bad[clientError].count(u.bad[clientError])
		to.Coded[5].Users, to.Coded[5].Firsts = t.users.bad[serverError].count(u.bad[serverError])
	}
	for i := range to.Measured {
		to.Measured[i].Users, to.Measured[i].Firsts = t.measures.users[i].count(s.measured[i].failed)
	}
}

// addUsers sums the users of a part: none is in both.
func (c *Count) addUsers(part *Count) {
	c.Users += part.Users
	c.Firsts += part.Firsts
	for i, x := range part.Coded {
		c.Coded[i].Users += x.Users
		c.Coded[i].Firsts += x.Firsts
	}
	for i, m := range part.Measured {
		c.Measured[i].Users += m.Users
		c.Measured[i].Firsts += m.Firsts
	}
}

func (s *side) take() Count {
	c := Count{N: s.n, Bad: s.bad, Class: s.class, Bins: sparse(s.bins[:]), Bytes: sparse(s.bytes[:]), Measured: s.takeMeasured()}
	if s.byUser != nil {
		c.Times = sparse(s.byUser.times[:])
	}
	return c
}
