package judge

// learned is stable's distribution as far as bets may know it: the past only.
type learned struct {
	base, fresh   tally // what bets are built from; what stable did since
	baseN, freshN int64
	builtAt       float64
}

// Refreshing what was learned: never from fewer values than learnFirst, again
// after learnEvery seconds or when it doubled.
const (
	learnFirst = 100
	learnEvery = 60.0
)

// learn takes n values in.
func (l *learned) learn(bins []BinCount, n int64) {
	l.fresh.add(bins)
	l.freshN += n
}

// refresh takes what stable did since the last time into the base and reports
// whether bets are to be built anew. Old values fade, rare ones last.
func (l *learned) refresh(now float64) bool {
	if l.freshN+l.baseN < learnFirst || l.freshN == 0 {
		return false
	}
	if l.baseN > 0 && l.freshN < l.baseN && now-l.builtAt < learnEvery {
		return false
	}
	for i, c := range l.fresh {
		l.base[i] += c
	}
	l.fresh, l.freshN = tally{}, 0
	l.baseN = l.base.total()
	for l.baseN > learnCap {
		for i, c := range l.base {
			l.base[i] = (c + 1) / 2
		}
		l.baseN = l.base.total()
	}
	l.builtAt = now
	return true
}

// baseAbove is stable's share above a bin.
func (l *learned) baseAbove(bin int) float64 {
	n := int64(0)
	for _, c := range l.base[min(bin+1, scaleBins):] {
		n += c
	}
	return (float64(n) + 0.5) / (float64(l.baseN) + 1)
}

func (l *learned) save(out []byte) []byte {
	out = appendFloat(out, l.builtAt)
	return l.fresh.save(l.base.save(out))
}

func (l *learned) load(d *decoder) {
	l.builtAt = d.float()
	l.baseN = l.base.load(d)
	l.freshN = l.fresh.load(d)
}

// bucketBins gives the first and last bin of bucket i of a histogram with
// these bounds, the last one open.
func bucketBins(k Kind, bounds []float64, i int) (first, last int) {
	first, last = 0, scaleBins-1
	if i > 0 {
		first = int(binUnder(k, bounds[i-1])) + 1
	}
	if i < len(bounds) {
		last = int(binUnder(k, bounds[i]))
	}
	return min(first, last), last
}

// binUnder is the bin that ends at a bucket's upper bound.
func binUnder(k Kind, bound float64) int32 { return BinOf(k, max(0, bound)*(1-1e-9)) }

// spreadBuckets spreads what was counted by bucket evenly over its bins; the
// open one over as many bins as the one before.
func spreadBuckets(k Kind, bounds []float64, from, to *tally) {
	for i := range len(bounds) + 1 {
		first, last := bucketBins(k, bounds, i)
		n := int64(0)
		for _, c := range from[first : last+1] {
			n += c
		}
		if i == len(bounds) && i > 0 {
			f, l := bucketBins(k, bounds, i-1)
			last = min(last, first+max(1, l-f))
		}
		if i == 0 {
			first = max(first, last-70)
		}
		width := int64(last - first + 1)
		for j := first; j <= last; j++ {
			to[j] += n / width
		}
		to[last] += n % width
	}
}

// averageBuckets gives every bin of a bucket the same odds, so that the bet
// depends on nothing but the bucket.
func averageBuckets(k Kind, bounds []float64, p, r *[scaleBins]float64) {
	for i := range len(bounds) + 1 {
		first, last := bucketBins(k, bounds, i)
		num, den := 0.0, 0.0
		for j := first; j <= last; j++ {
			num += p[j] * r[j]
			den += p[j]
		}
		for j := first; j <= last; j++ {
			r[j] = num / den
		}
	}
}
