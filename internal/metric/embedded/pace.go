package embedded

import (
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/telemetry"
)

// pace is how long stable's requests take, and what follows from it for those
// that are under way.
//
// The age from which on a request under way is evidence as it is, and counts
// with that age as its time (judge.md 5.5: booked when its age passes the
// quantile, not when it ends): a version that hangs is found in seconds, also
// where its users give up before it does. Cutting the times of both versions at
// an age that is known beforehand keeps the comparison exact. What it costs is to
// tell slow from slower above the age, so that it lies well above all that stable
// does, margins and limits.
//
// And the patience with which the evidence of later requests waits for it: where
// every answer takes seconds, a version that is a little slower, as its margin
// allows, would else be missing from the evidence at first.
type pace struct {
	asked    bool // some metric is about the time that requests take
	least    time.Duration
	overdue  float64 // factor of stable's p99.9
	patience float64 // factor of stable's p90
	stable   []int64 // values by bin
	total    int64
}

const (
	// leastPatience: a process that stalls for less is not one that hangs.
	leastPatience = 3 * time.Second
	// mostPatience bounds how much later a failure is found because others have
	// not ended.
	mostPatience  = 20 * time.Second
	overdueFactor = 4
)

// newPace starts from what stable did lately.
func newPace(metrics []release.Metric, stable telemetry.Count) *pace {
	p := &pace{least: leastPatience, overdue: overdueFactor, patience: 1.5}
	for _, m := range metrics {
		if m.Kind != release.Latency || m.Source != (release.Source{}) {
			continue
		}
		p.asked = true
		p.overdue = max(p.overdue, 2*m.Margin.Ratio)
		p.patience = max(p.patience, 1.25*m.Margin.Ratio)
		if m.Limit != nil {
			p.least = max(p.least, 2*seconds(m.Limit.Value))
		}
	}
	p.add(stable.Bins)
	return p
}

// add takes in more of stable's times.
func (p *pace) add(bins []judge.BinCount) {
	for _, b := range bins {
		for int(b.Bin) >= len(p.stable) {
			p.stable = append(p.stable, 0)
		}
		p.stable[b.Bin] += b.Count
		p.total += b.Count
	}
}

// above is the least time that fewer than one in n of stable's requests exceed;
// 0: nothing is known.
func (p *pace) above(n int64) float64 {
	sum := int64(0)
	for i := len(p.stable) - 1; i >= 0; i-- {
		if sum += p.stable[i]; sum*n > p.total {
			return judge.BinValue(judge.Latency, int32(i)) //nolint:gosec // a bin fits
		}
	}
	return 0
}

// overdueAge is the age now. It grows where stable's own requests reach it.
func (p *pace) overdueAge() time.Duration {
	return max(p.least, seconds(p.overdue*p.above(1000)))
}

// wait is the patience now.
func (p *pace) wait() time.Duration {
	return max(leastPatience, min(seconds(p.patience*p.above(10)), mostPatience))
}

// seconds is a duration; what is beyond all patience is a day.
func seconds(s float64) time.Duration {
	return time.Duration(min(s, 24*60*60) * float64(time.Second))
}
