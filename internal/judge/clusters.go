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
	slot     float64 // number of the open interval
	mode     float64 // its Batch.Share
	sum      counts  // what it holds
	each     []clusterProof
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
	for _, l := range p.Looseness {
		c.each = append(c.each, clusterProof{proof: newProof(m, l)})
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
	for i := range c.each {
		c.each[i].bet(n)
		if c.each[i].log >= c.bar {
			c.proven[i] = true
		}
	}
}

// clusterProof is a proof by averages over intervals.
type clusterProof struct{ proof }

func (p *clusterProof) bet(n counts) {
	if p.rho > 0 {
		for i, a := range p.ratio.alts {
			p.ratio.logE[i] += shareFactor(a, p.ratio.rho, n.w, n.ec, n.ec+n.es)
		}
	}
	if p.delta > 0 && n.nc+n.ns > 0 {
		mean := p.delta + (n.es/(1-n.w)-n.ec/n.w)/(n.nc+n.ns)
		for k, f := range stakes {
			p.diff.logE[k] += math.Log1p(f / (1/n.w - p.delta) * mean)
		}
	}
	roundDown(p.ratio.logE[:])
	roundDown(p.diff.logE[:])
	p.settle()
}

func (c *clusters) save(out []byte) []byte {
	if c.length <= 0 {
		return out
	}
	out = c.bets.save(out)
	out = appendShare(appendNumber(out, c.slot), c.mode)
	for _, n := range [4]float64{c.sum.nc, c.sum.ec, c.sum.ns, c.sum.es} {
		out = appendNumber(out, n)
	}
	if out = appendBool(out, c.decides); !c.decides {
		return out
	}
	out = appendBools(out, c.proven)
	for i := range c.each {
		out = c.each[i].save(out, c.each[i].parts())
	}
	return out
}

func (c *clusters) load(d *decoder) {
	if c.length <= 0 {
		return
	}
	c.bets.load(d)
	c.slot, c.mode = d.number(), d.share()
	c.sum.nc, c.sum.ec, c.sum.ns, c.sum.es = d.number(), d.number(), d.number(), d.number()
	if c.decides = d.bool(); !c.decides {
		return
	}
	d.bools(c.proven)
	for i := range c.each {
		p := c.each[i].load(d)
		c.each[i].ratio.logE, c.each[i].diff.logE = p.ratio, p.diff
		c.each[i].settle()
	}
}
