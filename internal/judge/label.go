package judge

import "math"

// counts is one batch of a proportion: units and bad ones by version, and the
// chance that a unit went to the canary.
type counts struct{ w, nc, ec, ns, es float64 }

// labelFactor is the log of the bet "given a unit's outcome, which version
// served it?" for rates c (canary) and s (stable). Its mean is 1 for every
// outcome when the versions are alike, whatever the common rate does.
func labelFactor(c, s float64, n counts) float64 {
	d := c - s
	m := s + n.w*d
	f := 0.0
	if n.ec > 0 {
		f += n.ec * math.Log1p((1-n.w)*d/m)
	}
	if k := n.nc - n.ec; k > 0 {
		f += k * math.Log1p(-(1-n.w)*d/(1-m))
	}
	if n.es > 0 {
		f += n.es * math.Log1p(-n.w*d/m)
	}
	if k := n.ns - n.es; k > 0 {
		f += k * math.Log1p(n.w*d/(1-m))
	}
	return f
}

// eventFactor is the bet on bad units only: their odds of being the canary's
// are rho instead of null times those of a request.
func eventFactor(rho, null float64, n counts) float64 {
	if n.ec+n.es == 0 {
		return 0
	}
	return n.ec*math.Log(rho/null) - (n.ec+n.es)*(math.Log1p(n.w*(rho-1))-math.Log1p(n.w*(null-1)))
}

// alternative is one component of a proportion's mixture.
type alternative struct {
	absolute bool    // v is a rate; otherwise it multiplies stable's odds
	v        float64 //
	prior    float64
	period   float64
}

// alternatives of a proportion, tuned by the study: most weight where the wait
// for a decision is longest, and on the last, an outage, which is to be found
// within three canary requests.
var alternatives = []alternative{
	{v: 1.2, prior: 0.5, period: 60}, {v: 1.5, prior: 2.5, period: 60}, {v: 2.3, prior: 1.8, period: 60},
	{v: 5, prior: 2.1, period: 30}, {v: 20, prior: 1, period: 5}, {v: 200, prior: 1.2, period: 1},
	{absolute: true, v: 0.99, prior: 2.7, period: 1},
}

// rate is the canary's rate under the alternative when stable's is s. Where bad
// units are rare each of the canary's tells nearly all that one can, log 1/w, by
// any rate far above stable's: there the alternative stands for an outage of a
// part of the requests as well, whose good ones would rule out a total one.
func (a alternative) rate(s float64) float64 {
	if a.absolute {
		return min(max(a.v*min(1, max(s/rare, partOfOutage)), 1.2*s), 1-1e-12)
	}
	return min(oddsTimes(s, a.v), 1-1e-12)
}

// odds of a bad unit to be the canary's, against an alike version's, for batches
// of many units while stable's rate is hardly known: there a guess of that rate
// costs the mixture most of its capital, and the bad units alone cost nothing.
func (a alternative) odds() float64 {
	if a.absolute {
		return blindOutage
	}
	return a.v
}

const (
	rare         = 1e-3 // stable's rate
	partOfOutage = 0.25

	blindOutage = 200
	blindUntil  = 200 // stable's units
)

// labelBets is the e-process of a proportion.
type labelBets struct {
	bets
	alts []alternative
	// bad and n are stable's past: history and stream, forgotten slowly.
	bad, n   float64
	tolerate float64 // ratio that is never failed; <= 1: none
}

// learnCap bounds stable's remembered past, so that drift is followed.
const learnCap = 1e5

func newLabelBets(alts []alternative, bad, n, g0, horizon, tolerate float64) labelBets {
	prior, period := make([]float64, len(alts)), make([]float64, len(alts))
	for k, a := range alts {
		prior[k], period[k] = a.prior, a.period
	}
	b := labelBets{bets: newBets(prior, period, g0, horizon), alts: alts, bad: bad, n: n, tolerate: tolerate}
	b.settle()
	return b
}

// rate is stable's rate as learned from the past only.
func (l *labelBets) rate() float64 { return (l.bad + 0.5) / (l.n + 1) }

// bet multiplies every component by its factor for the batch, then learns.
func (l *labelBets) bet(now float64, n counts) {
	if l.tolerate > 1 {
		l.betEvents(now, n)
		return
	}
	l.restart(now)
	if n.w > 0 && n.w < 1 && n.nc+n.ns > 0 {
		s, blind := l.rate(), l.n < blindUntil && n.nc+n.ns > 1
		for k, a := range l.alts {
			if blind {
				l.logR[k] += eventFactor(a.odds(), 1, n)
			} else {
				l.logR[k] += labelFactor(a.rate(s), s, n)
			}
		}
	}
	l.learn(n.es, n.ns)
	l.settle()
}

// betEvents bets on bad units only, with what is tolerated.
func (l *labelBets) betEvents(now float64, n counts) {
	l.restart(now)
	if n.w > 0 && n.w < 1 && n.nc+n.ns > 0 {
		s, null := l.rate(), max(1, l.tolerate)
		for k, a := range l.alts {
			l.logR[k] += eventFactor(a.rate(s)/s*null, null, n)
		}
	}
	l.learn(n.es, n.ns)
	l.settle()
}

func (l *labelBets) learn(bad, n float64) {
	l.bad += bad
	l.n += n
	if l.n > learnCap {
		l.bad *= learnCap / l.n
		l.n = learnCap
	}
	if l.short && l.bad != math.Floor(l.bad) {
		l.bad = float64(float32(l.bad))
	}
}

// shareFactor is the bet of one interval on the canary's share of its bad
// units: the average, not the product, of their factors (see eventFactor), so
// that it holds for any dependence inside the interval.
func shareFactor(rho, null, w, canary, total float64) float64 {
	if total == 0 {
		return 0
	}
	return math.Log1p(canary/total*(rho/null-1)) + math.Log1p(w*(null-1)) - math.Log1p(w*(rho-1))
}
