package judge

import "math"

// scaleBins is the number of bins of a logarithmic scale.
const scaleBins = 1280

// scale is a logarithmic scale of positive amounts. Bin i holds values from
// low*step^i to low*step^(i+1); the first and the last also hold what is beyond.
type scale struct{ low, step float64 }

// The scales: latency from a microsecond in steps of 2 %, other amounts from
// 1e-9 in steps of 5 %.
var (
	latencyScale = scale{low: 1e-6, step: 1.02}
	amountScale  = scale{low: 1e-9, step: 1.05}
)

var (
	latencyLogStep = math.Log(latencyScale.step)
	amountLogStep  = math.Log(amountScale.step)
)

func scaleOf(k Kind) (scale, float64) {
	if k == Latency {
		return latencyScale, latencyLogStep
	}
	return amountScale, amountLogStep
}

// BinOf gives the bin of a value: seconds for Latency, any positive amount
// otherwise. Values below the scale are in its first bin, values above (and
// +Inf) in its last. It returns -1, which Update refuses, for NaN and negative
// values.
func BinOf(k Kind, value float64) int32 {
	s, step := scaleOf(k)
	switch {
	case math.IsNaN(value) || value < 0:
		return -1
	case value <= s.low:
		return 0
	case math.IsInf(value, 1):
		return scaleBins - 1
	}
	return int32(min(math.Floor(math.Log(value/s.low)/step), scaleBins-1))
}

// BinValue is the middle (on the logarithmic scale) of a bin.
func BinValue(k Kind, bin int32) float64 {
	s, step := scaleOf(k)
	return s.low * math.Exp(step*(float64(bin)+0.5))
}

// binTop is the upper edge of a bin.
func binTop(k Kind, bin int) float64 {
	s, step := scaleOf(k)
	return s.low * math.Exp(step*float64(bin+1))
}

// binShift is the number of bins that a factor spans, not rounded.
func binShift(k Kind, factor float64) float64 {
	_, step := scaleOf(k)
	return math.Log(factor) / step
}

// tally counts values by bin.
type tally [scaleBins]int64

func (t *tally) total() int64 {
	n := int64(0)
	for _, c := range t {
		n += c
	}
	return n
}

func (t *tally) add(bins []BinCount) {
	for _, b := range bins {
		t[b.Bin] += b.Count
	}
}

// quantileBin is the smallest bin with at least q of the values at or below it.
func (t *tally) quantileBin(q float64) int {
	n := t.total()
	need := q * float64(n)
	sum := int64(0)
	for i, c := range t {
		sum += c
		if c > 0 && float64(sum) >= need {
			return i
		}
	}
	return scaleBins - 1
}
