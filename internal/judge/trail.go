package judge

import "math"

// trail is what is kept of a gauge's samples to estimate its level. Of a level m
// with x[t] - m = phi (x[t-1] - m) + noise, every (x[t] - phi x[t-1]) / (1 - phi)
// is a fresh draw whose median is m, as the judge's coin has it; above and below
// count them by size.
type trail struct {
	n            int64 // samples
	sum, last    float64
	known        bool // the last sample is
	above, below tally
}

// fresh is the new part of a sample.
func (v *trail) fresh(phi, x float64) float64 { return (x - phi*v.last) / (1 - phi) }

// add takes a sample; NaN: it is not known.
func (v *trail) add(phi, x float64) {
	if math.IsNaN(x) {
		v.known = false
		return
	}
	if v.known {
		if y := v.fresh(phi, x); y < 0 {
			v.below[BinOf(Gauge, -y)]++
		} else {
			v.above[BinOf(Gauge, y)]++
		}
	}
	v.n++
	v.sum += x
	v.last, v.known = x, true
}

// interval is the always-valid interval of the level, open ends infinite.
func (v *trail) interval(alpha float64) (low, high float64) {
	var cells []cell
	for i := scaleBins - 1; i >= 0; i-- {
		if n := v.below[i]; n > 0 {
			left, right := gaugeBin(i)
			cells = append(cells, cell{-right, -left, float64(n)})
		}
	}
	for i, n := range v.above {
		if n > 0 {
			left, right := gaugeBin(i)
			cells = append(cells, cell{left, right, float64(n)})
		}
	}
	return rangeOf(armOf(math.Inf(-1), cells, 0.5, 1), alpha)
}

// gaugeBin are the values of a bin, with what is beyond the scale's ends.
func gaugeBin(i int) (left, right float64) {
	left, right = binTop(Gauge, i-1), binTop(Gauge, i)
	if i == 0 {
		left = 0
	}
	if i == scaleBins-1 {
		right = math.Inf(1)
	}
	return left, right
}

// side is a version's average with the interval of its level.
func (v *trail) side() SideReport {
	if v.n == 0 {
		return SideReport{}
	}
	low, high := v.interval(IntervalAlpha)
	mean := v.sum / float64(v.n)
	return SideReport{N: v.n, Value: finite(mean), Low: finite(low), High: finite(high), Mean: finite(mean)}
}

func (v *trail) save(out []byte) []byte {
	out = appendBool(appendFloats(appendCount(out, v.n), []float64{v.sum, v.last}), v.known)
	return v.below.save(v.above.save(out))
}

func (v *trail) load(d *decoder) {
	v.n, v.sum, v.last, v.known = d.count(), d.float(), d.float(), d.bool()
	v.above.load(d)
	v.below.load(d)
}

// ratios are the ratios of the canary's to stable's new parts: their median is
// the ratio of the levels where the canary is a multiple of stable.
type ratios struct{ counts tally }

// add takes a pair of samples before the trails do.
func (v *ratios) add(phi, canary, stable float64, c, s *trail) {
	if math.IsNaN(canary) || math.IsNaN(stable) || !c.known || !s.known {
		return
	}
	if y := s.fresh(phi, stable); y > 0 {
		v.counts[BinOf(Gauge, max(0, c.fresh(phi, canary)/y))]++
	}
}

func (v *ratios) interval(value, alpha float64) *Interval {
	var cells []cell
	for i, n := range v.counts {
		if n > 0 {
			left, right := gaugeBin(i)
			cells = append(cells, cell{left, right, float64(n)})
		}
	}
	low, high := rangeOf(armOf(0, cells, 0.5, 1), alpha)
	return &Interval{Value: finite(value), Low: finite(low), High: finite(high)}
}
