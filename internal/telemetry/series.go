package telemetry

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// series is what is known of one version of one release.
type series struct {
	cells   []cell
	last    atomic.Int64 // unix nanoseconds when a request ended last; 0: never
	taps    atomic.Pointer[[]*tapSide]
	answers answers
	models  admitted

	mu       sync.Mutex
	previous tally // at the last tick
	ring     ring
	usage    usageRing
}

// cell is one stripe of a series. A stripe has its own lock, so that observers
// on different processors hardly ever meet.
type cell struct {
	mu sync.Mutex
	tally
	genAIs genAIs
	unread unread
	unfit  unfit
	_      [64]byte
}

// The classes of status codes: 0 is no answer at all.
const classes = 6

// classOf is the class of a status code.
func classOf(status int) int {
	if c := status / 100; c > 0 && c < classes {
		return c
	}
	return 0
}

// The outcomes.
const outcomes = 3

// tally counts requests. Mirrored copies are in mirrored alone: no user waited
// for them.
type tally struct {
	codes     [classes][outcomes]int64
	mirrored  [outcomes]int64
	shielded  int64
	inBytes   int64
	outBytes  int64
	ok        histogram      // total time of successful requests
	sizes     [numBins]int64 // of their answers (judge.Amount)
	other     histogram      // total time of the others
	firstByte histogram
}

type histogram struct {
	bins [numBins]int64
	sum  float64 // seconds
}

func (h *histogram) add(d time.Duration) {
	h.bins[binOf(d)]++
	h.sum += d.Seconds()
}

func (h *histogram) merge(x *histogram) {
	for i, n := range x.bins {
		h.bins[i] += n
	}
	h.sum += x.sum
}

func newSeries(stripes int) *series { return &series{cells: make([]cell, stripes)} }

// add counts one observation in the first free cell from a random one on.
func (s *series) add(stripe int, o *release.Observation) {
	c := s.lock(stripe)
	c.tally.count(o)
	c.genAIs.count(o, &s.models)
	c.unread.count(o)
	if o.Unfit != "" {
		c.unfit.count(o)
	}
	c.mu.Unlock()
	end := o.Begin.Add(o.Total)
	if o.Answer != nil && o.Outcome == release.OK && o.Route == release.BySplit {
		s.answers.push(end.UnixNano(), o.Answer)
	}
	s.seen(end)
}

func (s *series) lock(stripe int) *cell {
	mask := len(s.cells) - 1
	for i := range s.cells {
		if c := &s.cells[(stripe+i)&mask]; c.mu.TryLock() {
			return c
		}
	}
	c := &s.cells[stripe&mask]
	c.mu.Lock()
	return c
}

// seen moves the time of the last request on. Only whole tenths of a second
// are written, so that observers do not fight for the word.
func (s *series) seen(end time.Time) {
	const grain = int64(100 * time.Millisecond)
	now, old := end.UnixNano(), s.last.Load()
	if now-old >= grain {
		s.last.CompareAndSwap(old, now)
	}
}

func (s *series) lastSeen() time.Time {
	if n := s.last.Load(); n != 0 {
		return time.Unix(0, n)
	}
	return time.Time{}
}

func (t *tally) count(o *release.Observation) {
	outcome := min(int(o.Outcome), outcomes-1)
	if o.Route == release.ByMirror {
		t.mirrored[outcome]++
		return
	}
	t.codes[classOf(o.Status)][outcome]++
	t.inBytes += o.In
	t.outBytes += o.Out
	if o.Shielded {
		t.shielded++
	}
	if o.FirstByte > 0 {
		t.firstByte.add(o.FirstByte)
	}
	if o.Outcome == release.OK {
		t.ok.add(o.Total)
		t.sizes[sizeBin(o)]++
		return
	}
	t.other.add(o.Total)
}

// read sums the cells.
func (s *series) read(t *tally) {
	*t = tally{}
	for i := range s.cells {
		c := &s.cells[i]
		c.mu.Lock()
		t.merge(&c.tally)
		c.mu.Unlock()
	}
}

func (t *tally) merge(x *tally) {
	for i := range x.codes {
		for j, n := range x.codes[i] {
			t.codes[i][j] += n
		}
	}
	for j, n := range x.mirrored {
		t.mirrored[j] += n
	}
	t.shielded += x.shielded
	t.inBytes += x.inBytes
	t.outBytes += x.outBytes
	t.ok.merge(&x.ok)
	for i, n := range x.sizes {
		t.sizes[i] += n
	}
	t.other.merge(&x.other)
	t.firstByte.merge(&x.firstByte)
}

// of gives the requests with an outcome.
func (t *tally) of(o release.Outcome) int64 {
	var n int64
	for i := range t.codes {
		n += t.codes[i][o]
	}
	return n
}

// stripesFor gives the number of stripes: the next power of two, at most 16.
func stripesFor(procs int) int {
	n := 1
	for n < procs && n < 16 {
		n *= 2
	}
	return n
}
