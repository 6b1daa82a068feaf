package judge

import (
	"fmt"
	"math"
	"slices"
)

// Kinds lists every kind of metric there is a test for.
var Kinds = []Kind{Proportion, Latency, Amount, Rate, Mean, Gauge, Category, Drift, Agreement, ShareCheck}

// Validate says what is wrong with a policy, and what was expected.
func (p Policy) Validate() error {
	if !(p.Alpha > 0 && p.Alpha < 1) {
		return fmt.Errorf("judge: alpha is %v, expected more than 0 and less than 1", p.Alpha)
	}
	if !(p.AlphaPromote > 0 && p.AlphaPromote < 1) {
		return fmt.Errorf("judge: alphaPromote is %v, expected more than 0 and less than 1", p.AlphaPromote)
	}
	if !(p.Horizon > 0) || math.IsInf(p.Horizon, 0) {
		return fmt.Errorf("judge: horizon is %v s, expected a positive time (the usual one is 1800)", p.Horizon)
	}
	for i, l := range p.Looseness {
		if !(l >= 1) || math.IsInf(l, 0) {
			return fmt.Errorf("judge: looseness %d is %v, expected at least 1", i, l)
		}
	}
	if len(p.Metrics) == 0 {
		return fmt.Errorf("judge: no metric to judge by, expected at least one")
	}
	sum := 0.0
	for i, m := range p.Metrics {
		if err := m.validate(); err != nil {
			return err
		}
		for _, other := range p.Metrics[:i] {
			if other.Name == m.Name {
				return fmt.Errorf("judge: two metrics are named %q, expected different names", m.Name)
			}
		}
		if m.decides() {
			sum += m.Share
		}
	}
	if sum > 1+1e-9 {
		return fmt.Errorf("judge: the metrics' shares of alpha sum to %v, expected at most 1", sum)
	}
	return nil
}

// decides reports whether a finding of the metric fails the run.
func (m Metric) decides() bool { return !m.Watch && !m.Pause }

func (m Metric) validate() error {
	bad := func(what string, args ...any) error {
		return fmt.Errorf("judge: metric %q: "+what, append([]any{m.Name}, args...)...)
	}
	switch {
	case m.Name == "":
		return fmt.Errorf("judge: a metric has no name")
	case !slices.Contains(Kinds, m.Kind):
		return bad("kind %q is unknown, expected one of %v", m.Kind, Kinds)
	case !(m.Share >= 0 && m.Share <= 1):
		return bad("share of alpha is %v, expected 0 to 1", m.Share)
	case m.decides() && m.Share == 0:
		return bad("it can fail the run but has no share of alpha, expected a share above 0, or watch or pause")
	case m.Ratio != 0 && !(m.Ratio > 1) || math.IsInf(m.Ratio, 0):
		return bad("ratio margin is %v, expected more than 1, or 0 for none", m.Ratio)
	case !(m.Difference >= 0) || math.IsInf(m.Difference, 0):
		return bad("difference margin is %v, expected more than 0, or 0 for none", m.Difference)
	case m.Tolerate != 0 && !(m.Tolerate >= 1) || math.IsInf(m.Tolerate, 0):
		return bad("tolerated ratio is %v, expected at least 1, or 0 for none", m.Tolerate)
	case m.Required && !m.hasMargin() && math.IsNaN(m.Limit):
		return bad("its proof is required but it has no margin, expected a ratio, a difference or a limit")
	case math.IsInf(m.Limit, 0):
		return bad("limit is %v, expected a finite number, or NaN for none", m.Limit)
	}
	return m.validateKind(bad)
}

// refuse writes what is wrong with a metric.
type refuse func(what string, args ...any) error

func (m Metric) validateKind(bad refuse) error {
	var err error
	limit := !math.IsNaN(m.Limit)
	switch m.Kind {
	case Proportion:
		err = m.validateProportion(bad, limit)
	case Rate:
		err = m.validateRate(bad, limit)
	case Latency, Amount, Mean:
		err = m.validateAmount(bad, limit)
	case Gauge:
		err = m.validateGauge(bad, limit)
	case Agreement:
		if m.Ratio != 0 || m.Difference >= 1 || limit {
			err = bad("kind agreement is proven by a difference margin only, expected a share of pairs below 1")
		}
	case Category, Drift, ShareCheck:
		err = m.validateChange(bad, limit)
	}
	if err != nil {
		return err
	}
	return m.validateExtras(bad)
}

func (m Metric) validateProportion(bad refuse, limit bool) error {
	switch {
	case m.Difference >= 1:
		return bad("difference margin is %v, expected less than 1 for a share", m.Difference)
	case limit && !(m.Limit > 0 && m.Limit < 1):
		return bad("limit is %v, expected a share between 0 and 1", m.Limit)
	}
	return nil
}

func (m Metric) validateRate(bad refuse, limit bool) error {
	switch {
	case m.Difference != 0:
		return bad("kind rate is proven by a ratio margin only, expected a ratio and no difference")
	case m.Harm == Either && m.Required:
		return bad("its proof is required but both directions are harm, expected one direction")
	case limit && (!m.LimitBelow || !(m.Limit > 0)):
		return bad("limit is %v, expected an upper limit above 0 for events a unit", m.Limit)
	}
	return nil
}

func (m Metric) validateAmount(bad refuse, limit bool) error {
	switch {
	case m.Required && m.Ratio == 0 && !limit || m.Difference != 0:
		return bad("kind %s is proven by a ratio margin only, expected a ratio and no difference", m.Kind)
	case !(m.Quantile >= 0 && m.Quantile < 1):
		return bad("quantile is %v, expected between 0 and 1 (0: the median)", m.Quantile)
	case !(m.Most >= 0) || math.IsInf(m.Most, 0) || m.Most > 0 && m.Kind != Mean:
		return bad("the largest value is %v, expected one above 0, or 0 for not known, of a mean", m.Most)
	case limit && (m.Kind == Mean || !(m.Limit > 0)):
		return bad("limit is %v, expected one above 0 for a quantile, none for a mean", m.Limit)
	}
	return nil
}

func (m Metric) validateGauge(bad refuse, limit bool) error {
	switch {
	case !m.hasMargin() && !limit:
		return bad("a gauge without a margin and without a limit says nothing, expected one of them")
	case m.Harm == Either:
		return bad("kind gauge has one harmful direction, expected more or fewer")
	}
	return nil
}

func (m Metric) validateChange(bad refuse, limit bool) error {
	switch {
	case m.Required || m.hasMargin() || limit:
		return bad("kind %s finds changes and proves nothing, expected no margin, no limit and no required proof", m.Kind)
	case m.Kind == ShareCheck && m.decides():
		return bad("kind share blames the routing, never the version, expected pause or watch")
	}
	return nil
}

func (m Metric) validateExtras(bad refuse) error {
	switch {
	case m.Harm != "" && m.Harm != More && m.Harm != Fewer && m.Harm != Either:
		return bad("harm is %q, expected %s, %s or %s", m.Harm, More, Fewer, Either)
	case !(m.Interval >= 0) || math.IsInf(m.Interval, 0):
		return bad("interval is %v s, expected a positive time, or 0 for none", m.Interval)
	case m.Interval > 0 && m.Kind != Proportion && m.Kind != Rate:
		return bad("intervals are kept for proportions and rates only")
	case !(m.Guard == 0 || m.Guard > 1) || math.IsInf(m.Guard, 0):
		return bad("guard is %v, expected more than 1, or 0 for none", m.Guard)
	case m.Guard != 0 && m.Kind != Proportion && m.Kind != Rate && m.Kind != Latency && m.Kind != Amount:
		return bad("kind %s has no guard, expected none", m.Kind)
	}
	if err := m.validateUnits(bad); err != nil {
		return err
	}
	return validateBounds(m.Bounds, bad)
}

func validateBounds(bounds []float64, bad refuse) error {
	for i, b := range bounds {
		if !(b > 0) || math.IsInf(b, 0) || i > 0 && b <= bounds[i-1] {
			return bad("histogram bound %d is %v, expected ascending positive numbers without infinity", i, b)
		}
	}
	return nil
}

func (m Metric) validateUnits(bad refuse) error {
	switch {
	case m.Clustered && m.Interval == 0:
		return bad("its units are said to come in bursts but it has no interval, expected one of 1 s or more")
	case m.PerUnit && m.Kind != Proportion && m.Kind != ShareCheck:
		return bad("kind %s is not counted by units (users), expected a proportion or a share check", m.Kind)
	case m.PerUnit && m.Interval > 0:
		return bad("it is counted by units (users) and by intervals, expected one of them")
	}
	return nil
}

// check refuses what no honest counter can have produced.
func (b *Batch) check(last float64) error {
	switch {
	case math.IsNaN(b.At) || math.IsInf(b.At, 0) || b.At < 0:
		return fmt.Errorf("judge: batch time is %v s, expected seconds since the run began", b.At)
	case b.At < last:
		return fmt.Errorf("judge: batch time %v s is before the last one, %v s; expected batches in the order of time", b.At, last)
	case b.Slack != 0 && !(b.Slack >= 1 && b.Slack <= maxSlack):
		return fmt.Errorf("judge: the slack of a share is %v, expected a ratio from 1 to %v, or 0 for none", b.Slack, maxSlack)
	case !(b.Share >= 0 && b.Share <= 1):
		return fmt.Errorf("judge: the canary's share is %v, expected 0 to 1 (0: not known, counts decide)", b.Share)
	}
	if err := b.Canary.check("canary"); err != nil {
		return err
	}
	return b.Stable.check("stable")
}

// maxSlack bounds what a share check tolerates.
const maxSlack = 2.0

// maxCount bounds every count, so that sums stay exact.
const maxCount = int64(1) << 48

func (s *Side) check(who string) error {
	switch {
	case s.N < 0 || s.N > maxCount:
		return fmt.Errorf("judge: %s has %d units, expected 0 to %d", who, s.N, maxCount)
	case s.Bad < 0 || s.Bad > maxCount:
		return fmt.Errorf("judge: %s has %d bad units, expected 0 to %d", who, s.Bad, maxCount)
	case s.Firsts < 0 || s.Firsts > s.Units || s.Units > max(s.N, s.Bad):
		return fmt.Errorf("judge: %s has %d users with a bad outcome, %d for the first time; expected at most one for each outcome", who, s.Units, s.Firsts)
	}
	before := int32(-1)
	for _, c := range s.Bins {
		if c.Bin <= before || c.Bin >= scaleBins {
			return fmt.Errorf("judge: %s has bin %d after bin %d, expected each bin once, in order, 0 to %d", who, c.Bin, before, scaleBins-1)
		}
		if c.Count < 0 || c.Count > maxCount {
			return fmt.Errorf("judge: %s has %d values in bin %d, expected 0 to %d", who, c.Count, c.Bin, maxCount)
		}
		before = c.Bin
	}
	return nil
}
