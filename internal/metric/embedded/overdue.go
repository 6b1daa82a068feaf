package embedded

import (
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/telemetry"
)

// overdue says from which age on a request that is under way is evidence as it
// is, and counts with that age as its time (judge.md 5.5: booked when its age
// passes the quantile, not when it ends). A version that hangs is found in
// seconds that way, also where its users give up before it does.
//
// Cutting the times of both versions at an age that is known beforehand keeps
// the comparison exact. What it costs is to tell slow from slower above the age,
// so that it lies well above all that stable does, margins and limits.
type overdue struct {
	least  time.Duration
	factor float64 // of stable's p99.9
	stable []int64 // values by bin
	total  int64
}

const (
	// overdueLeast is as long as one request may hold back the evidence of those
	// after it: a process that stalls for less is not one that hangs.
	overdueLeast  = 3 * time.Second
	overdueFactor = 4
)

// newOverdue starts from what stable did lately; nil where no metric is about
// the time that requests take.
func newOverdue(metrics []release.Metric, stable telemetry.Count) *overdue {
	var o *overdue
	for _, m := range metrics {
		if m.Kind != release.Latency || m.Source != (release.Source{}) {
			continue
		}
		if o == nil {
			o = &overdue{least: overdueLeast, factor: overdueFactor}
		}
		o.factor = max(o.factor, 2*m.Margin.Ratio)
		if m.Limit != nil {
			o.least = max(o.least, 2*seconds(m.Limit.Value))
		}
	}
	if o != nil {
		o.add(stable.Bins)
	}
	return o
}

// add takes in more of stable's times.
func (o *overdue) add(bins []judge.BinCount) {
	for _, b := range bins {
		for int(b.Bin) >= len(o.stable) {
			o.stable = append(o.stable, 0)
		}
		o.stable[b.Bin] += b.Count
		o.total += b.Count
	}
}

// age is the age now. It grows where stable's own requests reach it.
func (o *overdue) age() time.Duration {
	above := int64(0)
	for i := len(o.stable) - 1; i >= 0; i-- {
		if above += o.stable[i]; above*1000 > o.total {
			return max(o.least, seconds(o.factor*judge.BinValue(judge.Latency, int32(i)))) //nolint:gosec // a bin fits
		}
	}
	return o.least
}

// seconds is a duration; what is beyond all patience is a day.
func seconds(s float64) time.Duration {
	return time.Duration(min(s, 24*60*60) * float64(time.Second))
}
