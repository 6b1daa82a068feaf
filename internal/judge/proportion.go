package judge

import "fmt"

// proportion is the test of a share of bad outcomes.
type proportion struct {
	labelBets
	tested
}

// tested is what proportions and rates share.
type tested struct {
	proofs
	ledger ledger
	clusters
	guard          *guard
	perUnit        bool
	nc, ec, ns, es int64 // totals
	events         eventShares
	share          float64 // largest so far, in routing mode
}

func newTested(m Metric, p Policy, h History) tested {
	return tested{
		proofs: newProofs(m, p), ledger: newLedger(), clusters: newClusters(m, p), guard: guardRate(m, p, h), perUnit: m.PerUnit,
	}
}

func newProportion(m Metric, p Policy, h History) *proportion {
	out := &proportion{
		labelBets: newLabelBets(alternatives, float64(h.Bad), float64(h.N), startShare, p.Horizon, m.Tolerate),
		tested:    newTested(m, p, h),
	}
	out.labelBets.shorten()
	return out
}

func (p *proportion) check(b *Batch) error {
	for _, s := range [2]*Side{&b.Canary, &b.Stable} {
		if s.Bad > s.N {
			return fmt.Errorf("judge: %d bad units of %d, expected no more than there are", s.Bad, s.N)
		}
	}
	return nil
}

// countsOf is a batch with the share that it is judged by.
func countsOf(b *Batch) counts {
	n := counts{
		w: b.Share, nc: float64(b.Canary.N), ec: float64(b.Canary.Bad),
		ns: float64(b.Stable.N), es: float64(b.Stable.Bad),
	}
	if n.w == 0 && n.nc > 0 && n.ns > 0 {
		n.w = n.nc / (n.nc + n.ns)
	}
	return n
}

func (p *proportion) update(b *Batch) {
	n := countsOf(b)
	rises := p.rises(b.Share)
	switch {
	case p.clusters.decides: // what units say no longer counts
		p.labelBets.learn(n.es, n.ns)
	case p.perUnit:
		p.labelBets.step(rises)
		p.labelBets.betEvents(b.At, firsts(b, n))
	default:
		p.labelBets.step(rises)
		p.labelBets.bet(b.At, n)
	}
	p.take(b, n)
}

// firsts is a batch with the first bad outcome of each unit only.
func firsts(b *Batch, n counts) counts {
	n.ec, n.es = float64(b.Canary.Firsts), float64(b.Stable.Firsts)
	return n
}

// rises notes the share and reports whether it went up by a step.
func (t *tested) rises(share float64) bool {
	step := share > 1.2*t.share && t.share > 0
	t.share = max(t.share, share)
	return step
}

// take brings everything but the bets of units up to date.
func (t *tested) take(b *Batch, n counts) {
	once := n
	if t.perUnit {
		once, n.es = firsts(b, n), float64(b.Stable.Units)
	}
	booked := b.Share > 0 && b.Share < 1 && t.ledger.add(n)
	if !t.clusters.decides {
		t.proofs.bet(n, &t.ledger, booked)
	}
	t.clusters.add(b.At, b.Share, n)
	t.guard.add(b.At, n.nc+n.ns, once.ec+once.es)
	if t.perUnit || !booked { // others follow from the ledger
		t.events.add(once)
	}
	t.count(b)
}

// passed tells what is open for a time that a batch passed of which nothing is taken in.
func (t *tested) passed(b *Batch) {
	t.clusters.add(b.At, b.Share, counts{})
	t.guard.add(b.At, 0, 0)
}

// count adds a batch to the totals.
func (t *tested) count(b *Batch) {
	t.nc += b.Canary.N
	t.ec += b.Canary.Bad
	t.ns += b.Stable.N
	t.es += b.Stable.Bad
}

func (p *proportion) evidence() float64 { return p.counted(p.labelBets.logM) }

// ratio is that of the two versions' shares or rates.
func (t *tested) ratio() *Interval {
	events := t.events
	if !t.perUnit {
		events.rows = t.ledger.rows
	}
	return events.interval(IntervalAlpha)
}

// counted is the evidence that counts.
func (t *tested) counted(units float64) float64 {
	if t.clusters.decides {
		return t.clusters.logM
	}
	return units
}

// proof is the evidence that the metric is within its margin.
//
//nolint:unparam // events and proportions are processes by this method
func (t *tested) proof(looseness int) (float64, bool) {
	if t.clusters.decides {
		return t.clusters.each[looseness].log, t.clusters.proven[looseness]
	}
	return t.proofs.logOf(looseness, &t.ledger), t.proofs.proven[looseness]
}

func (t *tested) sides() (int64, int64) { return t.nc, t.ns }

// canaryShare is the share to forecast with.
func (t *tested) canaryShare() float64 {
	if t.share > 0 || t.nc+t.ns == 0 {
		return t.share
	}
	return float64(t.nc) / float64(t.nc+t.ns)
}

func (p *proportion) report(_ Metric, looseness int, r *MetricReport) {
	r.Due = p.ledger.due()
	r.Canary = rateSide(p.ec, p.nc)
	r.Stable = rateSide(p.es, p.ns)
	r.Ratio = p.ratio()
	r.Diff = differenceOf(p.ec, p.nc, p.es, p.ns, IntervalAlpha)
	if p.nc == 0 || p.ns == 0 {
		return
	}
	w, rate := p.canaryShare(), 0.0
	e := &p.proofs.each[looseness]
	if e.rho > 0 {
		rate = ratioProofRate(p.rate(), e.rho, w)
	}
	if e.delta > 0 {
		rate = max(rate, diffProofRate(p.rate(), e.delta, w))
	}
	log, _ := p.proof(looseness)
	r.MoreRequests = moreCanary(p.proofs.bar-log, rate, w)
	p.guard.warn(r)
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
