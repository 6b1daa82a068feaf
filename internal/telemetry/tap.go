package telemetry

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
)

// Tap is the evidence of two versions, kept from the moment it was opened until
// it is drained. Requests count that a random split sent (release.BySplit), that
// were no client's fault, and that were routed while both versions had a share.
//
// Counts are kept apart by the canary's share at the moment of routing, so that
// every portion is exact in the judge's routing mode (judge.md 5.1). For the same
// reason a request waits until all that were routed before it have ended
// (TapOptions.Settled): while the process of one version stalls only the other's
// requests end, and those alone are no random draw.
//
// Beside the comparison it labels a part of stable's requests as a placebo
// (placebo.go), tells users apart who fail (TapOptions.Users), and counts how
// requests were divided (division.go).
type Tap struct {
	recorder *Recorder
	sides    [2]*tapSide
	keys     [2]key
	settled  func() time.Time
	told     func() time.Duration
	warmUp   int64 // nanoseconds
	opened   time.Time
	first    atomic.Int64
	wake     chan struct{}
	placebo  placebo
	users    *tapUsers // nil: requests are not assigned by user
	measures *measures // nil: nothing is taken of models' answers
	divided  divisions // only Drain uses it
	cells    []tapCell
	closed   sync.Once
}

// tapSide hangs a tap into the series of one of its versions.
type tapSide struct {
	tap    *Tap
	canary bool
}

type tapCell struct {
	mu       sync.Mutex
	waiting  []ended
	portions []*portion
	free     []*portion
	routed   []routed
	skipped  int64
	last     [2]int64 // stable, canary: unix nanoseconds when a request ended last
	_        [64]byte
}

// ended is a request that waits for those before it.
type ended struct {
	begin  int64 // unix nanoseconds
	share  release.Weight
	unit   uint64
	who    uint8 // stable, canary or labelled
	failed bool
	stage  release.Stage
	class  uint8 // of the status code; 0: no answer
	bin    uint16
	bytes  uint16            // bin of the answer's size
	fault  bool              // the client's: measures alone may count it
	heard  *release.Feedback // of the answer; nothing else counts then
	answer *release.Answer   // where there are measures
}

// Whose a request is.
const (
	stable   = iota
	canary   // sent to it
	labelled // stable's, labelled as a placebo
	sides
)

// mostWaiting bounds what one cell holds back: beyond it requests count at
// once. It is some seconds of the most that one machine can serve.
const mostWaiting = 1 << 17

// TapOptions of a tap.
type TapOptions struct {
	// WarmUp: requests of either version that were routed sooner than this after
	// the canary's first one are no evidence. They are left out of both sides,
	// or else the ones that stay would no longer be split at random.
	WarmUp time.Duration
	// First is when the canary's first request came, where an earlier tap of the
	// same run saw it; zero: not yet.
	First time.Time
	// Settled is the moment up to which every request has been observed. Nil:
	// requests count as they end.
	Settled func() time.Time
	// Told is the age by which every request has been observed, at its end or as
	// overdue: how requests were divided is known then. Nil: as they end.
	Told func() time.Duration
	// Users says that requests are assigned by user (Observation.Unit), so that a
	// user is what was drawn, and counts once.
	Users bool
	// Measures are taken of models' answers.
	Measures []Measure
}

// Portions is one draining of a tap.
type Portions struct {
	Portions []Portion // sorted by share; only shares at which there were requests
	Divided  []Divided // sorted by share
	Skipped  int64     // requests that could tell nothing: one version had all of the traffic, or warm-up
	First    time.Time // when the canary's first request came; zero: not yet
	Stable   time.Time // when stable answered its last request since the last draining; zero: none
	Canary   time.Time // the same of the canary
}

// Portion is what both versions did at one share.
type Portion struct {
	Share  release.Weight // the canary's, 0 < Share < release.Full
	Canary Count
	Stable Count // Placebo and Rest together
	// Placebo is a part of stable's requests, each with the probability Share.
	Placebo Count
	Rest    Count
}

// Count is one version's part. Bins has the total time of successful requests
// only: an error that is answered fast must not look like speed, and one that
// is answered late already counts as an error. Those that were overdue are there
// with their age then, however they ended.
type Count struct {
	N, Bad int64
	Class  [6]int64 // requests by the class of their status code; 0: no answer
	Bins   []judge.BinCount
	// Bytes are sizes of the answers of successful requests (judge.Amount): with
	// TapOptions.Users, of each user the first.
	Bytes []judge.BinCount
	// With TapOptions.Users only: the total time of each user's first successful
	// request, who had a failed request since the last draining, and who one with a
	// status code of a class (4 and 5 only).
	Times []judge.BinCount
	UserCount
	Coded [6]UserCount
	// Measured are the TapOptions.Measures, in their order; nil: no answer came.
	Measured []Measured
	// Seconds are the Bins of each second (History only); not to be changed.
	Seconds [][]judge.BinCount
}

// UserCount is how many users had a bad request since the last draining, and how
// many of them the first of the tap.
type UserCount struct{ Users, Firsts int64 }

// Tap begins to keep the evidence of two versions. It must be closed.
func (r *Recorder) Tap(rel string, stable, canary release.VersionID, o TapOptions) *Tap {
	t := &Tap{
		recorder: r,
		keys:     [2]key{{rel, stable}, {rel, canary}},
		settled:  o.Settled,
		told:     o.Told,
		placebo:  newPlacebo(),
		divided:  newDivisions(o.Users),
		warmUp:   int64(o.WarmUp),
		opened:   time.Now(),
		wake:     make(chan struct{}, 1),
		cells:    make([]tapCell, r.stripes),
	}
	if o.Users {
		t.users = newTapUsers()
	}
	if len(o.Measures) > 0 {
		t.measures = newMeasures(o.Measures, o.Users)
	}
	if !o.First.IsZero() {
		t.first.Store(o.First.UnixNano())
	}
	for i, k := range t.keys {
		t.sides[i] = &tapSide{tap: t, canary: i == 1}
		r.hang(k, t.sides[i])
	}
	return t
}

// hang adds a tap to a series; the series cannot expire in between.
func (r *Recorder) hang(k key, side *tapSide) {
	s := r.of(k)
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := (*r.series.Load())[k]; now != s {
		next := map[key]*series{k: s}
		for k, s := range *r.series.Load() {
			next[k] = s
		}
		s = next[k]
		r.series.Store(&next)
	}
	var taps []*tapSide
	if old := s.taps.Load(); old != nil {
		taps = slices.Clone(*old)
	}
	taps = append(taps, side)
	s.taps.Store(&taps)
}

// Close ends the tap; what was not drained is lost.
func (t *Tap) Close() {
	t.closed.Do(func() {
		for i, k := range t.keys {
			t.recorder.unhang(k, t.sides[i])
		}
	})
}

func (r *Recorder) unhang(k key, side *tapSide) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := (*r.series.Load())[k]
	if s == nil || s.taps.Load() == nil {
		return
	}
	taps := slices.DeleteFunc(slices.Clone(*s.taps.Load()), func(x *tapSide) bool { return x == side })
	if len(taps) == 0 {
		s.taps.Store(nil)
		return
	}
	s.taps.Store(&taps)
}

// Wake delivers after a failed request of the canary; many are merged into one.
func (t *Tap) Wake() <-chan struct{} { return t.wake }

// add counts an observation of the side's version.
func (x *tapSide) add(stripe int, o *release.Observation) {
	t, who, share := x.tap, stable, release.Full-o.Weight
	if x.canary {
		who, share = canary, o.Weight
	}
	t.route(stripe, who, share, o)
	if o.Route != release.BySplit {
		return
	}
	if o.Outcome == release.ClientFault {
		t.fault(stripe, who, share, o)
		return
	}
	if x.canary {
		t.first.CompareAndSwap(0, o.Begin.UnixNano())
	}
	counts := t.counts(share, o)
	c := t.lock(stripe)
	if o.Stage != release.Overdue {
		c.last[who] = max(c.last[who], o.Begin.Add(o.Total).UnixNano())
	}
	if counts {
		c.wait(t, t.ended(who, share, o))
	} else if o.Stage != release.Overdue {
		c.skipped++
	}
	c.mu.Unlock()
	if counts && x.canary && o.Outcome == release.Failed {
		t.signal()
	}
}

// counts reports whether a request can be evidence.
func (t *Tap) counts(share release.Weight, o *release.Observation) bool {
	return share > 0 && share < release.Full && t.warm(o.Begin.UnixNano())
}

// fault takes a request that was the client's fault, where a measure asks for it.
func (t *Tap) fault(stripe, who int, share release.Weight, o *release.Observation) {
	if t.measures == nil || !t.measures.faults || o.Answer == nil || !t.counts(share, o) {
		return
	}
	c := t.lock(stripe)
	c.wait(t, t.ended(who, share, o))
	c.mu.Unlock()
}

// ended is what is kept of a request until those before it have ended.
func (t *Tap) ended(who int, share release.Weight, o *release.Observation) ended {
	e := ended{
		begin: o.Begin.UnixNano(), share: share, who: uint8(who), stage: o.Stage, failed: o.Outcome == release.Failed,
		class: uint8(classOf(o.Status)), bin: uint16(binOf(o.Total)), bytes: uint16(sizeBin(o)), //nolint:gosec // all of them fit
	}
	if t.users != nil {
		e.unit = o.Unit
	}
	if t.measures != nil {
		e.answer, e.heard, e.fault = o.Answer, o.Feedback, o.Outcome == release.ClientFault
	}
	if who == stable && t.placebo.draws(o, share) {
		e.who = labelled
	}
	return e
}

func (t *Tap) signal() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// warm reports whether a request that began then is past the warm-up.
func (t *Tap) warm(begin int64) bool {
	if t.warmUp == 0 {
		return true
	}
	first := t.first.Load()
	return first != 0 && begin >= first+t.warmUp
}

func (t *Tap) lock(stripe int) *tapCell {
	mask := len(t.cells) - 1
	for i := range t.cells {
		if c := &t.cells[(stripe+i)&mask]; c.mu.TryLock() {
			return c
		}
	}
	c := &t.cells[stripe&mask]
	c.mu.Lock()
	return c
}

// of returns the cell's portion of a share. A run has one share at a time, and
// two while requests of an earlier step end.
func (c *tapCell) of(share release.Weight) *portion {
	for _, p := range c.portions {
		if p.share == share {
			return p
		}
	}
	var p *portion
	if n := len(c.free); n > 0 {
		p, c.free = c.free[n-1], c.free[:n-1]
		*p = portion{}
	} else {
		p = &portion{}
	}
	p.share = share
	c.portions = append(c.portions, p)
	return p
}

// wait holds a request back, or counts it where none are held.
func (c *tapCell) wait(t *Tap, e ended) {
	if t.settled != nil && len(c.waiting) < mostWaiting {
		c.waiting = append(c.waiting, e)
		return
	}
	c.of(e.share).sides[e.who].count(&e, t)
}

// release counts those that began before a moment; it reports whether a failed
// request of the canary still waits.
func (c *tapCell) release(before int64, t *Tap) (failure bool) {
	kept := c.waiting[:0]
	for i := range c.waiting {
		e := c.waiting[i]
		if e.begin < before {
			c.of(e.share).sides[e.who].count(&e, t)
			continue
		}
		failure = failure || e.failed && e.who == canary
		kept = append(kept, e)
	}
	clear(c.waiting[len(kept):]) // lets go of the answers
	c.waiting = kept
	return failure
}

// again is how soon a failed request that waits asks for another draining.
const again = 5 * time.Millisecond

// Drain takes out what came since the last call, as far as it settled.
func (t *Tap) Drain() Portions {
	var out Portions
	before := int64(math.MaxInt64)
	if t.settled != nil {
		before = t.settled().UnixNano()
	}
	waits, now := false, time.Now()
	sums := map[release.Weight]*portion{}
	var last [2]int64
	for i := range t.cells {
		c := &t.cells[i]
		c.mu.Lock()
		waits = c.release(before, t) || waits
		for _, p := range c.portions {
			sums[p.share] = p.into(sums[p.share])
		}
		c.free = append(c.free[:0], c.portions...)
		c.portions = c.portions[:0]
		t.divided.take(c.routed)
		c.routed = c.routed[:0]
		out.Skipped += c.skipped
		for who, n := range c.last {
			last[who] = max(last[who], n)
		}
		c.skipped, c.last = 0, [2]int64{}
		c.mu.Unlock()
	}
	if waits {
		time.AfterFunc(again, t.signal)
	}
	for _, p := range sums {
		out.Portions = append(out.Portions, t.portion(p))
	}
	out.Divided = t.divided.until(now, t.told)
	slices.SortFunc(out.Portions, func(a, b Portion) int { return int(a.Share - b.Share) })
	out.First, out.Stable, out.Canary = timeOf(t.first.Load()), timeOf(last[0]), timeOf(last[1])
	return out
}

func timeOf(nano int64) time.Time {
	if nano == 0 {
		return time.Time{}
	}
	return time.Unix(0, nano)
}
