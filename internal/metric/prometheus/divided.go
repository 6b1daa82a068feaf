package prometheus

import (
	"maps"
	"slices"
	"time"

	"github.com/haldane-project/haldane/internal/metric"
)

// divided is what a router's targets, its pods, counted of both versions, scrape by
// scrape. Both versions' series of a target stand on one page, so that they are
// of the same moment; two queries need not be. So a scrape is told of once the
// samples of both have come. It is not saved: after a restart it begins anew.
type divided struct {
	targets map[string]*targetCounts
}

// targetCounts is what one target counted.
type targetCounts struct {
	start   float64    // nothing up to it counts, in seconds since 1970
	newest  [2]float64 // sample of each version
	scrapes map[float64]*[2]float64
}

func newDivided() *divided { return &divided{targets: map[string]*targetCounts{}} }

// note takes in what a series of a version gained at a target until t. Left: it is not
// known in full, so that what either version gained until then does not count; nor
// does the first that is seen of each.
func (d *divided) note(who int, target string, t, gain float64, left bool) {
	if d == nil || target == "" {
		return
	}
	x := d.targets[target]
	if x == nil {
		if len(d.targets) >= maxSeries {
			return
		}
		x = &targetCounts{scrapes: map[float64]*[2]float64{}}
		d.targets[target] = x
	}
	if left || x.newest[who] == 0 {
		x.start = max(x.start, t)
	}
	x.newest[who] = max(x.newest[who], t)
	if x.scrapes[t] == nil {
		x.scrapes[t] = new([2]float64)
	}
	x.scrapes[t][who] += gain
}

// take hands out, in one sum, the scrapes that both versions' samples have come of.
func (d *divided) take() []metric.Counted {
	if d == nil {
		return nil
	}
	var sum [2]float64
	from, to := 0.0, 0.0
	for _, x := range d.targets {
		until := min(x.newest[stable], x.newest[canary])
		for _, t := range slices.Sorted(maps.Keys(x.scrapes)) {
			if t > until {
				break
			}
			if t > x.start {
				if from == 0 || x.start < from {
					from = x.start
				}
				to = max(to, t)
				sum[stable] += x.scrapes[t][stable]
				sum[canary] += x.scrapes[t][canary]
				x.start = t
			}
			delete(x.scrapes, t)
		}
		x.drop()
	}
	if sum[stable]+sum[canary] == 0 {
		return nil
	}
	at := func(t float64) time.Time { return time.UnixMilli(int64(t * 1000)) }
	return []metric.Counted{{From: at(from), To: at(to), Canary: int64(sum[canary]), Stable: int64(sum[stable])}}
}

// drop bounds what waits for the other version's samples.
func (x *targetCounts) drop() {
	if len(x.scrapes) <= maxPending {
		return
	}
	for _, t := range slices.Sorted(maps.Keys(x.scrapes))[:len(x.scrapes)-maxPending] {
		x.start = max(x.start, t)
		delete(x.scrapes, t)
	}
}
