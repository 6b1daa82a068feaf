package judge

import (
	"math"
	"slices"
)

// limited adds an absolute limit to a metric: its evidence is the average of
// the comparison's and the limit's, or the limit's alone where nothing is
// compared. Where the metric has no margin, its proof is that the canary keeps
// the limit.
type limited struct {
	process
	m     Metric
	level *level // of shares and rates; nil for gauges
	gauge *gauge // distance to the limit
	alone bool   // no comparison
}

// hasMargin reports whether there is anything to prove by comparison.
func (m Metric) hasMargin() bool { return m.Ratio > 0 || m.Difference > 0 }

func newLimited(m Metric, p Policy, inner process) process {
	l := &limited{process: inner, m: m}
	switch m.Kind {
	case Gauge:
		l.alone = !m.hasMargin()
		against := m
		against.Ratio, against.Difference, against.Harm = 0, 0, More
		if !m.LimitBelow {
			against.Harm = Fewer
		}
		one := p
		one.Looseness = []float64{1}
		l.gauge = newGauge(against, one, History{})
	case Rate:
		l.level = newLevel(m.Limit, true, p)
	case Proportion:
		limit := m.Limit
		if !m.LimitBelow {
			limit = 1 - limit
		}
		l.level = newLevel(limit, false, p)
	default:
		limit := 1 - m.quantile()
		if !m.LimitBelow {
			limit = 1 - limit
		}
		l.level = newLevel(limit, false, p)
		if h, ok := inner.(*histogram); ok {
			l.level.heed(&h.clump)
		}
	}
	return l
}

// quantile is the one that the margin and the limit are for.
func (m Metric) quantile() float64 {
	if m.Quantile == 0 {
		return 0.5
	}
	return m.Quantile
}

func (l *limited) update(b *Batch) {
	l.process.update(b)
	switch l.m.Kind {
	case Gauge:
		l.gauge.update(&Batch{At: b.At, Canary: Side{Value: b.Canary.Value}, Stable: Side{Value: l.m.Limit}})
	case Rate:
		l.level.bet(b.At, float64(b.Canary.N), float64(b.Canary.Bad))
	case Proportion:
		n, k := float64(b.Canary.N), float64(b.Canary.Bad)
		if !l.m.LimitBelow {
			k = n - k
		}
		l.level.bet(b.At, n, k)
	default:
		l.bins(b)
	}
}

// bins counts the values beyond the limit. A process that stalls is one event for
// the limit too.
func (l *limited) bins(b *Batch) {
	at := BinOf(l.m.Kind, l.m.Limit)
	n, k := 0.0, 0.0
	for _, c := range b.Canary.Bins {
		n += float64(c.Count)
		if l.m.LimitBelow && c.Bin > at || !l.m.LimitBelow && c.Bin < at {
			k += float64(c.Count)
		}
	}
	l.level.bet(b.At, n, k)
}

func (l *limited) limitLog() float64 {
	if l.gauge != nil {
		return l.gauge.evidence()
	}
	return l.level.logM
}

func (l *limited) evidence() float64 {
	if l.alone {
		return l.limitLog()
	}
	return logAdd(l.process.evidence(), l.limitLog()) - math.Ln2
}

func (l *limited) proof(looseness int) (float64, bool) {
	switch {
	case l.m.hasMargin():
		return l.process.proof(looseness)
	case l.gauge != nil:
		return l.gauge.proof(0)
	}
	return l.level.proofLog(), l.level.proven
}

func (l *limited) report(m Metric, looseness int, r *MetricReport) {
	l.process.report(m, looseness, r)
	r.Limit = finite(m.Limit)
	if !m.hasMargin() {
		r.Margin, r.MoreRequests = limitWords(m), l.moreToLimit(r.Canary.N)
	}
}

// moreToLimit forecasts the proof that the limit is kept from how it grew.
func (l *limited) moreToLimit(n int64) *float64 {
	if l.gauge != nil {
		p := &l.gauge.proofs[0]
		return moreCanary(l.gauge.bar-p.log(), p.most()/float64(n), 1)
	}
	return moreCanary(l.level.bar-l.level.proofLog(), slices.Max(l.level.below[:])/float64(n), 1)
}

func limitWords(m Metric) string {
	word := "at least "
	if m.LimitBelow {
		word = "at most "
	}
	return word + amount(m.Limit, m.unit())
}

func (l *limited) save(out []byte) []byte {
	out = l.process.save(out)
	if l.gauge != nil {
		return l.gauge.save(out)
	}
	return l.level.save(out)
}

func (l *limited) load(d *decoder) {
	l.process.load(d)
	if l.gauge != nil {
		l.gauge.load(d)
		return
	}
	l.level.load(d)
}
