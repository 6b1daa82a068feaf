package judge

import (
	"math"
)

// events is the test of a rate: for every event, which version did it come
// from? Given the events, that is a coin with the canary's share of the units,
// whatever their common rate does (Lindon, Malek 2022).
type events struct {
	bets
	tested
	rhos []float64
	null float64 // ratio that is never failed
	harm Harm
}

func newEvents(m Metric, p Policy, h History) *events {
	e := &events{tested: newTested(m, p, h), null: max(1, m.Tolerate), harm: m.Harm}
	var prior, period []float64
	add := func(invert bool) {
		for k, rho := range levelOdds {
			if rho *= e.null; invert {
				rho = 1 / rho
			}
			e.rhos = append(e.rhos, rho)
			prior, period = append(prior, levelPrior[k]), append(period, levelPeriod[k])
		}
	}
	if m.Harm != Fewer {
		add(false)
	}
	if m.Harm == Fewer || m.Harm == Either {
		add(true)
	}
	e.bets = newBets(prior, period, startShare, p.Horizon)
	e.bets.shorten()
	return e
}

func (e *events) check(*Batch) error { return nil }

func (e *events) update(b *Batch) {
	n := countsOf(b)
	if rises := e.rises(b.Share); !e.clusters.decides { // else what units say no longer counts
		e.bets.step(rises)
		e.bet(b.At, n)
	}
	if blindShare(b) {
		e.passed(b)
		e.count(b)
		return
	}
	e.take(b, n)
}

func (e *events) bet(now float64, n counts) {
	e.bets.restart(now)
	if n.w > 0 && n.w < 1 {
		for k, rho := range e.rhos {
			null := e.null
			if rho < 1 {
				null = 1 / null
			}
			e.bets.logR[k] += eventFactor(rho, null, n)
		}
	}
	e.settle()
}

// blindShare reports whether a batch of the counts mode has as many events as
// units in both versions: a share that is that of the events themselves proves
// nothing, whatever the events do. The bets take it: they can only lose by it.
func blindShare(b *Batch) bool {
	return b.Share == 0 && b.Canary.N == b.Canary.Bad && b.Stable.N == b.Stable.Bad
}

// settle settles the bets of units; clusters settle themselves.
func (e *events) settle() { e.bets.settle() }

func (e *events) evidence() float64 { return e.counted(e.bets.logM) }

func (e *events) report(_ Metric, looseness int, r *MetricReport) {
	r.Unit = "per unit"
	r.Canary, r.Stable = eventSide(e.ec, e.nc), eventSide(e.es, e.ns)
	r.Ratio = e.ratio()
	if e.nc == 0 || e.ns == 0 || r.uncompared() {
		return
	}
	r.Diff = e.difference()
	if p := &e.proofs.each[looseness]; p.rho > 0 {
		w := e.canaryShare()
		log, _ := e.proof(looseness)
		rate := ratioProofRate(float64(e.es)/float64(e.ns), p.ratio.rho, w)
		r.MoreRequests = moreCanary(e.proofs.bar-log, rate, w)
	}
	e.guard.warn(r)
}

// difference is that of the two rates, each at half the alpha.
func (e *events) difference() *Interval {
	nc, ns := float64(e.nc), float64(e.ns)
	lc, hc := poissonInterval(float64(e.ec), nc, IntervalAlpha/2)
	ls, hs := poissonInterval(float64(e.es), ns, IntervalAlpha/2)
	return &Interval{Value: finite(float64(e.ec)/nc - float64(e.es)/ns), Low: finite(lc - hs), High: finite(hc - ls)}
}

// eventSide is one version's events a unit with their always-valid interval.
func eventSide(k, n int64) SideReport {
	s := SideReport{N: n, Bad: k}
	if n == 0 {
		return s
	}
	low, high := poissonInterval(float64(k), float64(n), IntervalAlpha)
	s.Value, s.Low, s.High = finite(float64(k)/float64(n)), finite(low), finite(high)
	return s
}

// poissonInterval is the always-valid interval of a rate from k events in n
// units: gamma mixtures of seven scales.
func poissonInterval(k, n, alpha float64) (low, high float64) {
	const shape, scales = 0.5, 7
	lg := func(x float64) float64 { l, _ := math.Lgamma(x); return l }
	f := func(rate float64) float64 {
		var xs [scales]float64
		for i := range xs {
			b := math.Pow(10, float64(i)-3)
			xs[i] = lg(shape+k) - lg(shape) + shape*math.Log(b) - (shape+k)*math.Log(b+n)
		}
		return logSumExp(xs[:]) - math.Log(scales) - xlogy(k, rate) + n*rate - math.Log(1/alpha)
	}
	mle := k / n
	if k > 0 {
		low = bisect(f, 0, mle)
	}
	high = mle + 1/n
	for f(high) < 0 && high < 1e300 {
		high *= 2
	}
	return low, bisect(f, mle, high)
}

// save leaves out the bets of units where they no longer count.
func (e *events) save(out []byte) []byte {
	if out = e.tested.save(out); e.clusters.decides {
		return out
	}
	return e.bets.saveOdds(out)
}

func (e *events) load(d *decoder) {
	if e.tested.load(d, e.bets.horizon); !e.clusters.decides {
		e.bets.loadOdds(d, d.at)
	}
}
