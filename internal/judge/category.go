package judge

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

var errPairs = errors.New("judge: a paired batch needs the same number of pairs on both sides, of which each is won at most once")

// maxClasses bounds the classes of a category.
const maxClasses = 64

// maxClassName bounds the bytes of a class's name.
const maxClassName = 256

// classes is the two-sided test that outcomes of a class come from the canary
// as often as others: the bet learns the canary's own distribution.
type classes struct {
	bets
	known          int // classes seen so far
	canary, stable [maxClasses]float64
	nc, ns         float64 // sums; stable's holds its history too
	history        float64
}

// learnWeight is how many of stable's outcomes the canary's estimate starts with.
const learnWeight = 20

func newClasses(p Policy, history []int64) classes {
	c := classes{bets: newBets([]float64{1}, []float64{60}, startShare, p.Horizon), known: len(history)}
	for i, n := range history {
		c.stable[i] = float64(n)
		c.ns += float64(n)
	}
	c.history = c.ns
	c.settle()
	return c
}

// odds of class y being the canary's, from the past.
func (c *classes) odds(y int) float64 {
	s := (c.stable[y] + 0.5) / (c.ns + 0.5*float64(c.known))
	return (c.canary[y] + learnWeight*s) / (c.nc + learnWeight) / s
}

func (c *classes) bet(now, w float64, canary, stable []int64) {
	c.restart(now)
	c.known = max(c.known, len(canary), len(stable))
	at := func(xs []int64, y int) float64 {
		if y < len(xs) {
			return float64(xs[y])
		}
		return 0
	}
	if w > 0 && w < 1 {
		for y := range c.known {
			a, b := at(canary, y), at(stable, y)
			if a+b > 0 {
				r := c.odds(y)
				c.logR[0] += a*math.Log(r) - (a+b)*math.Log1p(w*(r-1))
			}
		}
	}
	for y := range c.known {
		a, b := at(canary, y), at(stable, y)
		c.canary[y] += a
		c.stable[y] += b
		c.nc += a
		c.ns += b
	}
	c.settle()
}

func (c *classes) evidence() float64         { return c.logM }
func (c *classes) proof(int) (float64, bool) { return 0, false }
func (c *classes) sides() (canary, s int64)  { return int64(c.nc), int64(c.ns - c.history) }

// report shows the class whose share differs most, with intervals that hold for
// all classes at once. Stable's history counts as stable's.
func (c *classes) report(_ Metric, _ int, r *MetricReport) {
	r.Canary.N, r.Stable.N = c.sides()
	if c.nc == 0 || c.ns == 0 {
		return
	}
	most, diff := 0, -1.0
	for y := range c.known {
		if d := math.Abs(c.canary[y]/c.nc - c.stable[y]/c.ns); d > diff {
			most, diff = y, d
		}
	}
	alpha := IntervalAlpha / float64(c.known)
	side := func(s *SideReport, k, n float64) {
		low, high := rateInterval(int64(k), int64(n), alpha)
		s.Bad, s.Value, s.Low, s.High = int64(k), finite(k/n), finite(low), finite(high)
	}
	side(&r.Canary, c.canary[most], c.nc)
	side(&r.Stable, c.stable[most], c.ns)
	r.Class = &most
	r.Diff = differenceOf(int64(c.canary[most]), int64(c.nc), int64(c.stable[most]), int64(c.ns), alpha)
}

func (c *classes) save(out []byte) []byte {
	out = c.bets.save(out)
	out = appendCount(out, int64(c.known))
	for y := range c.known {
		out = appendCount(appendCount(out, int64(c.canary[y])), int64(c.stable[y]))
	}
	return appendCount(out, int64(c.history))
}

func (c *classes) load(d *decoder) {
	c.bets.load(d)
	n := d.count()
	if n > maxClasses {
		d.fail("there are too many classes")
		return
	}
	c.known = int(n)
	for y := range c.known {
		c.canary[y], c.stable[y] = float64(d.count()), float64(d.count())
		c.nc += c.canary[y]
		c.ns += c.stable[y]
	}
	c.history = float64(d.count())
}

// category is the test of classes.
type category struct {
	classes
	names []string // of the classes, as far as they have been told
}

func newCategory(p Policy, h History) *category {
	return &category{classes: newClasses(p, h.Classes), names: make([]string, 0, maxClasses)}
}

func (c *category) check(b *Batch) error {
	if len(b.Names) > maxClasses || slices.ContainsFunc(b.Names, func(n string) bool { return len(n) > maxClassName }) {
		return fmt.Errorf("judge: %d names of classes, expected at most %d of %d bytes", len(b.Names), maxClasses, maxClassName)
	}
	return checkClasses(b.Canary.Classes, b.Stable.Classes)
}

func checkClasses(sides ...[]int64) error {
	for _, s := range sides {
		if len(s) > maxClasses {
			return fmt.Errorf("judge: %d classes, expected at most %d; count the rare ones as one", len(s), maxClasses)
		}
		for i, n := range s {
			if n < 0 || n > maxCount {
				return fmt.Errorf("judge: class %d has %d outcomes, expected 0 to %d", i, n, maxCount)
			}
		}
	}
	return nil
}

func (c *category) update(b *Batch) {
	w := b.Share
	if w == 0 {
		w = shareOf(b.Canary.Classes, b.Stable.Classes)
	}
	c.bet(b.At, w, b.Canary.Classes, b.Stable.Classes)
	if len(b.Names) > len(c.names) {
		c.names = append(c.names, b.Names[len(c.names):]...) // within its capacity
	}
}

func (c *category) report(m Metric, looseness int, r *MetricReport) {
	c.classes.report(m, looseness, r)
	if r.Class != nil && *r.Class < len(c.names) {
		r.ClassName = c.names[*r.Class]
	}
}

func (c *category) save(out []byte) []byte {
	out = appendCount(c.classes.save(out), int64(len(c.names)))
	for _, n := range c.names {
		out = append(appendCount(out, int64(len(n))), n...)
	}
	return out
}

func (c *category) load(d *decoder) {
	c.classes.load(d)
	n := d.count()
	if n > maxClasses {
		d.fail("there are too many names")
		return
	}
	for range n {
		size := d.count()
		if size > maxClassName {
			d.fail("a name is too long")
			return
		}
		c.names = append(c.names, string(d.take(int(size))))
	}
}

// shareOf is the canary's share of a batch; 0 when one side is empty.
func shareOf(canary, stable []int64) float64 {
	var c, s float64
	for _, n := range canary {
		c += float64(n)
	}
	for _, n := range stable {
		s += float64(n)
	}
	if c == 0 || s == 0 {
		return 0
	}
	return c / (c + s)
}

// driftClasses is the number of classes that a distribution is cut into.
const driftClasses = 16

// drift is the test of a distribution: classes by stable's quantiles, fixed
// when stable has shown enough.
type drift struct {
	classes
	edges [driftClasses - 1]int // the last bin of each class but the last
	ready bool
	first tally // what stable did before
	c, s  [driftClasses]int64
}

func newDrift(p Policy, h History) *drift {
	d := &drift{classes: newClasses(p, nil)}
	d.first.add(h.Bins)
	d.cut()
	return d
}

// cut fixes the classes once there is enough to cut by.
func (d *drift) cut() {
	if d.ready || d.first.total() < learnFirst {
		return
	}
	for i := range d.edges {
		d.edges[i] = d.first.quantileBin(float64(i+1) / driftClasses)
	}
	for bin, n := range d.first {
		d.stable[d.class(int32(bin))] += float64(n)
		d.ns += float64(n)
	}
	d.history, d.known, d.ready = d.ns, driftClasses, true
	d.first = tally{}
}

func (d *drift) class(bin int32) int {
	for i, e := range d.edges {
		if int(bin) <= e {
			return i
		}
	}
	return driftClasses - 1
}

func (d *drift) check(*Batch) error { return nil }

func (d *drift) update(b *Batch) {
	if !d.ready {
		d.restart(b.At)
		d.settle()
		d.first.add(b.Stable.Bins)
		d.cut()
		return
	}
	d.c, d.s = [driftClasses]int64{}, [driftClasses]int64{}
	for _, x := range b.Canary.Bins {
		d.c[d.class(x.Bin)] += x.Count
	}
	for _, x := range b.Stable.Bins {
		d.s[d.class(x.Bin)] += x.Count
	}
	w := b.Share
	if w == 0 {
		w = shareOf(d.c[:], d.s[:])
	}
	d.bet(b.At, w, d.c[:], d.s[:])
}

func (d *drift) save(out []byte) []byte {
	out = d.classes.save(out)
	out = appendBool(out, d.ready)
	for _, e := range d.edges {
		out = appendCount(out, int64(e))
	}
	return d.first.save(out)
}

func (d *drift) load(dec *decoder) {
	d.classes.load(dec)
	d.ready = dec.bool()
	for i := range d.edges {
		d.edges[i] = int(dec.count())
	}
	d.first.load(dec)
}
