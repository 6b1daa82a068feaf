package judge

import "fmt"

// proportion is the test of a share of bad outcomes.
type proportion struct {
	labelBets
	proofs
	nc, ec, ns, es int64 // totals
	events         eventShares
	share          float64 // largest so far, in routing mode
}

func newProportion(m Metric, p Policy, h History) *proportion {
	return &proportion{
		labelBets: newLabelBets(alternatives, float64(h.Bad), float64(h.N), startShare, p.Horizon, m.Tolerate),
		proofs:    newProofs(m, p),
	}
}

func (p *proportion) check(b *Batch) error {
	for _, s := range [2]*Side{&b.Canary, &b.Stable} {
		if s.Bad > s.N {
			return fmt.Errorf("judge: %d bad units of %d, expected no more than there are", s.Bad, s.N)
		}
	}
	return nil
}

func (p *proportion) update(b *Batch) {
	n := counts{
		w: b.Share, nc: float64(b.Canary.N), ec: float64(b.Canary.Bad),
		ns: float64(b.Stable.N), es: float64(b.Stable.Bad),
	}
	if n.w == 0 && n.nc > 0 && n.ns > 0 {
		n.w = n.nc / (n.nc + n.ns)
	}
	if b.Share > 1.2*p.share && p.share > 0 {
		p.rampStep()
	}
	p.share = max(p.share, b.Share)
	p.labelBets.bet(b.At, n)
	p.proofs.bet(n)
	p.events.add(n)
	p.nc += b.Canary.N
	p.ec += b.Canary.Bad
	p.ns += b.Stable.N
	p.es += b.Stable.Bad
}

// rampStep restarts a part of every component where the canary's share rises:
// what load brings out starts there.
func (b *bets) rampStep() {
	const part = 0.1
	for k := range b.u {
		b.spend(k, part)
	}
}

func (p *proportion) evidence() float64 { return p.logM }

func (p *proofs) proof(looseness int) (float64, bool) {
	if len(p.each) == 0 {
		return 0, false
	}
	return p.each[looseness].log, p.proven[looseness]
}

func (p *proportion) sides() (int64, int64) { return p.nc, p.ns }

func (p *proportion) report(_ Metric, looseness int, r *MetricReport) {
	r.Canary = rateSide(p.ec, p.nc)
	r.Stable = rateSide(p.es, p.ns)
	r.Ratio = p.events.interval(IntervalAlpha)
	r.Diff = differenceOf(p.ec, p.nc, p.es, p.ns, IntervalAlpha)
	if len(p.each) == 0 || p.nc == 0 || p.ns == 0 {
		return
	}
	w := p.share
	if w == 0 {
		w = float64(p.nc) / float64(p.nc+p.ns)
	}
	e, rate := &p.each[looseness], 0.0
	if e.rho > 0 {
		rate = ratioProofRate(p.rate(), e.rho, w)
	}
	if e.delta > 0 {
		rate = max(rate, diffProofRate(p.rate(), e.delta, w))
	}
	r.MoreRequests = moreCanary(p.bar-e.log, rate, w)
}

// rateSide is one version's rate with its always-valid interval.
func rateSide(bad, n int64) SideReport {
	s := SideReport{N: n, Bad: bad}
	if n == 0 {
		return s
	}
	low, high := rateInterval(bad, n, IntervalAlpha)
	s.Value, s.Low, s.High = finite(float64(bad)/float64(n)), finite(low), finite(high)
	return s
}
