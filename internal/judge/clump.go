package judge

import "math"

// clumps measures how far values come in clumps rather than one by one: a
// process that stalls delays every request inside it, so that a hundred slow
// answers may be one event. It keeps the last seconds of both versions and
// returns the design effect (Kish 1965): the variance of the number of values
// above a quantile from one window to the next, divided by what independent
// values would have. Successive differences (von Neumann 1941) keep drift that
// is slower than a window out of it, and a steady difference between the
// versions too.
//
// Bets and proofs use it in two ways, both valid whatever it says, since it is known
// before the second that it is used for: every log factor is multiplied by
// 1/effect (a factor with mean at most 1 keeps that when raised to a power
// below 1, by Jensen; and m values that are one event then count as one), and
// no component gains more than secondCap from one second (a smaller payoff of
// the same bet).
type clumps struct {
	limits [clumpLevels]int // bins; -1: not known yet
	open   float64          // the second that is open
	now    clumpSecond
	ring   [clumpSeconds]clumpSecond
	next   int
	filled int
	effect float64
	// Of the seconds in the ring, so that they are not gone through anew: what they
	// hold in all, and how far each differs from the one before that had values.
	sums   [2]sideCount
	pairs  [clumpSeconds][2][clumpLevels]float64
	taken  int                        // seconds that were taken in
	latest [2]sideCount               // of the last clumpWindow seconds
	ends   [clumpSeconds][2]sideCount // latest, when each second came
	before [2]struct {
		n     float64
		share [clumpLevels]float64
	}
}

// clumpSecond is what one second held: all values of each version, and those
// above each level.
type clumpSecond struct {
	n     [2]int64
	above [2][clumpLevels]int64
}

const (
	clumpSeconds = 64
	clumpLevels  = 3
	// clumpKnown is how many seconds must have been seen before a second is
	// trusted to hold more than one event.
	clumpKnown = 10
	// clumpDoubt is the normal quantile above which an effect is no accident.
	clumpDoubt = 3.7
)

// secondCap bounds in nats what a second can add where values come in clumps,
// or where it is not known whether they do.
var secondCap = math.Log(10)

var clumpQuantiles = [clumpLevels]float64{0.5, 0.9, 0.99}

func newClumps() clumps {
	c := clumps{effect: 1}
	for i := range c.limits {
		c.limits[i] = -1
	}
	return c
}

// learn takes stable's seconds before the run, oldest first.
func (c *clumps) learn(base *tally, seconds [][]BinCount) {
	c.level(base)
	for _, s := range seconds {
		c.add(1, s, binsTotal(s))
		c.push()
	}
	c.measure()
}

// level sets the levels once there is a distribution to take them from.
func (c *clumps) level(base *tally) {
	if c.limits[0] >= 0 || base.total() < 200 {
		return
	}
	for i, q := range clumpQuantiles {
		c.limits[i] = base.quantileBin(q)
	}
}

// add counts all values of the canary (0) or stable (1) into the open second.
func (c *clumps) add(side int, bins []BinCount, all int64) {
	n, level := int64(0), clumpLevels-1
	for i := len(bins) - 1; i >= 0 && level >= 0; i-- { // bins and levels ascend
		for level >= 0 && int(bins[i].Bin) <= c.limits[level] {
			c.now.above[side][level] += n
			level--
		}
		n += bins[i].Count
	}
	for ; level >= 0; level-- {
		c.now.above[side][level] += n
	}
	c.now.n[side] += all
}

// tick closes the open second when now is another one; it reports whether it did.
func (c *clumps) tick(now float64) bool {
	if s := math.Floor(now); s != c.open {
		c.open = s
		if c.limits[0] >= 0 {
			c.push()
			c.measure()
		}
		c.now = clumpSecond{}
		return true
	}
	return false
}

func (c *clumps) push() {
	if c.filled == clumpSeconds {
		c.sum(&c.ring[c.next], -1)
	}
	c.ring[c.next] = c.now
	c.took(c.next)
	c.next = (c.next + 1) % clumpSeconds
	c.filled = min(c.filled+1, clumpSeconds)
	c.now = clumpSecond{}
}

// took brings what is known of the whole ring up to date with a new second.
func (c *clumps) took(i int) {
	s := &c.ring[i]
	c.sum(s, 1)
	for side := range c.latest {
		if c.taken >= clumpWindow {
			old := &c.ring[(i+clumpSeconds-clumpWindow)%clumpSeconds]
			c.latest[side].add(-1, old.n[side], &old.above[side])
		}
		c.latest[side].add(1, s.n[side], &s.above[side])
		c.ends[i][side] = c.latest[side]
	}
	c.taken++
	for side, n := range s.n {
		if n == 0 {
			continue
		}
		b, here := &c.before[side], float64(n)
		weight, part := b.n*here/(b.n+here), 1/here
		b.n = here
		for k, a := range s.above[side] {
			x := float64(a) * part
			d := x - b.share[k]
			b.share[k], c.pairs[i][side][k] = x, weight*d*d
		}
	}
}

// sum adds a second to what the ring holds, or with -1 takes it away.
func (c *clumps) sum(s *clumpSecond, sign int64) {
	for side := range c.sums {
		c.sums[side].add(sign, s.n[side], &s.above[side])
	}
}

// known reports whether enough seconds were seen to trust the effect.
func (c *clumps) known() bool { return c.filled >= clumpKnown }

// capped reports whether a second may hold one event only.
func (c *clumps) capped() bool { return !c.known() || c.effect > 1 }

// counted is how much counts of what was earned in the open second.
func (c *clumps) counted(gain float64, capped bool) float64 {
	if gain /= c.effect; capped && gain > secondCap {
		return secondCap
	}
	return gain
}

// earned is what the components of a bet earned in the open second, and how
// much of it is counted in their log e-values.
type earned struct{ gain, applied []float64 }

func newEarned(n int) earned { return earned{make([]float64, n), make([]float64, n)} }

func (e *earned) clear() {
	clear(e.gain)
	clear(e.applied)
}

// count brings the log e-values up to date with what was earned.
func (e *earned) count(c *clumps, logE []float64) {
	capped := c.capped()
	for k, gain := range e.gain {
		now := c.counted(gain, capped)
		logE[k] += now - e.applied[k]
		e.applied[k] = now
	}
}

// load reads what was earned; c does not change within a second, so what is
// counted follows from it.
func (e *earned) load(d *decoder, c *clumps) {
	d.floats(e.gain)
	for k, gain := range e.gain {
		e.applied[k] = c.counted(gain, c.capped())
	}
}

// measure takes the largest effect over versions, levels and windows.
func (c *clumps) measure() {
	c.effect = 1
	for side := range 2 {
		c.effect = max(c.effect, c.effectOfSeconds(side), c.effectOfWindows(side))
	}
}

// effectOfSeconds is the effect from one second to the next.
func (c *clumps) effectOfSeconds(side int) float64 {
	windows := 0.0
	var squares [clumpLevels]float64
	at := (c.next + clumpSeconds - c.filled) % clumpSeconds
	for range c.filled {
		if c.ring[at].n[side] > 0 {
			if windows++; windows > 1 { // the first one has none before it
				pairs := &c.pairs[at][side]
				squares[0] += pairs[0]
				squares[1] += pairs[1]
				squares[2] += pairs[2]
			}
		}
		if at++; at == clumpSeconds {
			at = 0
		}
	}
	return effectOf(&c.sums[side], windows, &squares)
}

// Every level is added.
var _ = [1]struct{}{}[clumpLevels-3]

// clumpWindow is the length of the longer windows in seconds.
const clumpWindow = 4

// effectOfWindows is the effect from one longer window to the next.
func (c *clumps) effectOfWindows(side int) float64 {
	windows, before := 0.0, 0.0
	var share, squares [clumpLevels]float64
	var all sideCount
	first := c.next + clumpSeconds - c.filled
	for i := 0; i+clumpWindow <= c.filled; i += clumpWindow {
		w := &c.ends[uint(first+i+clumpWindow-1)%clumpSeconds][side]
		if w.n == 0 {
			continue
		}
		here := float64(w.n)
		weight, part := before*here/(before+here), 1/here
		for k, a := range w.above {
			x := float64(a) * part
			d := x - share[k]
			squares[k] += weight * d * d // the first window has no weight
			share[k] = x
		}
		all.add(1, w.n, &w.above)
		windows, before = windows+1, here
	}
	return effectOf(&all, windows, &squares)
}

// effectOf is the mean squared difference between neighbouring windows over
// its expectation for independent values, the largest of all levels; 1 where it
// may be an accident.
func effectOf(all *sideCount, windows float64, squares *[clumpLevels]float64) float64 {
	effect, pairs, n := 1.0, windows-1, float64(all.n)
	if pairs < 4 {
		return effect
	}
	for k, above := range all.above {
		e := float64(above)
		q := e / n * (1 - e/n)
		if e < 10 || q <= 0 {
			continue
		}
		if x := squares[k] / pairs / q; x > accident(pairs, (1-6*q)/(n/windows*q)) {
			effect = max(effect, x)
		}
	}
	return effect
}

// accident is the effect up to which independent values may seem to clump: the
// upper quantile of the mean square of so many neighbouring differences. They
// share windows, so that its variance is 3/pairs rather than 2/pairs, and more
// by the excess kurtosis of one window; its law is nearly gamma, with the
// quantile of Wilson, Hilferty 1931.
func accident(pairs, kurtosis float64) float64 {
	spread := (3 + max(0, kurtosis)) / (9 * pairs)
	x := 1 - spread + clumpDoubt*math.Sqrt(spread)
	return x * x * x
}

// sideCount is what one version did in a window.
type sideCount struct {
	n     int64
	above [clumpLevels]int64
}

// add adds counts, or with -1 takes them away.
func (s *sideCount) add(sign, n int64, above *[clumpLevels]int64) {
	s.n += sign * n
	for k, a := range above {
		s.above[k] += sign * a
	}
}

func (c *clumps) save(out []byte) []byte {
	head := []float64{c.open, float64(c.next), float64(c.filled), c.effect}
	for _, at := range c.limits {
		head = append(head, float64(at))
	}
	out = appendFloats(out, head)
	out = c.now.save(out)
	for i := range c.filled {
		out = c.ring[i].save(out) // before the ring is full its oldest second is its first
	}
	return out
}

func (c *clumps) load(d *decoder) {
	c.open, c.next, c.filled, c.effect = d.float(), int(d.float()), int(d.float()), d.float()
	for i := range c.limits {
		c.limits[i] = int(d.float())
	}
	if c.next < 0 || c.next >= clumpSeconds || c.filled < 0 || c.filled > clumpSeconds || !(c.effect >= 1) {
		d.fail("the clumps of a histogram")
		*c = newClumps()
		return
	}
	c.now.load(d)
	for i := range c.filled {
		c.ring[i].load(d)
	}
	for i := range c.filled {
		c.took((c.next + clumpSeconds - c.filled + i) % clumpSeconds)
	}
}

func (s *clumpSecond) save(out []byte) []byte {
	for side := range 2 {
		out = appendCount(out, s.n[side])
		for _, a := range s.above[side] {
			out = appendCount(out, a)
		}
	}
	return out
}

func (s *clumpSecond) load(d *decoder) {
	for side := range 2 {
		s.n[side] = d.count()
		for i := range s.above[side] {
			s.above[side][i] = d.count()
		}
	}
}
