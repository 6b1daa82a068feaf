package telemetry

import (
	"math"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
)

// Latencies are counted in the judge's own bins, so that a histogram is
// evidence as it stands.
const scale = judge.Latency

// numBins is the size of a dense histogram: the judge's whole scale (a test
// holds the two together).
const numBins = 1280

// binOf gives the bin of a duration.
func binOf(d time.Duration) int32 {
	return min(judge.BinOf(scale, max(d, 0).Seconds()), numBins-1)
}

// sizeBin gives the bin of an answer's size, on the scale of judge.Amount.
func sizeBin(o *release.Observation) int32 {
	return min(judge.BinOf(judge.Amount, float64(max(o.Out, 0))), numBins-1)
}

// middle gives the value in seconds that stands for all of a bin.
func middle(bin int) float64 { return judge.BinValue(scale, int32(bin)) }

// sparse lists the bins of a dense histogram that are not empty.
func sparse[T int64 | uint32](dense []T) []judge.BinCount {
	used := 0
	for _, n := range dense {
		if n != 0 {
			used++
		}
	}
	if used == 0 {
		return nil
	}
	out := make([]judge.BinCount, 0, used)
	for i, n := range dense {
		if n != 0 {
			out = append(out, judge.BinCount{Bin: int32(i), Count: int64(n)})
		}
	}
	return out
}

// spread adds sparse bins to a dense histogram.
func spread(dense []int64, bins []judge.BinCount) {
	for _, b := range bins {
		dense[b.Bin] += b.Count
	}
}

// quantile gives the q-quantile of a dense histogram; false where it is empty.
func quantile(dense []int64, q float64) (float64, bool) {
	var total int64
	for _, n := range dense {
		total += n
	}
	if total == 0 {
		return 0, false
	}
	rank := max(int64(math.Ceil(q*float64(total))), 1)
	for i, n := range dense {
		if rank -= n; rank <= 0 {
			return middle(i), true
		}
	}
	return middle(len(dense) - 1), true
}
