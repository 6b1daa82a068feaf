package reconcile

import (
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
)

// steady is since when the canary's share has been what it is, with nothing beside
// it that sends requests to it: what a router counted meanwhile can be held
// against it.
type steady struct {
	share release.Weight
	since time.Time // zero: it is not steady
	last  float64   // seconds since the run began, of the last batch
}

const (
	// settling is for how long a new share is not held against anything: what was
	// drawn before ends, routers take it in one by one, and the clock of who counts may
	// be another one.
	settling = 10 * time.Second
	// routerSlack is the ratio of the odds by which a router may be off: it asks a
	// failing version again, knows whole percents only, or deals requests out by turns,
	// in each of its pods for itself. What harms is off by more.
	routerSlack = 1.1
)

// observe takes note of the split in force.
func (s *steady) observe(in *rollout.Input) {
	o, run := in.Split, in.State.Run
	share := o.Split.Of(run.To.ID)
	known := o.Known && !o.Pending && !o.Open && len(o.Real) == 0 && len(o.Split.Matched) == 0 && o.Split.Mirror == nil
	switch {
	case !known || share <= 0 || share >= release.Full:
		s.since = time.Time{}
	case s.since.IsZero() || share != s.share:
		s.share, s.since = share, in.Now
	}
}

// batches are what was counted while the share was steady, as batches of the share
// check.
func (s *steady) batches(counted []metric.Counted, run *rollout.Run, now time.Time) []judge.Batch {
	var out []judge.Batch
	for _, c := range counted {
		if s.since.IsZero() || !independent(run.Analysis) || c.From.Before(s.since.Add(settling)) {
			continue
		}
		s.last = max(s.last, now.Sub(run.Started).Seconds())
		out = append(out, judge.Batch{
			At: s.last, Share: float64(s.share) / float64(release.Full), Slack: routerSlack,
			Canary: judge.Side{N: c.Canary}, Stable: judge.Side{N: c.Stable},
		})
	}
	return out
}

// independent reports whether each request is drawn by itself, as far as the
// manifest says: where users keep their version requests come together.
func independent(a release.Analysis) bool {
	if a.PerUser {
		return false
	}
	for _, m := range a.Metrics {
		if m.Bursts > 0 {
			return false
		}
	}
	return true
}
