package judge

import (
	"math"
	"slices"
)

// histogram is the e-process of a positive amount: stable's own distribution,
// scaled, is the bet. odds[k][bin] are the odds by shape k that a value in the bin
// is the canary's.
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
	exceed  [len(excesses)]exceedance
	at      int     // bin of the margin's quantile
	above   float64 // stable's share above it
}

func newHistogram(m Metric, p Policy, h History) *histogram {
	var prior, period []float64
	for _, s := range shapes {
		prior, period = append(prior, s.prior), append(period, s.period)
	}
	for _, e := range excesses {
		prior, period = append(prior, e.prior), append(period, e.period)
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
	g.clump, g.open = newClumps(), newEarned(len(prior))
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
	var scaled [scaleBins]float64
	for k, s := range shapes {
		if k == 0 || s.factor != shapes[k-1].factor {
			scaledOdds(&p, binShift(g.kind, s.factor), &scaled)
		}
		r := &g.odds[k]
		partOdds(&scaled, s.part, r)
		if len(g.bounds) > 0 {
			averageBuckets(g.kind, g.bounds, &p, r)
		}
	}
	g.tabulate(g.share)
	for k := range g.exceed {
		g.exceed[k].set(&g.learned, excesses[k])
	}
	g.at = g.base.quantileBin(g.quantile)
	g.above = g.baseAbove(g.at)
}

// tabulate fills the tables of the routing mode for a share, or with 0 those that
// know none; most neighbours were pooled.
func (g *histogram) tabulate(w float64) {
	var was, odds, norm, served oddsRow
	for i := range g.logOdds {
		for k := range was {
			if r := g.odds[k][i]; i == 0 || r != was[k] {
				was[k], odds[k], norm[k] = r, math.Log(r), math.Log1p(w*(r-1))
				served[k] = odds[k] - norm[k]
			}
		}
		g.logOdds[i], g.norm[i], g.served[i] = odds, norm, served
	}
	g.share = w
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
		g.bet(n, b)
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
func (g *histogram) bet(n counts, b *Batch) {
	if b.Share == 0 {
		g.normalise(n.w, b)
	} else if g.share != n.w {
		g.tabulate(n.w)
	}
	var canary, norm oddsRow
	canary.add(g.served, b.Canary.Bins, g.tolerate)
	norm.add(g.norm, b.Stable.Bins, 0)
	for k, x := range canary {
		g.open.gain[k] += x - norm[k]
	}
	for k := range g.exceed {
		g.open.gain[len(shapes)+k] += g.exceed[k].gain(b, n, g.tolerate)
	}
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
	a6, a7 := o[6], o[7]
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
	}
	*o = oddsRow{a0, a1, a2, a3, a4, a5, a6, a7}
}

// Every shape is added.
var _ = [1]struct{}{}[len(shapes)-8]

// prove bets that the canary's quantile is within the margin of stable's.
func (g *histogram) prove(n counts, b *Batch) {
	n.es = above(b.Stable.Bins, g.at)
	for i := range g.margins {
		n.ec = above(b.Canary.Bins, g.at+g.shifts[i])
		g.margins[i].bet(g.above, n)
		g.margins[i].open.count(&g.clump, g.margins[i].logE[:])
		if !g.proven[i] && slices.Max(g.margins[i].logE[:]) >= g.bar { // a mixture is no more than its best part
			g.proven[i] = g.margins[i].log() >= g.bar
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
