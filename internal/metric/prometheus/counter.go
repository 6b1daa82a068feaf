package prometheus

import (
	"hash/fnv"
	"maps"
	"math"
	"slices"
	"strconv"
)

// maxSeries bounds the series of one version's counter; more are left out. A
// mark is kept as long as the run: a series that came back without one would be
// counted from zero again.
const maxSeries = 5_000

// count is what a counter gained.
type count struct {
	N   int64 `json:"n"`
	Bad int64 `json:"bad"`
}

func (c *count) add(x count) { c.N += x.N; c.Bad += x.Bad }

// mark is the last sample of a series that was counted.
type mark struct {
	T float64 `json:"t"`
	V float64 `json:"v"`
}

// marks are the last samples of one version's series, by their labels.
type marks map[string]mark

// gain counts what a counter's series gained behind the marks, and moves the
// marks on. Samples at or before a mark are old news; a value that falls is a
// counter that began again at zero; a series without a mark began at zero after
// since, and only takes a mark where it was there before. gaps counts the series
// whose growth was left out.
func (m marks) gain(a answer, since births, r *reading) (sum count, newest float64, gaps int) {
	for _, s := range a.series {
		n, last, g := m.grow(s, since)
		gaps += g
		newest = max(newest, last)
		one := count{N: n}
		if r.isFailed(s.labels) {
			one.Bad = n
		}
		sum.add(one)
		if since.bad {
			one = count{Bad: n}
		}
		since.halves.add(s.labels, one)
	}
	return sum, newest, gaps
}

// grow is what one series gained, with the time of its newest sample; 0: it has
// none that counts.
func (m marks) grow(s series, b births) (n int64, newest float64, gaps int) {
	name := identity(s.labels)
	one := climb{births: b, from: b.of(s.labels), target: targetOf(s.labels)}
	one.last, one.known = m[name]
	for _, x := range s.samples {
		if x.counted() && (!one.known || x.t > one.last.T) {
			one.take(x)
		}
	}
	if _, marked := m[name]; !one.known || !marked && len(m) >= maxSeries {
		return 0, 0, one.gaps
	}
	m[name] = one.last
	return int64(math.Round(one.grown)), one.last.T, one.gaps
}

// climb is what a series gains, sample by sample.
type climb struct {
	births
	from   float64 // when one without a mark began at zero
	target string
	last   mark
	known  bool // there is a last
	still  bool // it did not grow over its last two samples before since
	left   bool // of the sample that is taken: what it adds was left out
	grown  float64
	gaps   int
}

// take counts what one sample adds to the last.
func (c *climb) take(x sample) {
	gain, from := c.gain(x)
	if gain > mostGained {
		gain, c.left = 0, true
		c.gaps++
	}
	c.divided.note(c.who, c.target, x.t, gain, c.left)
	if gain > 0 {
		c.saw.note(x.t)
	}
	if from >= c.warm {
		c.grown += gain
	}
	c.last, c.known = mark{x.t, x.v}, true
}

// gain is what a sample adds, and when that began to come.
func (c *climb) gain(x sample) (gain, from float64) {
	across, born := c.known && c.another && c.last.T <= c.since, 0.0
	if across {
		born = c.absent(x.t)
	}
	c.left = true
	switch {
	case !c.known && x.t <= c.from:
		return 0, c.last.T
	case across && x.t <= c.since:
		c.still = x.v == c.last.V
		return 0, c.last.T
	case across && born == 0 && !c.still:
		return 0, c.last.T
	case c.known && born == 0 && x.t-c.last.T > max(c.gap, leastGap):
		c.gaps++
		return 0, c.last.T
	}
	c.left = false
	switch {
	case born > 0:
		return x.v, born
	case !c.known:
		return x.v, x.t - c.apart
	case x.v < c.last.V:
		return x.v, c.last.T
	}
	return x.v - c.last.V, c.last.T
}

// absent is when the target was scraped last before a time, in the run, without
// this series: it was taken away and began again at zero, as a gateway does with
// the series of a Service that it has no route to any more. 0: it was not.
func (c *climb) absent(t float64) float64 {
	if before := c.heard.before(c.target, t); before > c.since && before > c.last.T {
		return before
	}
	return 0
}

// What a counter can be: more can not be told apart one by one, and no server
// answers so many requests between two samples.
const (
	mostCounted = 1 << 53
	mostGained  = 10_000_000_000
)

// counted reports whether it is what a counter can be, at a time that there is.
func (x sample) counted() bool {
	return x.v >= 0 && x.v <= mostCounted && !math.IsNaN(x.t) && !math.IsInf(x.t, 0)
}

// identity is a short name of a set of labels; a cursor holds one for every
// series, and 64 bits tell some thousands of them apart.
func identity(labels map[string]string) string {
	h := fnv.New64a()
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		_, _ = h.Write([]byte(name + "\x00" + labels[name] + "\x00"))
	}
	return strconv.FormatUint(h.Sum64(), 36)
}

// births says from when on a series that is seen for the first time began at
// zero, in seconds since 1970.
type births struct {
	since float64
	// another: before since the series counted another version's requests, behind
	// the same Service; what grew across that moment may be of either, unless the
	// series had come to rest before it.
	another bool
	// scraped is when an instance was scraped first, where that is known: what its
	// series hold then may be old.
	scraped map[string]float64
	heard   heard   // when each target was scraped
	gap     float64 // spacing.longestGap; 0: leastGap
	apart   float64 // spacing.median
	// warm is when the canary's warming up ended: what may have been gained before
	// it is no evidence. Infinite: its first request has not come yet.
	warm float64
	saw  *growth // what grew is noted there, counted or not; nil: nowhere
	// divided takes note of what the version's series (who) gained at each target, and
	// halves of which half of stable's targets they are; nil: nothing does.
	divided *divided
	who     int
	halves  *halves
	bad     bool // the counter is of bad outcomes alone
}

// growth is when a series that gained was sampled for the first time, in seconds
// since 1970; 0: never.
type growth struct{ first float64 }

func (g *growth) note(t float64) {
	if g != nil && (g.first == 0 || t < g.first) {
		g.first = t
	}
}

func (b births) of(labels map[string]string) float64 {
	return max(b.since, b.scraped[labels["instance"]])
}
