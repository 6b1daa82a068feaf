package telemetry

import (
	"slices"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
)

// Divided is how requests were divided at one share of the canary: what was
// really sent to each version, whatever became of it. Where requests are
// assigned by user these are users, each counted once.
type Divided struct {
	Share          release.Weight
	Canary, Stable int64
}

// routed is one request that was sent somewhere.
type routed struct {
	begin int64 // unix nanoseconds
	unit  uint64
	share release.Weight // of the canary
	who   uint8          // stable or canary
}

// route notes where a request went that the split was asked about. One whose
// version had no instance went to stable instead of its share.
func (t *Tap) route(stripe, who int, share release.Weight, o *release.Observation) {
	switch {
	case o.Stage == release.EndedOverdue:
		return // counted when it was overdue
	case o.Route == release.ByFallback && who == stable:
		share = o.Weight // of the version that was drawn
	case o.Route != release.BySplit:
		return
	}
	if share <= 0 || share >= release.Full {
		return
	}
	c := t.lock(stripe)
	if len(c.routed) < mostWaiting {
		c.routed = append(c.routed, routed{begin: o.Begin.UnixNano(), unit: o.Unit, share: share, who: uint8(who)}) //nolint:gosec // 0 or 1
	}
	c.mu.Unlock()
}

// mostDivided bounds the users whose version is remembered; beyond it users are
// not counted any more.
const mostDivided = 1 << 17

// divisions keeps what was routed until all that was routed with it is known:
// a version that answers later must not be missing.
type divisions struct {
	seen *judge.Units // nil: requests are counted
	open map[divisionKey]*Divided
}

type divisionKey struct {
	second int64
	share  release.Weight
}

func newDivisions(users bool) divisions {
	d := divisions{open: map[divisionKey]*Divided{}}
	if users {
		d.seen = judge.NewUnits(mostDivided)
	}
	return d
}

func (d *divisions) take(list []routed) {
	for _, r := range list {
		if d.seen != nil && !d.seen.First(r.unit) {
			continue
		}
		k := divisionKey{r.begin / int64(time.Second), r.share}
		sum := d.open[k]
		if sum == nil {
			sum = &Divided{Share: r.share}
			d.open[k] = sum
		}
		if r.who == canary {
			sum.Canary++
		} else {
			sum.Stable++
		}
	}
}

// until hands out the seconds in which every request has been told of.
func (d *divisions) until(now time.Time, told func() time.Duration) []Divided {
	before := now.Unix() + 1
	if told != nil {
		before = now.Add(-told()).Unix() // that second has passed the age in part: it waits
	}
	sums := map[release.Weight]*Divided{}
	for k, x := range d.open {
		if k.second >= before {
			continue
		}
		delete(d.open, k)
		if sums[k.share] == nil {
			sums[k.share] = &Divided{Share: k.share}
		}
		sums[k.share].Canary += x.Canary
		sums[k.share].Stable += x.Stable
	}
	out := make([]Divided, 0, len(sums))
	for _, x := range sums {
		out = append(out, *x)
	}
	slices.SortFunc(out, func(a, b Divided) int { return int(a.Share - b.Share) })
	return out
}
