package judge

import "math"

// Limit is what no sequential test can beat: nats of evidence for each unit
// of both versions, and the expected units until it reaches 1/alpha (Wald 1945).
type Limit struct {
	PerUnit     float64 // mutual information of version and outcome
	Units       float64 // of both versions
	Canary      float64 // of the canary
	StableKnown float64 // canary units if stable's rate were known exactly
}

// LimitOf is the limit for rates ps and pc (canary) at the canary's share w.
func LimitOf(ps, pc, w, alpha float64) Limit {
	m := w*pc + (1-w)*ps
	info := w*kl(pc, m) + (1-w)*kl(ps, m)
	l := math.Log(1 / alpha)
	return Limit{PerUnit: info, Units: l / info, Canary: w * l / info, StableKnown: l / kl(pc, ps)}
}

// HistogramLimit is the limit for distributions given by bin.
func HistogramLimit(stable, canary []float64, w, alpha float64) Limit {
	info, known := 0.0, 0.0
	for i := range stable {
		m := w*canary[i] + (1-w)*stable[i]
		if canary[i] > 0 {
			info += w * canary[i] * math.Log(canary[i]/m)
			known += canary[i] * math.Log(canary[i]/stable[i])
		}
		if stable[i] > 0 {
			info += (1 - w) * stable[i] * math.Log(stable[i]/m)
		}
	}
	l := math.Log(1 / alpha)
	return Limit{PerUnit: info, Units: l / info, Canary: w * l / info, StableKnown: l / known}
}

// RatioProofLimit is the canary units that a proof of "at most rho times"
// needs at least on average when both versions have the rate p.
func RatioProofLimit(p, rho, w, alpha float64) float64 {
	inf := func(s float64) float64 {
		c := min(1-1e-15, rho*s)
		return w*kl(p, c) + (1-w)*kl(p, s)
	}
	return w * math.Log(1/alpha) / inf(golden(inf, p/rho, min(p, 1/rho)))
}

// DifferenceProofLimit is the same for "at most delta more".
func DifferenceProofLimit(p, delta, w, alpha float64) float64 {
	inf := func(s float64) float64 {
		return w*kl(p, min(1-1e-15, s+delta)) + (1-w)*kl(p, s)
	}
	lo := max(1e-15, p-delta)
	return w * math.Log(1/alpha) / inf(golden(inf, lo, max(lo*2, p)))
}

// FalseAlarm is the exact chance that a mixture of event bets ever crosses
// 1/alpha within n events when every event is the canary's with chance w: a
// recursion over the lattice of counts.
func FalseAlarm(w float64, rho, prior []float64, alpha float64, n int) float64 {
	bar, total := math.Log(1/alpha), 0.0
	for _, p := range prior {
		total += p
	}
	terms := make([]float64, len(rho))
	crossed := func(c, all int) bool {
		for k, r := range rho {
			terms[k] = math.Log(prior[k]/total) + float64(c)*math.Log(r) - float64(all)*math.Log1p(w*(r-1))
		}
		return logSumExp(terms) >= bar
	}
	return crossing(w, n, crossed)
}

// WrongProof is the exact chance that the bets on errors prove "at most rho
// times" within n bad units of a version that is exactly at that margin, at the
// canary's share w.
func WrongProof(w, rho, alpha float64, n int) float64 {
	e := newProof(Metric{Ratio: rho}, 1).ratio
	e.bet(counts{w: w, es: 1})
	bar, terms := math.Log(1/alpha), e.logE
	return crossing(w*rho/(1+w*(rho-1)), n, func(c, all int) bool {
		for k := range terms {
			terms[k] = float64(c)*e.odds[k] - float64(all)*e.cost[k]
		}
		return logSumExp(terms[:])-2*math.Ln2 >= bar
	})
}

// crossing is the chance that an e-process of counts ever crosses within n
// events, when every event is the canary's with chance w.
func crossing(w float64, n int, crossed func(c, all int) bool) float64 {
	alive := make([]float64, n+2)
	alive[0] = 1
	out := 0.0
	for all := 1; all <= n; all++ {
		for c := all; c >= 0; c-- {
			p := alive[c] * (1 - w)
			if c > 0 {
				p += alive[c-1] * w
			}
			if p > 0 && crossed(c, all) {
				out += p
				p = 0
			}
			alive[c] = p
		}
	}
	return out
}
