package judge

import (
	"fmt"
	"math"
)

// guard is the absolute test against interference: are both versions together
// much worse than stable was before the run? A canary that hurts what the two
// share hides from every comparison. It bets on the mean of each interval, so
// that no burst inside one can decide alone, and asks for a pause only.
type guard struct {
	bets
	limit float64 // of the mean: bad ones a unit, or the share of values above at
	at    int     // bin of latency and amount; 0 for others
	slot  float64 // number of the open interval, that of the last batch
	n, k  float64 // what it holds
}

// guardBar is log(1/0.001): the guard asks for a pause, it blames nobody.
const guardBar = 6.907755278982137

const (
	guardEvery  = 5.0 // seconds of one interval
	guardValues = 0.9 // quantile of values that is guarded
)

// guardStakes are the bets as parts of the largest one that can not lose all.
var guardStakes = [4]float64{0.05, 0.2, 0.5, 0.9}

func newGuard(limit float64, at int, horizon float64) *guard {
	g := &guard{bets: newBets([]float64{1, 1, 1, 1}, []float64{60, 60, 60, 60}, startShare, horizon), at: at}
	if g.limit = float64(float32(limit)); g.limit < limit { // single precision is saved; a higher limit is as valid
		g.limit = float64(math.Nextafter32(float32(limit), math.MaxFloat32))
	}
	g.coarsen()
	return g
}

// guardRate guards a share or a rate at Guard times the upper end of the
// history's; nil where there is no guard or no history.
func guardRate(m Metric, p Policy, h History) *guard {
	if m.Guard <= 0 || h.N == 0 {
		return nil
	}
	limit := m.Guard * upperEnd(float64(h.Bad)) / float64(h.N)
	if m.Kind == Proportion && limit >= 0.95 {
		return nil
	}
	return newGuard(limit, 0, p.Horizon)
}

// guardBins guards positive amounts: no more than one in ten values may lie
// above Guard times the history's 90th percentile.
func guardBins(m Metric, p Policy, base *tally, n int64) *guard {
	if m.Guard <= 0 || n < learnFirst {
		return nil
	}
	at := min(base.quantileBin(guardValues)+int(math.Ceil(binShift(m.Kind, m.Guard))), scaleBins-1)
	above := 0.0
	for _, c := range base[at:] {
		above += float64(c)
	}
	limit := max(1-guardValues, upperEnd(above)/float64(n))
	if limit >= 0.95 {
		return nil
	}
	return newGuard(limit, at, p.Horizon)
}

// upperEnd is about the most that a count of k speaks for.
func upperEnd(k float64) float64 { return k + 3 + 2*math.Sqrt(k) }

// add takes n units with k bad ones into the open interval.
func (g *guard) add(at, n, k float64) {
	if g == nil {
		return
	}
	if slot := math.Floor(at / guardEvery); slot != g.slot {
		g.close()
		g.slot = slot
	}
	g.n += n
	g.k += k
}

// addBins counts the values above the guarded one.
func (g *guard) addBins(b *Batch) {
	if g == nil {
		return
	}
	n, k := 0.0, 0.0
	for _, s := range [2]*Side{&b.Canary, &b.Stable} {
		for _, c := range s.Bins {
			n += float64(c.Count)
			if int(c.Bin) >= g.at {
				k += float64(c.Count)
			}
		}
	}
	g.add(b.At, n, k)
}

// close bets on the open interval: the mean of a factor is at most 1 while that
// of k/n is at most the limit.
func (g *guard) close() {
	if g.n > 0 {
		g.restart(g.slot * guardEvery)
		for i, f := range guardStakes {
			g.logR[i] += math.Log1p(f * (g.k/g.n/g.limit - 1))
		}
		g.coarsen()
	}
	g.n, g.k = 0, 0
}

// warn tells what the guard found.
func (g *guard) warn(r *MetricReport) {
	switch {
	case g == nil || g.logM < guardBar:
	case g.at > 0:
		r.Shared = fmt.Sprintf("%s: answers of both versions take much longer than stable's did before the run; the canary may hurt what they share.", r.Name)
	default:
		r.Shared = fmt.Sprintf("%s: both versions are much worse than stable was before the run; the canary may hurt what they share.", r.Name)
	}
}

func (g *guard) save(out []byte) []byte {
	if g == nil {
		return appendCount(out, 0)
	}
	out = appendSingles(appendCount(out, int64(g.at)+1), []float64{g.limit})
	out = appendCount(appendCount(out, int64(g.n)), int64(g.k))
	return g.bets.save(out)
}

func loadGuard(d *decoder, horizon float64) *guard {
	at := d.count() - 1
	if at < 0 {
		return nil
	}
	var limit [1]float64
	d.singles(limit[:])
	n, k := d.count(), d.count()
	if d.err == nil && (!(limit[0] > 0) || at >= scaleBins) {
		d.fail("a guard is out of range")
	}
	g := newGuard(limit[0], int(at), horizon)
	g.n, g.k, g.slot = float64(n), float64(k), math.Floor(d.at/guardEvery)
	g.bets.load(d)
	return g
}
