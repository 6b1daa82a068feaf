package judge

import "math"

// IntervalAlpha is the chance that an interval in a report ever misses.
const IntervalAlpha = 0.05

// rateInterval is the always-valid interval of a rate from k events in n
// trials (beta-binomial mixture, Howard and others 2021).
func rateInterval(k, n int64, alpha float64) (low, high float64) {
	x, m, bar := float64(k), float64(n), math.Log(1/alpha)
	f := func(p float64) float64 { return betaBinomial(x, m, p, 0.5, 0.5) - bar }
	mle := x / m
	low, high = 0, 1
	if k > 0 {
		low = bisect(f, 0, mle)
	}
	if k < n {
		high = bisect(f, mle, 1)
	}
	return low, high
}

// eventShares is what is kept to estimate a ratio of rates: bad units by the
// canary's share when they came. Those of the ledger's rows are exact; others
// are pooled, and every pool keeps the range of shares it saw, so that the
// interval stays valid.
type eventShares struct {
	pools [2]sharePool
	rows  []counts // of a ledger, which saves them
}

// poolEnd is the share that parts the pools. What an interval loses by a pool is the
// square of half its width against w (1-w) of what it knows: a few percent.
const poolEnd = 0.2

type sharePool struct {
	n, canary   float64
	sum         float64 // of shares, in parts of shareParts
	least, most float64 // of shares, rounded outward to parts of shareParts
}

func (e *eventShares) add(n counts) {
	events := n.ec + n.es
	if events == 0 || n.w <= 0 || n.w >= 1 {
		return
	}
	p := &e.pools[0]
	if n.w >= poolEnd {
		p = &e.pools[1]
	}
	low, high := math.Floor(n.w*shareParts)/shareParts, math.Ceil(n.w*shareParts)/shareParts
	if k := math.Round(n.w * shareParts); k/shareParts == n.w {
		low, high = n.w, n.w
	}
	if p.n == 0 {
		p.least, p.most = low, high
	}
	p.n += events
	p.canary += n.ec
	p.least, p.most = min(p.least, low), max(p.most, high)
	p.sum += math.Round(events * n.w * shareParts)
}

// mean is that of the shares.
func (p *sharePool) mean() float64 {
	return max(p.least, min(p.most, p.sum/shareParts/p.n))
}

// norms bounds sum of log(1 + w(rho-1)) over the events from below (chord) and
// above (mean): the function is concave in w.
func (e *eventShares) norms(rho float64) (low, high float64) {
	for _, r := range e.rows {
		x := (r.ec + r.es) * math.Log1p(r.w*(rho-1))
		low, high = low+x, high+x
	}
	for i := range e.pools {
		p := &e.pools[i]
		if p.n == 0 {
			continue
		}
		mean := p.mean()
		high += p.n * math.Log1p(mean*(rho-1))
		a, b := math.Log1p(p.least*(rho-1)), math.Log1p(p.most*(rho-1))
		if d := p.most - p.least; d > 0 {
			a += (b - a) * (mean - p.least) / d
		}
		low += p.n * a
	}
	return low, high
}

// ratioPrior are the log ratios and log weights of the mixture behind the
// ratio's interval: dense where ratios matter.
var ratioPrior = func() (points [161][2]float64) {
	total := 0.0
	for i := range points {
		x := float64(i-80) / 80
		points[i][0] = 7 * x * math.Abs(x)
		d := math.Abs(x) * 14 / 80 // spacing of the points
		points[i][1] = (d + 0.002) / math.Pow(0.3+math.Abs(points[i][0]), 1.5)
		total += points[i][1]
	}
	for i := range points {
		points[i][1] = math.Log(points[i][1] / total)
	}
	return points
}()

// interval is the ratio canary / stable with its always-valid interval; nil
// before the first event.
func (e *eventShares) interval(alpha float64) *Interval {
	canary, n := 0.0, 0.0
	for i := range e.pools {
		canary += e.pools[i].canary
		n += e.pools[i].n
	}
	for _, r := range e.rows {
		canary += r.ec
		n += r.ec + r.es
	}
	if n == 0 {
		return nil
	}
	var terms [len(ratioPrior)]float64
	for i, p := range ratioPrior {
		_, high := e.norms(math.Exp(p[0]))
		terms[i] = p[1] + canary*p[0] - high
	}
	top, bar := logSumExp(terms[:]), math.Log(1/alpha)
	f := func(x float64) float64 {
		low, _ := e.norms(math.Exp(x))
		return top - canary*x + low - bar
	}
	const widest = 14.0
	mid := e.mode(canary, n, widest)
	out := &Interval{}
	if canary > 0 && canary < n {
		out.Value = finite(math.Exp(mid))
	} else if canary == 0 {
		out.Value = finite(0)
	}
	if f(mid) >= 0 { // pooled too coarsely to say anything
		return out
	}
	if f(-widest) > 0 {
		out.Low = finite(math.Exp(bisect(f, mid, -widest)))
	} else {
		out.Low = finite(0)
	}
	if f(widest) > 0 {
		out.High = finite(math.Exp(bisect(f, mid, widest)))
	}
	return out
}

// mode is the log ratio that explains the events best.
func (e *eventShares) mode(canary, n, widest float64) float64 {
	switch canary {
	case 0:
		return -widest
	case n:
		return widest
	}
	slope := func(x float64) float64 {
		rho, s := math.Exp(x), canary
		for _, r := range e.rows {
			s -= (r.ec + r.es) * r.w * rho / (1 + r.w*(rho-1))
		}
		for i := range e.pools {
			if p := &e.pools[i]; p.n > 0 {
				w := p.mean()
				s -= p.n * w * rho / (1 + w*(rho-1))
			}
		}
		return s
	}
	return bisect(slope, -widest, widest)
}

func finite(x float64) *float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return &x
}

// differenceOf is the always-valid interval of a difference from those of its
// two sides at half the alpha each.
func differenceOf(kc, nc, ks, ns int64, alpha float64) *Interval {
	if nc == 0 || ns == 0 {
		return nil
	}
	lc, hc := rateInterval(kc, nc, alpha/2)
	ls, hs := rateInterval(ks, ns, alpha/2)
	d := float64(kc)/float64(nc) - float64(ks)/float64(ns)
	return &Interval{Value: finite(d), Low: finite(lc - hs), High: finite(hc - ls)}
}
