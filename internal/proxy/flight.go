package proxy

import (
	"math/rand/v2"
	"sync"
	"time"
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
	begin      time.Time
	shard      *flightShard // nil: not under way
	prev, next *flight
}

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
