package proxy

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// flights are the requests that were drawn by the split and have not been
// observed yet. Who compares versions by requests that ended needs to know how
// far back all of them have: while one version's process stalls, only the
// other's requests end, and to count those alone would accuse one of the two.
type flights struct{ shards [flightShards]flightShard }

const flightShards = 8

type flightShard struct {
	mu         sync.Mutex
	head, tail *flight // oldest, newest
	_          [64]byte
}

// flight is one request, a node of its shard's list; it lies in its exchange.
type flight struct {
	version    release.VersionID
	weight     release.Weight
	unit       uint64
	begin      time.Time
	told       atomic.Int32
	shard      *flightShard // nil: not under way
	prev, next *flight
}

// What was told of a flight.
const (
	toldNothing int32 = iota
	toldOverdue
	toldEnd
)

// start enters a request that begins now.
func (f *flights) start(x *flight) {
	s := &f.shards[rand.Uint32()%flightShards] //nolint:gosec // spreads requests over shards; nothing secret
	s.mu.Lock()
	x.begin, x.shard, x.prev, x.next = time.Now(), s, s.tail, nil
	if s.tail != nil {
		s.tail.next = x
	} else {
		s.head = x
	}
	s.tail = x
	s.mu.Unlock()
}

// stage is what its end is told as; after that it is not told as overdue.
func (x *flight) stage() release.Stage {
	if x.told.Swap(toldEnd) == toldOverdue {
		return release.EndedOverdue
	}
	return release.Ended
}

// end takes a request out, after it was observed.
func (x *flight) end() {
	s := x.shard
	if s == nil {
		return
	}
	s.mu.Lock()
	if x.prev != nil {
		x.prev.next = x.next
	} else {
		s.head = x.next
	}
	if x.next != nil {
		x.next.prev = x.prev
	} else {
		s.tail = x.prev
	}
	x.shard, x.prev, x.next = nil, nil, nil
	s.mu.Unlock()
}

// Settled is the moment up to which every request that the split sent has been
// observed, apart from those under way for longer than patience. Requests that
// began before it can be compared.
func (p *Proxy) Settled(patience time.Duration) time.Time {
	settled := time.Now()
	from := settled.Add(-patience)
	for i := range p.flights.shards {
		s := &p.flights.shards[i]
		s.mu.Lock()
		x := s.head
		for x != nil && x.begin.Before(from) {
			x = x.next
		}
		if x != nil && x.begin.Before(settled) {
			settled = x.begin
		}
		s.mu.Unlock()
	}
	return settled
}

// Overdue tells the observer, once each, of the requests that the split sent
// and that have been under way for longer than age: a request that hangs is
// evidence now, not when it is given up. Their end is told as well.
func (p *Proxy) Overdue(age time.Duration) {
	now := time.Now()
	var late []release.Observation
	for i := range p.flights.shards {
		s := &p.flights.shards[i]
		s.mu.Lock()
		for x := s.head; x != nil && now.Sub(x.begin) > age; x = x.next {
			if x.told.CompareAndSwap(toldNothing, toldOverdue) {
				late = append(late, release.Observation{Release: p.name, Version: x.version, Weight: x.weight, Unit: x.unit,
					Route: release.BySplit, Begin: x.begin, Total: now.Sub(x.begin), Stage: release.Overdue})
			}
		}
		s.mu.Unlock()
	}
	for i := range late {
		p.observe(&late[i])
	}
}
