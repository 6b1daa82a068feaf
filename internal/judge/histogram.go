package judge

import "math"

// histogram is the e-process of a positive amount: stable's own distribution,
// scaled, is the bet. odds[bin][k] is component k's odds that a
// value in the bin is the canary's.
type histogram struct {
	bets
	kind     Kind
	quantile float64
	tolerate int   // bins by which the canary's values are moved down
	shifts   []int // bins of the margin, by looseness
	margins  []quantileProof
	proven   []bool
	bar      float64

	learned
	clump          clumps
	open           earned // by the components
	bounds         []float64
	canary, stable tally // totals, for people
	guard          *guard

	odds    *[len(shapes)][scaleBins]float64
	logOdds []oddsRow // by bin
	norm    []oddsRow // log of the mean odds of a request, for the share
	served  []oddsRow // logOdds less norm: what a value of the canary adds
	share   float64   // of norm
	at      int       // bin of the margin's quantile
	above   float64   // stable's share above it
}

func newHistogram(m Metric, p Policy, h History) *histogram {
	prior, period := make([]float64, len(shapes)), make([]float64, len(shapes))
	for k, s := range shapes {
		prior[k], period[k] = s.prior, s.period
	}
	g := &histogram{
		bets: newBets(prior, period, startShare, p.Horizon), kind: m.Kind, quantile: m.quantile(), bounds: m.Bounds,
		odds: new([len(shapes)][scaleBins]float64), logOdds: make([]oddsRow, scaleBins), norm: make([]oddsRow, scaleBins), served: make([]oddsRow, scaleBins),
		proven: make([]bool, len(p.Looseness)), bar: math.Log(1 / p.AlphaPromote),
	}
	if m.Tolerate > 1 {
		g.tolerate = int(math.Ceil(binShift(m.Kind, m.Tolerate) - 1e-9))
	}
	if m.Ratio > 0 {
		for _, l := range p.Looseness {
			g.shifts = append(g.shifts, int(math.Floor(binShift(m.Kind, 1+(m.Ratio-1)*l)+1e-9)))
			g.margins = append(g.margins, quantileProof{open: newEarned(len(betters))})
		}
	}
	g.clump, g.open = newClumps(), newEarned(len(shapes))
	g.learn(h.Bins, binsTotal(h.Bins))
	g.settle()
	if g.refresh(0) {
		g.build()
		g.clump.learn(&g.base, h.Seconds)
		g.guard = guardBins(m, p, &g.base, g.baseN)
	}
	return g
}

// build fills the odds from base.
func (g *histogram) build() {
	var p [scaleBins]float64
	spread := g.base
	if len(g.bounds) > 0 {
		spread = tally{}
		spreadBuckets(g.kind, g.bounds, &g.base, &spread)
	}
	density(&spread, &p)
	for k, s := range shapes {
		r := &g.odds[k]
		if s.factor > 0 {
			scaledOdds(&p, binShift(g.kind, s.factor), s.part, r)
		} else {
			g.exceedance(s, r)
		}
		if len(g.bounds) > 0 && s.factor > 0 {
			averageBuckets(g.kind, g.bounds, &p, r)
		}
	}
	g.fill(g.logOdds, math.Log)
	g.at = g.base.quantileBin(g.quantile)
	g.above = g.baseAbove(g.at)
	g.share = 0
}

// fill sets rows to a function of the odds; most neighbours were pooled.
func (g *histogram) fill(rows []oddsRow, f func(odds float64) float64) {
	var was oddsRow
	var row oddsRow
	for i := range rows {
		for k := range row {
			if r := g.odds[k][i]; i == 0 || r != was[k] {
				was[k], row[k] = r, f(r)
			}
		}
		rows[i] = row
	}
}

// exceedance fills r with the odds of a value above a quantile.
func (g *histogram) exceedance(s shape, r *[scaleBins]float64) {
	at := g.base.quantileBin(s.quantile)
	th := g.baseAbove(at)
	c := oddsTimes(th, s.psi)
	for i := range r {
		r[i] = (1 - c) / (1 - th)
		if i > at {
			r[i] = c / th
		}
	}
}

// binsTotal is the number of values.
func binsTotal(bins []BinCount) int64 {
	n := int64(0)
	for _, b := range bins {
		n += b.Count
	}
	return n
}

// countsOfValues is a batch of so many values with the share that it is judged by; 0: none.
func countsOfValues(b *Batch) counts {
	n := counts{w: b.Share, nc: float64(binsTotal(b.Canary.Bins)), ns: float64(binsTotal(b.Stable.Bins))}
	if n.w == 0 && n.nc > 0 && n.ns > 0 {
		n.w = n.nc / (n.nc + n.ns)
	}
	return n
}

// above counts the values above a bin.
func above(bins []BinCount, at int) float64 {
	n := int64(0)
	for i := len(bins) - 1; i >= 0 && int(bins[i].Bin) > at; i-- {
		n += bins[i].Count
	}
	return float64(n)
}

func (g *histogram) update(b *Batch) {
	if g.clump.tick(b.At) {
		g.open.clear()
		for i := range g.margins {
			g.margins[i].open.clear()
		}
	}
	g.restart(b.At)
	n := countsOfValues(b)
	if n.w > 0 && n.w < 1 && g.baseN > 0 {
		g.bet(n.w, b)
		g.open.count(&g.clump, g.logR)
		g.prove(n, b)
	}
	g.settle()
	g.guard.addBins(b)
	g.clump.add(0, b.Canary.Bins, int64(n.nc))
	g.clump.add(1, b.Stable.Bins, int64(n.ns))
	g.canary.add(b.Canary.Bins)
	for _, c := range b.Stable.Bins { // both in one go, what they are for apart
		g.stable[c.Bin] += c.Count
		g.fresh[c.Bin] += c.Count
	}
	g.freshN += int64(n.ns)
	if g.refresh(b.At) {
		g.build()
		g.clump.level(&g.base)
	}
}

// bet adds every component's log factor for each value to the open second.
func (g *histogram) bet(w float64, b *Batch) {
	if b.Share == 0 {
		g.normalise(w, b)
	} else if g.share != w {
		g.normaliseAll(w)
	}
	var canary, norm oddsRow
	canary.add(g.served, b.Canary.Bins, g.tolerate)
	norm.add(g.norm, b.Stable.Bins, 0)
	for k, x := range canary {
		g.open.gain[k] += x - norm[k]
	}
}

// normaliseAll fills the table of the routing mode.
func (g *histogram) normaliseAll(w float64) {
	g.fill(g.norm, func(odds float64) float64 { return math.Log1p(w * (odds - 1)) })
	for i := range g.served {
		for k, x := range g.logOdds[i] {
			g.served[i][k] = x - g.norm[i][k]
		}
	}
	g.share = w
}

// normalise fills the table for the bins of one batch of the counts mode.
func (g *histogram) normalise(w float64, b *Batch) {
	fill := func(bin int) {
		row := &g.norm[bin]
		for k := range row {
			row[k] = math.Log1p(w * (g.odds[k][bin] - 1))
			g.served[bin][k] = g.logOdds[bin][k] - row[k]
		}
	}
	for _, c := range b.Canary.Bins {
		fill(max(0, int(c.Bin)-g.tolerate))
	}
	for _, c := range b.Stable.Bins {
		fill(int(c.Bin))
	}
	g.share = 0 // the table holds no share
}

// add adds the rows of the values' bins, each moved down by so many; written out,
// since it is what an update spends most on.
func (o *oddsRow) add(rows []oddsRow, bins []BinCount, down int) {
	a0, a1, a2, a3, a4, a5 := o[0], o[1], o[2], o[3], o[4], o[5]
	a6, a7, a8, a9, a10, a11 := o[6], o[7], o[8], o[9], o[10], o[11]
	for i := range bins {
		x, n := &rows[max(0, int(bins[i].Bin)-down)], float64(bins[i].Count)
		a0 += n * x[0]
		a1 += n * x[1]
		a2 += n * x[2]
		a3 += n * x[3]
		a4 += n * x[4]
		a5 += n * x[5]
		a6 += n * x[6]
		a7 += n * x[7]
		a8 += n * x[8]
		a9 += n * x[9]
		a10 += n * x[10]
		a11 += n * x[11]
	}
	*o = oddsRow{a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11}
}

// Every component is added.
var _ = [1]struct{}{}[len(shapes)-12]

// prove bets that the canary's quantile is within the margin of stable's.
func (g *histogram) prove(n counts, b *Batch) {
	n.es = above(b.Stable.Bins, g.at)
	for i := range g.margins {
		n.ec = above(b.Canary.Bins, g.at+g.shifts[i])
		g.margins[i].bet(g.above, n)
		g.margins[i].open.count(&g.clump, g.margins[i].logE[:])
		if g.margins[i].log() >= g.bar {
			g.proven[i] = true
		}
	}
}

// betters are how many times rarer than stable's the canary's values above
// its own, looser threshold may be.
var betters = [5]float64{0.3, 0.5, 0.7, 0.85, 0.93}

// quantileProof bets against "the canary's values lie above (1+margin) t at
// least as often as stable's above t". What it earns in a second counts as far
// as clumps let: a stall of stable's alone is one event that speaks for the canary.
type quantileProof struct {
	logE [len(betters)]float64
	open earned
	// the log factors of one value, for the share and rate last seen: the
	// canary's above and below, stable's above and below
	w, above float64
	each     [len(betters)][4]float64
}

func (p *quantileProof) bet(above float64, n counts) {
	if n.w != p.w || above != p.above {
		p.set(above, n.w)
	}
	for k := range p.each {
		f := &p.each[k]
		p.open.gain[k] += n.ec*f[0] + (n.nc-n.ec)*f[1] + n.es*f[2] + (n.ns-n.es)*f[3]
	}
}

func (p *quantileProof) set(above, w float64) {
	p.w, p.above = w, above
	for k, a := range betters {
		p.each[k] = [4]float64{
			labelFactor(a*above, above, counts{w: w, nc: 1, ec: 1}), labelFactor(a*above, above, counts{w: w, nc: 1}),
			labelFactor(a*above, above, counts{w: w, ns: 1, es: 1}), labelFactor(a*above, above, counts{w: w, ns: 1}),
		}
	}
}

func (p *quantileProof) log() float64 { return logSumExp(p.logE[:]) - logBetters }

var logBetters = math.Log(float64(len(betters)))
