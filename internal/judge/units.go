package judge

// Units tells the first bad outcome of each unit (a user, a session, a trace),
// for tests that must bet on each unit once: count it as an event of Kind Rate
// with the share of units. It remembers bad units only, up to a limit; beyond
// it no unit is first any more, which loses power, never validity.
type Units struct {
	seen map[uint64]struct{}
	most int
}

// NewUnits remembers up to most units.
func NewUnits(most int) *Units { return &Units{seen: map[uint64]struct{}{}, most: most} }

// First reports whether the unit was not bad before. Unit 0 has no key: every
// bad outcome of it is a first.
func (u *Units) First(unit uint64) bool {
	if unit == 0 {
		return true
	}
	if _, ok := u.seen[unit]; ok || len(u.seen) >= u.most {
		return false
	}
	u.seen[unit] = struct{}{}
	return true
}
