package judge

import (
	"math"
	"slices"
)

// mean is the test that the canary's mean of a positive amount is no higher: a bet
// on every value by how far it is from stable's mean. Values are cut at the largest
// one that there can be or, where that is not known, at stable's p99.9 and leastCut
// of its means, whichever is more.
type mean struct {
	bets
	learned
	kind           Kind
	tolerate       float64
	most           float64 // no value is larger; 0: not known
	cut, mid       float64 // where values are cut and stable's mean below it, from the past
	margins        []float64
	proofs         []stakeRow
	proven         []bool
	bar            float64
	canary, stable tally
	share          float64

	// The intervals are about the mean cut at top, which stays; before are the
	// values of stable that it was chosen by.
	top    float64
	before tally

	rows meanRows
}

// meanRows are the log factors of a value, by its bin, as they were needed first
// for a share and for what was learnt of stable: a logarithm costs more than all
// else. The canary's are those of the evidence and of each proof, stable's of the
// evidence and of the proofs.
type meanRows struct {
	w, cut, mid    float64
	era            uint32 // of w, cut and mid
	known          [2][scaleBins]uint32
	canary, stable [][]stakeRow
}

// stakeRow is a number for each stake.
type stakeRow [len(meanStakes)]float64

// add adds the rows of the values' bins; written out, since it is what an update
// spends most on.
func (s *stakeRow) add(rows []stakeRow, bins []BinCount) {
	s0, s1, s2, s3, s4 := s[0], s[1], s[2], s[3], s[4]
	for i := range bins {
		x, n := &rows[bins[i].Bin], float64(bins[i].Count)
		s0 += n * x[0]
		s1 += n * x[1]
		s2 += n * x[2]
		s3 += n * x[3]
		s4 += n * x[4]
	}
	*s = stakeRow{s0, s1, s2, s3, s4}
}

// Every stake is added.
var _ = [1]struct{}{}[len(meanStakes)-5]

// leastCut is how many means of stable the cut is at least: where its values are
// all about alike, one that is far above each of them would else be cut to it.
const leastCut = 4

// meanBelow is the mean of values cut at top.
func (t *tally) meanBelow(k Kind, top float64) float64 {
	sum := 0.0
	for i, n := range t {
		if n > 0 {
			sum += float64(n) * min(top, BinValue(k, int32(i)))
		}
	}
	return sum / float64(t.total())
}

// meanStakes are parts of the largest possible stake.
var (
	meanStakes = [5]float64{0.05, 0.15, 0.4, 0.7, 0.9}
	meanPeriod = []float64{60, 60, 60, 20, 5}
)

func newMean(m Metric, p Policy, h History) *mean {
	g := &mean{
		bets: newBets([]float64{1, 1, 1, 1, 1}, meanPeriod, startShare, p.Horizon), kind: m.Kind,
		tolerate: max(1, m.Tolerate), most: m.Most, proven: make([]bool, len(p.Looseness)), bar: math.Log(1 / p.AlphaPromote),
	}
	if m.Ratio > 0 {
		for _, l := range p.Looseness {
			g.margins = append(g.margins, 1+(m.Ratio-1)*l)
			g.proofs = append(g.proofs, stakeRow{})
		}
	}
	g.learn(h.Bins, binsTotal(h.Bins))
	if g.refresh(0) {
		g.build()
	}
	for range 1 + len(g.margins) {
		g.rows.canary = append(g.rows.canary, make([]stakeRow, scaleBins))
	}
	for range min(2, 1+len(g.margins)) {
		g.rows.stable = append(g.rows.stable, make([]stakeRow, scaleBins))
	}
	g.settle()
	return g
}

func (g *mean) build() {
	g.cut = g.most
	if g.most == 0 {
		g.cut = BinValue(g.kind, int32(g.base.quantileBin(0.999)))
		g.cut = max(g.cut, leastCut*g.base.meanBelow(g.kind, g.cut))
	}
	g.mid = g.base.meanBelow(g.kind, g.cut)
	if g.top == 0 {
		g.top, g.before = g.cut, g.stable
	}
}

func (g *mean) check(*Batch) error { return nil }

func (g *mean) update(b *Batch) {
	g.restart(b.At)
	n := countsOfValues(b)
	if w := n.w; w > 0 && w < 1 && g.baseN > 0 {
		g.bet(w, b)
	}
	g.share = max(g.share, b.Share)
	g.settle()
	g.canary.add(b.Canary.Bins)
	g.stable.add(b.Stable.Bins)
	g.learn(b.Stable.Bins, int64(n.ns))
	if g.refresh(b.At) {
		g.build()
	}
}

// bet multiplies by 1 + stake (A-w) y for every value, y its distance from
// stable's mean in units of the cut.
func (g *mean) bet(w float64, b *Batch) {
	if r := &g.rows; r.era == 0 || r.w != w || r.cut != g.cut || r.mid != g.mid {
		r.w, r.cut, r.mid = w, g.cut, g.mid
		r.era++
	}
	g.know(b)
	all := (*stakeRow)(g.logR)
	all.add(g.rows.canary[0], b.Canary.Bins)
	all.add(g.rows.stable[0], b.Stable.Bins)
	if len(g.margins) == 0 {
		return
	}
	var stable stakeRow // what a proof earns by stable does not know its margin
	stable.add(g.rows.stable[1], b.Stable.Bins)
	for i := range g.proofs {
		p := &g.proofs[i]
		p.add(g.rows.canary[1+i], b.Canary.Bins)
		for k, x := range stable {
			p[k] += x
		}
		if !g.proven[i] && slices.Max(p[:]) >= g.bar { // a mixture is no more than its best part
			g.proven[i] = g.log(i) >= g.bar
		}
	}
}

// know computes the rows of a batch's bins that are not known yet.
func (g *mean) know(b *Batch) {
	r := &g.rows
	for _, c := range b.Canary.Bins {
		if r.known[0][c.Bin] != r.era {
			r.known[0][c.Bin] = r.era
			g.canaryRows(c.Bin)
		}
	}
	for _, c := range b.Stable.Bins {
		if r.known[1][c.Bin] != r.era {
			r.known[1][c.Bin] = r.era
			g.stableRows(c.Bin)
		}
	}
}

// canaryRows are the log factors of one value of the canary.
func (g *mean) canaryRows(bin int32) {
	x, w := BinValue(g.kind, bin), g.rows.w
	top := (1 - w) / max(w, 1-w)
	y := (min(x/g.tolerate, g.cut) - g.mid) / g.cut
	for k, f := range meanStakes {
		g.rows.canary[0][bin][k] = math.Log1p(f * top * y)
	}
	for i, rho := range g.margins {
		y := (min(x/rho, g.cut) - g.mid) / g.cut
		for k, f := range meanStakes {
			g.rows.canary[1+i][bin][k] = math.Log1p(-f * top * y)
		}
	}
}

// stableRows are those of one value of stable.
func (g *mean) stableRows(bin int32) {
	w := g.rows.w
	top := w / max(w, 1-w)
	y := (min(BinValue(g.kind, bin), g.cut) - g.mid) / g.cut
	for i, sign := range []float64{-1, 1}[:len(g.rows.stable)] {
		for k, f := range meanStakes {
			g.rows.stable[i][bin][k] = math.Log1p(sign * f * top * y)
		}
	}
}

func (g *mean) log(i int) float64 {
	return logSumExp(g.proofs[i][:]) - math.Log(float64(len(meanStakes)))
}

func (g *mean) evidence() float64 { return g.logM }

func (g *mean) proof(looseness int) (float64, bool) {
	if len(g.margins) == 0 {
		return 0, false
	}
	return g.log(looseness), g.proven[looseness]
}

func (g *mean) sides() (int64, int64) { return g.canary.total(), g.stable.total() }

func (g *mean) report(m Metric, looseness int, r *MetricReport) {
	r.Unit = m.unit()
	r.Canary, r.Stable = g.side(&g.canary), g.side(&g.stable)
	if r.Canary.N == 0 || r.Stable.N == 0 || g.top == 0 {
		return
	}
	r.Cut = finite(g.top)
	var none tally
	lc, hc := boundedMean(g.kind, &g.canary, &none, g.top, IntervalAlpha/2)
	ls, hs := boundedMean(g.kind, &g.stable, &g.before, g.top, IntervalAlpha/2)
	for _, s := range []struct {
		side      *SideReport
		low, high float64
	}{{&r.Canary, lc, hc}, {&r.Stable, ls, hs}} {
		s.side.Low, s.side.High = finite(s.low), finite(s.high)
	}
	c, s := *r.Canary.Value, *r.Stable.Value
	r.Ratio = &Interval{Value: finite(c / s), Low: finite(lc / hs), High: finite(hc / ls)}
	r.Diff = &Interval{Value: finite(c - s), Low: finite(lc - hs), High: finite(hc - ls)}
	if len(g.margins) > 0 {
		n := float64(r.Canary.N + r.Stable.N)
		r.MoreRequests = moreCanary(g.bar-g.log(looseness), slices.Max(g.proofs[looseness][:])/n, g.canaryShare())
	}
}

// side is one version's mean, cut at top where that is known.
func (g *mean) side(t *tally) SideReport {
	s := SideReport{N: t.total()}
	if s.N == 0 {
		return s
	}
	s.Mean = finite(t.mean(g.kind))
	s.Value = s.Mean
	if g.top > 0 {
		s.Value = finite(t.meanBelow(g.kind, g.top))
	}
	return s
}

// canaryShare is the share to forecast with.
func (g *mean) canaryShare() float64 { return shareOr(g.share, g) }

func (g *mean) save(out []byte) []byte {
	out = g.learned.save(g.bets.save(out))
	for i := range g.margins {
		out = appendBool(appendFloats(out, g.proofs[i][:]), g.proven[i])
	}
	out = appendFloats(g.stable.save(g.canary.save(out)), []float64{g.share, g.top})
	return g.before.save(out)
}

func (g *mean) load(d *decoder) {
	g.bets.load(d)
	g.learned.load(d)
	for i := range g.margins {
		d.floats(g.proofs[i][:])
		g.proven[i] = d.bool()
	}
	g.canary.load(d)
	g.stable.load(d)
	g.share, g.top = d.float(), d.float()
	g.before.load(d)
	if g.baseN > 0 {
		g.build()
	}
}
