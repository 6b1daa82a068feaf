package telemetry

import (
	"math"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// bounds are the upper bounds of the classic buckets, in seconds.
var bounds = []float64{
	.001, .0025, .005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 30, 60,
}

// schema of the native histogram: bucket i ends at 2^(i/8), a growth of 9 %.
const schema = 3

// Where a bin lies, told by its middle: its index in bounds (len(bounds): above
// all of them) and in the native histogram. Bins are 2 % wide, so that a bound
// is off by at most 1 %.
var (
	classicOf [numBins]int
	nativeOf  [numBins]int
)

func init() {
	for bin := range numBins {
		v := middle(bin)
		classicOf[bin], _ = slices.BinarySearch(bounds, v)
		nativeOf[bin] = int(math.Ceil(math.Log2(v) * (1 << schema)))
	}
}

// distribution is a histogram metric in both forms, classic and native.
type distribution struct {
	prometheus.Metric // native
	buckets           []*dto.Bucket
}

func newDistribution(d *prometheus.Desc, h *histogram, k key, born time.Time) distribution {
	var total uint64
	counts := make([]uint64, len(bounds)+1)
	native := map[int]int64{}
	for bin, n := range h.bins {
		if n == 0 {
			continue
		}
		total += uint64(n)
		counts[classicOf[bin]] += uint64(n)
		native[nativeOf[bin]] += n
	}
	m := distribution{Metric: prometheus.MustNewConstNativeHistogram(d, total, h.sum, native, nil, 0,
		schema, 1e-9, born, k.release, string(k.version))}
	var below uint64
	for i, bound := range bounds {
		below += counts[i]
		m.buckets = append(m.buckets, &dto.Bucket{CumulativeCount: new(below), UpperBound: new(bound)})
	}
	return m
}

// Write implements prometheus.Metric.
func (m distribution) Write(out *dto.Metric) error {
	if err := m.Metric.Write(out); err != nil {
		return err
	}
	out.Histogram.Bucket = m.buckets
	return nil
}
