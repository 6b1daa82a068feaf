package judge

import (
	"fmt"
	"math"
)

// Add judges by one more metric from now on. Its share of alpha comes from what
// no metric has: what was spent on others cannot be spent again. The run's
// policy grows by it; Restore needs the grown one.
func (r *Run) Add(m Metric, h History) error {
	p := r.Policy()
	p.Metrics = append(p.Metrics, m)
	if err := p.Validate(); err != nil {
		return err
	}
	if err := h.check(m); err != nil {
		return err
	}
	if m.decides() {
		if m.Share > r.unspent+1e-12 {
			return fmt.Errorf("judge: metric %q asks for %v of alpha, but only %v is unspent", m.Name, m.Share, r.unspent)
		}
		r.unspent = max(0, r.unspent-m.Share)
	}
	r.policy = p
	r.metrics = append(r.metrics, newProcess(m, p, h))
	r.last = append(r.last, 0)
	r.blamed = append(r.blamed, false)
	r.prepare()
	r.logM = r.combine()
	return nil
}

// Policy returns a copy of what the run is judged by.
func (r *Run) Policy() Policy {
	p := r.policy
	p.Metrics = append([]Metric(nil), p.Metrics...)
	p.Looseness = append([]float64(nil), p.Looseness...)
	return p
}

// placeboBar is the evidence at which a placebo has shown that units are not
// independent: 1 : 20.
var placeboBar = math.Log(20)

// HeedPlacebo looks at a placebo: a run of the same policy whose "canary" is a
// part of stable's own traffic, drawn with the same share. Evidence against it
// can only come from units that fail together. Every metric with such evidence
// that keeps intervals is judged by them from now on; their names are returned.
// The choice is made by stable's traffic alone, so the error probability stays.
func (r *Run) HeedPlacebo(placebo *Run) []string {
	var switched []string
	for i, m := range r.policy.Metrics {
		if i >= len(placebo.metrics) {
			break
		}
		mine, theirs := testedOf(r.metrics[i]), testedOf(placebo.metrics[i])
		if mine == nil || theirs == nil || mine.clusters.decides || mine.clusters.length <= 0 {
			continue
		}
		if unitEvidence(placebo.metrics[i]) >= placeboBar && r.CountIntervals(i) {
			switched = append(switched, m.Name)
		}
	}
	return switched
}

// testedOf finds what proportions and rates share; nil for other kinds.
func testedOf(p process) *tested {
	switch p := p.(type) {
	case *proportion:
		return &p.tested
	case *events:
		return &p.tested
	case *limited:
		return testedOf(p.process)
	}
	return nil
}

// unitEvidence is the evidence of the bets on single units, whatever counts.
func unitEvidence(p process) float64 {
	switch p := p.(type) {
	case *proportion:
		return p.labelBets.logM
	case *events:
		return p.bets.logM
	case *limited:
		return unitEvidence(p.process)
	}
	return 0
}

// Units tells the first bad outcome of each unit (a user, a session, a trace),
// for tests that must bet on each unit once: count it as an event of Kind Rate
// with the share of units. It remembers bad units only, up to a limit; beyond
// it no unit is first any more, which loses power, never validity.
type Units struct {
	seen map[uint64]struct{}
	most int
}

// NewUnits remembers up to most units.
func NewUnits(most int) *Units { return &Units{seen: map[uint64]struct{}{}, most: most} }

// First reports whether the unit was not bad before. Unit 0 has no key: every
// bad outcome of it is a first.
func (u *Units) First(unit uint64) bool {
	if unit == 0 {
		return true
	}
	if _, ok := u.seen[unit]; ok || len(u.seen) >= u.most {
		return false
	}
	u.seen[unit] = struct{}{}
	return true
}

// HangAfter is the age in seconds after which a request of a latency metric
// that has not ended should be booked as a value of that age (and not again
// when it ends): beyond it a longer wait says nothing new. ok is false while
// stable's distribution is not known.
func (r *Run) HangAfter(metric int) (seconds float64, ok bool) {
	if metric < 0 || metric >= len(r.metrics) {
		return 0, false
	}
	p := r.metrics[metric]
	if l, is := p.(*limited); is {
		p = l.process
	}
	g, is := p.(*histogram)
	if !is || g.baseN == 0 {
		return 0, false
	}
	at := g.base.quantileBin(0.9999)
	return binTop(g.kind, at) * 5, true
}
