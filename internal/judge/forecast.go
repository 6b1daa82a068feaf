package judge

import "math"

// mixtureCost is how much longer a proof takes than its limit (judge study).
const mixtureCost = 1.2

// ratioProofRate is the growth of the ratio proof in nats for each unit of both
// versions, when both have the rate p and the canary's share is w.
func ratioProofRate(p, rho, w float64) float64 {
	return p * kl(w, rho*w/(1+w*(rho-1)))
}

// diffProofRate is the growth of the difference proof at its best stake.
func diffProofRate(p, delta, w float64) float64 {
	best := 0.0
	for _, f := range stakes {
		lam := f / (1/w - delta)
		g := (1-p)*math.Log1p(lam*delta) + p*w*math.Log1p(lam*(delta-1/w)) + p*(1-w)*math.Log1p(lam*(delta+1/(1-w)))
		best = max(best, g)
	}
	return best
}

// moreCanary is the number of canary requests that a proof growing by rate nats
// a unit still needs; nil when it would need for ever.
func moreCanary(missing, rate, w float64) *float64 {
	if !(rate > 0) || !(w > 0) {
		return nil
	}
	n := max(1, w*mixtureCost*max(0, missing)/rate)
	if n > 1e12 {
		return nil
	}
	return finite(n)
}

// sharer is a test that knows the canary's share.
type sharer interface{ canaryShare() float64 }

// shareOr is the share of the routing mode, or that of the units seen.
func shareOr(share float64, p process) float64 {
	c, s := p.sides()
	if share > 0 || c+s == 0 {
		return share
	}
	return float64(c) / float64(c+s)
}

// seconds is how long more units of the canary take at the pace until now.
func seconds(p process, more *float64, at float64) *float64 {
	if more == nil || !(at > 0) {
		return nil
	}
	c, s := p.sides()
	pace := float64(c) / at
	if k, ok := compared(p).(sharer); ok {
		pace = k.canaryShare() * float64(c+s) / at
	}
	if !(pace > 0) {
		return nil
	}
	return finite(*more / pace)
}

// compared is the comparison within a metric that has a limit.
func compared(p process) process {
	if l, ok := p.(*limited); ok {
		return l.process
	}
	return p
}
