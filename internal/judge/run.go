package judge

import (
	"fmt"
	"math"
)

// Run is the judge of one run: it takes batches and can be asked for a report
// after each. It is not safe for concurrent use.
type Run struct {
	policy  Policy
	metrics []process
	last    []float64 // time of each metric's last batch
	logM    float64   // combined evidence
	unspent float64   // share of alpha that no metric has
	idle    float64   // log of it

	failed  bool // irrevocable
	failAt  float64
	failLog float64
	blamed  []bool

	batch   Batch     // of the update in progress, kept here so that it need not be allocated
	scratch []float64 // of combine
	shares  []float64 // log share of alpha by metric; -Inf: it does not decide
	limit   float64   // log 1/alpha
}

// process is the sequential test of one metric.
type process interface {
	check(*Batch) error // before anything is changed
	update(*Batch)
	evidence() float64 // log e-value against the canary
	proof(looseness int) (log float64, proven bool)
	sides() (canary, stable int64)
	report(m Metric, looseness int, r *MetricReport)
	save([]byte) []byte
	load(*decoder)
}

// New starts the judge of a run. histories holds what stable did before the
// run, by metric; nil, or a zero value, is no history.
func New(p Policy, histories []History) (*Run, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	if len(histories) != 0 && len(histories) != len(p.Metrics) {
		return nil, fmt.Errorf("judge: %d histories for %d metrics, expected one each or none", len(histories), len(p.Metrics))
	}
	p.Metrics = append([]Metric(nil), p.Metrics...)
	p.Looseness = append([]float64(nil), p.Looseness...)
	if len(p.Looseness) == 0 {
		p.Looseness = []float64{1}
	}
	r := &Run{policy: p, last: make([]float64, len(p.Metrics)), blamed: make([]bool, len(p.Metrics)), unspent: 1}
	for i, m := range p.Metrics {
		h := History{}
		if len(histories) > 0 {
			h = histories[i]
		}
		if err := h.check(m); err != nil {
			return nil, err
		}
		r.metrics = append(r.metrics, newProcess(m, p, h))
		if m.decides() {
			r.unspent -= m.Share
		}
	}
	r.unspent = max(0, r.unspent)
	r.prepare()
	return r, nil
}

// prepare computes what follows from the policy.
func (r *Run) prepare() {
	r.scratch = make([]float64, len(r.policy.Metrics))
	r.shares = make([]float64, len(r.policy.Metrics))
	for i, m := range r.policy.Metrics {
		r.shares[i] = math.Inf(-1)
		if m.decides() {
			r.shares[i] = math.Log(m.Share)
		}
	}
	r.idle = math.Log(r.unspent)
	r.limit = math.Log(1 / r.policy.Alpha)
}

func newProcess(m Metric, p Policy, h History) process {
	inner := newComparison(m, p, h)
	if math.IsNaN(m.Limit) {
		return inner
	}
	return newLimited(m, p, inner)
}

func newComparison(m Metric, p Policy, h History) process {
	switch m.Kind {
	case Latency, Amount:
		return newHistogram(m, p, h)
	case Rate:
		return newEvents(m, p, h)
	case Mean:
		return newMean(m, p, h)
	case Gauge:
		return newGauge(m, p, h)
	case Category:
		return newCategory(p, h)
	case Drift:
		return newDrift(p, h)
	case Agreement:
		return newAgreement(m, p)
	case ShareCheck:
		return newShareCheck(p)
	default:
		return newProportion(m, p, h)
	}
}

func (h *History) check(m Metric) error {
	if m.Kind == Proportion && h.Bad > h.N {
		return fmt.Errorf("judge: metric %q: the history has %d bad units of %d, expected no more than there are", m.Name, h.Bad, h.N)
	}
	s := Side{N: h.N, Bad: h.Bad, Bins: h.Bins}
	if err := s.check("the history of " + m.Name); err != nil {
		return err
	}
	if err := checkClasses(h.Classes); err != nil {
		return err
	}
	for i, bins := range h.Seconds {
		s := Side{Bins: bins}
		if err := s.check(fmt.Sprintf("second %d of the history of %s", i, m.Name)); err != nil {
			return err
		}
	}
	for i, v := range h.Values {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("judge: metric %q: history value %d is %v, expected a number", m.Name, i, v)
		}
	}
	return nil
}

// Update takes a batch of one metric (by its index in the policy) into
// account. It allocates nothing. A batch that no honest counter can have
// produced is refused with an error and changes nothing. A share of 1, or a
// version without units in counts mode, is no comparison: totals grow, evidence
// stays.
func (r *Run) Update(metric int, b Batch) error {
	if metric < 0 || metric >= len(r.metrics) {
		return fmt.Errorf("judge: there is no metric %d, expected 0 to %d", metric, len(r.metrics)-1)
	}
	if err := b.check(r.last[metric]); err != nil {
		return fmt.Errorf("metric %q: %w", r.policy.Metrics[metric].Name, err)
	}
	r.batch = b
	err := r.metrics[metric].check(&r.batch)
	if err == nil {
		r.metrics[metric].update(&r.batch)
		r.last[metric] = b.At
		r.decide(b.At)
	}
	r.batch = Batch{}
	return err
}

// decide combines the metrics' e-values into one by their shares of alpha and
// fails the run, for good, when it crosses 1/alpha.
func (r *Run) decide(now float64) {
	r.logM = r.combine()
	switch {
	case !r.failed && r.logM >= r.bar():
		r.failed, r.failAt, r.failLog = true, now, r.logM
		r.blame()
	case r.failed && now == r.failAt: // the other metrics of the same look
		r.blame()
	}
}

func (r *Run) combine() float64 {
	for i, share := range r.shares {
		r.scratch[i] = share
		if !math.IsInf(share, -1) {
			r.scratch[i] += r.metrics[i].evidence()
		}
	}
	return logSumExpWith(r.idle, r.scratch)
}

// bar is what the combined evidence must reach.
func (r *Run) bar() float64 { return r.limit }

// threshold is what one metric's evidence must reach by itself.
func (r *Run) threshold(m Metric) float64 {
	if m.Kind == ShareCheck {
		return guardBar
	}
	if m.Share == 0 {
		return r.bar()
	}
	return r.bar() - math.Log(m.Share)
}

// Failed reports whether the evidence has failed the run, for good. It is
// cheaper than a report.
func (r *Run) Failed() bool { return r.failed }

// Proven reports whether every required metric is proven to be within its
// margin at entry step of the policy's Looseness, and no other is in doubt. It is
// cheaper than a report.
func (r *Run) Proven(step int) bool { return r.verdict(step) == Pass }

// LogE is the combined evidence against the canary in nats. It is cheaper than
// a report.
func (r *Run) LogE() float64 { return r.logM }

// Policy returns a copy of what the run is judged by.
func (r *Run) Policy() Policy {
	p := r.policy
	p.Metrics = append([]Metric(nil), p.Metrics...)
	p.Looseness = append([]float64(nil), p.Looseness...)
	return p
}
