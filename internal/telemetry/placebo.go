package telemetry

import (
	"hash/maphash"
	"math/bits"
	"sync"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
)

// placebo labels stable's requests at random, with the canary's share, as if
// they had been sent to the canary: stable against stable. What decides is
// drawn as the router draws: by the user where there is one, else by request.
type placebo struct{ seed maphash.Seed }

func newPlacebo() placebo { return placebo{maphash.MakeSeed()} }

// draws reports whether the request is labelled. Both observations of one that
// was overdue have the same label: they have the same beginning.
func (p placebo) draws(o *release.Observation, share release.Weight) bool {
	of := o.Unit
	if of == 0 {
		of = uint64(o.Begin.UnixNano()) //nolint:gosec // any bits will do
	}
	point, _ := bits.Mul64(maphash.Comparable(p.seed, of), uint64(release.Full))
	return release.Weight(point) < share //nolint:gosec // below Full
}

// mostUsers bounds the users that are remembered; beyond it no user
// fails, or is timed, for the first time, which loses power and accuses nobody.
const mostUsers = 1 << 17

// tapUsers is what a tap remembers of users: who was counted before.
type tapUsers struct {
	bad          [badUsers]*users // only Drain uses them
	times, sizes seen
}

func newTapUsers() *tapUsers {
	t := &tapUsers{times: newSeen(), sizes: newSeen()}
	for i := range t.bad {
		t.bad[i] = newUsers()
	}
	return t
}

// seen tells who was counted before, to whoever counts.
type seen struct {
	mu    *sync.Mutex
	units *judge.Units
}

func newSeen() seen { return seen{&sync.Mutex{}, judge.NewUnits(mostUsers)} }

// first reports whether the user was not counted before.
func (s seen) first(unit uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.units.First(unit)
}

// users tells who failed before.
type users struct{ before *judge.Units }

func newUsers() *users { return &users{judge.NewUnits(mostUsers)} }

// count is how many users failed, and how many of them never before. Requests
// without a key are users of their own.
func (u *users) count(failed []uint64) (all, firsts int64) {
	seen := make(map[uint64]struct{}, len(failed))
	for _, unit := range failed {
		if _, again := seen[unit]; again && unit != 0 {
			continue
		}
		seen[unit] = struct{}{}
		all++
		if u.before.First(unit) {
			firsts++
		}
	}
	return all, firsts
}
