package prometheus

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/haldane-project/haldane/internal/judge"
)

// le is the label that holds a bucket's upper bound.
const le = "le"

// bounds are counts of requests by the upper bound of their time, in seconds.
type bounds map[float64]int64

// gainBuckets counts what a histogram's buckets gained behind the marks, as gain
// does, without the requests that failed: an error that is answered fast must
// not look like speed.
func (m marks) gainBuckets(a answer, since births, r *reading) (sum bounds, newest float64, gaps int) {
	sum = bounds{}
	for _, group := range histograms(a, r) {
		got, last, g := m.gainOne(group, since)
		gaps += g
		newest = max(newest, last)
		sum.add(got)
		since.halves.addTimes(group[0].labels, got)
	}
	return sum, newest, gaps
}

// gainOne is what one histogram gained. A native one whose buckets gained other
// than its count was cut into other buckets meanwhile, and tells nothing.
func (m marks) gainOne(group []bucketSeries, since births) (sum bounds, newest float64, gaps int) {
	sum = bounds{}
	before, all := int64(0), int64(-1)
	for _, s := range group {
		n, last, g := m.grow(s.series, since)
		gaps += g
		newest = max(newest, last)
		switch s.labels[native] {
		case nativeCount:
			all = n
			continue
		case "": // the series of a classic histogram count all up to the bound
			n, before = max(0, n-before), max(before, n)
		}
		if n > 0 {
			sum[s.bound] += n
		}
	}
	if all >= 0 && sum.total() != all {
		return bounds{}, newest, gaps + 1
	}
	return sum, newest, gaps
}

type bucketSeries struct {
	series
	bound float64 // seconds
}

// histograms are the series of each histogram, by bound.
func histograms(a answer, r *reading) map[string][]bucketSeries {
	out := map[string][]bucketSeries{}
	isNative := slices.ContainsFunc(a.series, func(s series) bool { return s.labels[native] != "" })
	for _, s := range a.series {
		bound, err := strconv.ParseFloat(s.labels[le], 64)
		if err != nil || math.IsNaN(bound) || r.isFailed(s.labels) || isNative && s.labels[native] == "" { // the same requests again
			continue
		}
		others := maps.Clone(s.labels)
		delete(others, le)
		delete(others, native)
		name := identity(others)
		out[name] = append(out[name], bucketSeries{s, bound * r.unit})
	}
	for _, group := range out {
		slices.SortFunc(group, func(a, b bucketSeries) int { return cmp.Compare(a.bound, b.bound) })
	}
	return out
}

func (b bounds) add(x bounds) {
	for bound, n := range x {
		b[bound] += n
	}
}

func (b bounds) total() int64 {
	n := int64(0)
	for _, x := range b {
		n += x
	}
	return n
}

// finite are the bounds without infinity, ascending.
func (b bounds) finite() []float64 {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(b)), func(x float64) bool { return math.IsInf(x, 1) || !(x > 0) })
}

// side is the counts as the judge reads them, values of the last bucket
// beyond its lower bound.
func (b bounds) side() *judge.EvidenceSide {
	out := &judge.EvidenceSide{Bounds: b.finite(), Counts: []int64{}}
	for _, bound := range out.Bounds {
		out.Counts = append(out.Counts, b[bound])
	}
	out.Counts = append(out.Counts, b[math.Inf(1)])
	return out
}

// savedBounds are bounds as JSON can hold them: by the text of the bound.
type savedBounds map[string]int64

func (b bounds) saved() savedBounds {
	out := savedBounds{}
	for bound, n := range b {
		out[strconv.FormatFloat(bound, 'g', -1, 64)] = n
	}
	return out
}

func (s savedBounds) bounds() bounds {
	out := bounds{}
	for text, n := range s {
		if bound, err := strconv.ParseFloat(text, 64); err == nil {
			out[bound] = n
		}
	}
	return out
}

// boundsOf are the bounds of a classic histogram, in seconds, ascending; none
// for a native one, whose buckets are narrow.
func boundsOf(a answer, l *reading) []float64 {
	all := bounds{}
	for _, group := range histograms(a, l) {
		for _, s := range group {
			if s.labels[native] != "" {
				return nil
			}
			all[s.bound] = 1
		}
	}
	return all.finite()
}
