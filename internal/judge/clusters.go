package judge

import "math"

// clusters is the bet for traffic in which bad units come in bursts (one user,
// one trace): in each interval, on the canary's share of the bad units. It
// holds for any dependence inside an interval.
type clusters struct {
	bets
	rhos     []float64
	tolerate float64
	length   float64 // seconds; 0: not kept
	slot     float64 // number of the open interval, that of the last batch
	mode     float64 // its Batch.Share
	sum      counts  // what it holds
	each     []clusterProof
	stakes   clusterStakes
	proven   []bool
	bar      float64
	decides  bool // intervals count, not units; only then the proofs are kept
}

var (
	clusterRhos   = []float64{1.5, 2.5, 5, 20, 200}
	clusterPeriod = []float64{60, 60, 20, 5, 1}
)

func newClusters(m Metric, p Policy) clusters {
	if m.Interval <= 0 {
		return clusters{}
	}
	prior := []float64{1, 1, 1, 1, 1}
	c := clusters{
		bets: newBets(prior, clusterPeriod, startShare, p.Horizon), rhos: append([]float64(nil), clusterRhos...),
		tolerate: max(1, m.Tolerate), length: m.Interval, bar: math.Log(1 / p.AlphaPromote), proven: make([]bool, len(p.Looseness)),
	}
	for k := range c.rhos {
		c.rhos[k] *= c.tolerate
	}
	if m.Harm == Fewer {
		for k := range c.rhos {
			c.rhos[k] = 1 / c.rhos[k]
		}
		c.tolerate = 1 / c.tolerate
	}
	for i, l := range p.Looseness {
		c.each = append(c.each, newClusterProof(m, l))
		c.each[i].settle(&c.stakes)
	}
	c.coarsen()
	c.decides = m.Clustered
	return c
}

// add takes a batch into the open interval and bets on those that ended.
func (c *clusters) add(at, share float64, n counts) {
	if c.length <= 0 {
		return
	}
	slot := math.Floor(at / c.length)
	if slot != c.slot || share != c.mode {
		c.close()
		c.slot, c.mode = slot, share
	}
	c.sum.nc += n.nc
	c.sum.ec += n.ec
	c.sum.ns += n.ns
	c.sum.es += n.es
}

// close bets on the open interval.
func (c *clusters) close() {
	n := c.sum
	c.sum = counts{}
	n.w = c.mode
	if n.w == 0 {
		if n.nc == 0 || n.ns == 0 {
			return
		}
		n.w = n.nc / (n.nc + n.ns)
	}
	if n.w >= 1 || n.nc+n.ns == 0 && n.ec+n.es == 0 {
		return
	}
	c.restart(c.slot * c.length)
	for k, rho := range c.rhos {
		c.logR[k] += shareFactor(rho, c.tolerate, n.w, n.ec, n.ec+n.es)
	}
	c.coarsen()
	if !c.decides {
		return
	}
	if c.differs() && n.nc+n.ns > 0 {
		c.stakes.bet(n)
	}
	for i := range c.each {
		c.each[i].bet(n)
		c.each[i].settle(&c.stakes)
		if c.each[i].log >= c.bar {
			c.proven[i] = true
		}
	}
}

// clusterAlts are the alternatives of a ratio proof by intervals.
var clusterAlts = [2]float64{0.8, 1}

// clusterProof is a proof by averages over intervals, of one looseness.
type clusterProof struct {
	rho, delta float64 // 0: none
	alts       [len(clusterAlts)]float64
	ratio      [len(clusterAlts)]float64
	log        float64
}

func newClusterProof(m Metric, looseness float64) clusterProof {
	e := newProof(m, looseness)
	p := clusterProof{rho: e.ratio.rho, delta: e.delta, alts: clusterAlts}
	if m.Harm == Fewer {
		for i, a := range p.alts {
			p.alts[i] = 1 / a
		}
	}
	return p
}

// clusterStakes are the bets on a difference that all loosenesses share: as in
// looseParts, an interval's factor is (1 + lam d)(1 + f w x), here with the mean x
// of its units.
type clusterStakes struct {
	logE [len(stakes)]float64
	n    float64 // intervals
	w    float64 // sum of their shares, in parts of shareParts
}

func (p *clusterStakes) bet(n counts) {
	x := (n.es/(1-n.w) - n.ec/n.w) / (n.nc + n.ns)
	for k, f := range stakes {
		p.logE[k] += math.Log1p(f * n.w * x)
	}
	roundDown(p.logE[:])
	p.n++
	p.w += math.Floor(n.w * shareParts)
}

// log is the evidence for a margin.
func (p *clusterStakes) log(delta float64) float64 {
	var d diffProof
	for k, f := range stakes {
		d.logE[k] = p.logE[k]
		if p.n > 0 {
			d.logE[k] -= p.n * math.Log1p(-f*p.w/shareParts/p.n*delta)
		}
	}
	return d.log()
}

func (p *clusterProof) bet(n counts) {
	if p.rho > 0 {
		for i, a := range p.alts {
			p.ratio[i] += shareFactor(a, p.rho, n.w, n.ec, n.ec+n.es)
		}
	}
	roundDown(p.ratio[:])
}

func (p *clusterProof) settle(s *clusterStakes) {
	ratio := func() float64 { return logSumExp(p.ratio[:]) - math.Ln2 }
	switch {
	case p.rho > 0 && p.delta > 0:
		p.log = logAdd(ratio(), s.log(p.delta)) - math.Ln2
	case p.rho > 0:
		p.log = ratio()
	case p.delta > 0:
		p.log = s.log(p.delta)
	}
}

func (c *clusters) save(out []byte) []byte {
	if c.length <= 0 {
		return out
	}
	out = c.bets.save(out)
	out = appendShare(out, c.mode)
	for _, n := range [4]float64{c.sum.nc, c.sum.ec, c.sum.ns, c.sum.es} {
		out = appendNumber(out, n)
	}
	if out = appendBool(out, c.decides); !c.decides {
		return out
	}
	out = appendBools(out, c.proven)
	for i := range c.each {
		if c.each[i].rho > 0 {
			out = appendSingles(out, c.each[i].ratio[:])
		}
	}
	if c.differs() {
		out = appendSingles(out, c.stakes.logE[:])
		out = appendCount(appendCount(out, int64(c.stakes.n)), int64(c.stakes.w))
	}
	return out
}

// differs reports whether a difference is to be proven.
func (c *clusters) differs() bool { return len(c.each) > 0 && c.each[0].delta > 0 }

func (c *clusters) load(d *decoder) {
	if c.length <= 0 {
		return
	}
	c.bets.load(d)
	c.slot, c.mode = math.Floor(d.at/c.length), d.share()
	c.sum.nc, c.sum.ec, c.sum.ns, c.sum.es = d.number(), d.number(), d.number(), d.number()
	if c.decides = d.bool(); !c.decides {
		return
	}
	d.bools(c.proven)
	for i := range c.each {
		if c.each[i].rho > 0 {
			d.singles(c.each[i].ratio[:])
		}
	}
	if c.differs() {
		d.singles(c.stakes.logE[:])
		c.stakes.n, c.stakes.w = float64(d.count()), float64(d.count())
	}
	for i := range c.each {
		c.each[i].settle(&c.stakes)
	}
}
