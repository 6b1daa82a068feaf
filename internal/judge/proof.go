package judge

import (
	"math"
	"slices"
)

// proof is the evidence that a proportion is within one margin: the ratio to
// stable's, the difference, or the looser of the two (the average of the two
// e-values: the null of the looser one lies in both).
type proof struct {
	rho, delta float64 // 0: none
	ratio      ratioProof
	diff       diffProof
	log        float64
}

func newProof(m Metric, looseness float64) proof {
	p, rho, delta := proof{}, m.Ratio, m.Difference
	if rho > 0 {
		p.rho = 1 + (rho-1)*looseness
		p.ratio = newRatioProof(p.rho, [4]float64{0.5, 0.8, 1, 1 + 0.4*(rho-1)})
		if m.Harm == Fewer {
			p.ratio = newRatioProof(1/p.rho, [4]float64{2, 1.25, 1, 1 - 0.4*(1-1/rho)})
		}
	}
	if delta > 0 {
		p.delta = min(delta*looseness, 1)
	}
	p.settle()
	return p
}

// settle recomputes the log e-value after its parts moved.
func (p *proof) settle() {
	switch {
	case p.rho > 0 && p.delta > 0:
		p.log = logAdd(p.ratio.log(), p.diff.log()) - math.Ln2
	case p.rho > 0:
		p.log = p.ratio.log()
	case p.delta > 0:
		p.log = p.diff.log()
	}
}

// ratioProof bets on bad units only that their odds of being the canary's are
// alt times a request's, against rho times.
type ratioProof struct {
	rho  float64
	alts [4]float64
	logE [4]float64
	odds [4]float64 // log alt/rho
	// what a bad unit of either version costs, for the share last seen
	w    float64
	cost [4]float64
}

func newRatioProof(rho float64, alts [4]float64) ratioProof {
	p := ratioProof{rho: rho, alts: alts}
	for i, a := range alts {
		p.odds[i] = math.Log(a / rho)
	}
	return p
}

func (p *ratioProof) bet(n counts) {
	if n.ec+n.es == 0 {
		return
	}
	if n.w != p.w {
		p.w = n.w
		null := math.Log1p(n.w * (p.rho - 1))
		for i, a := range p.alts {
			p.cost[i] = math.Log1p(n.w*(a-1)) - null
		}
	}
	for i := range p.logE {
		p.logE[i] += n.ec*p.odds[i] - (n.ec+n.es)*p.cost[i]
	}
}

func (p *ratioProof) log() float64 { return logSumExp(p.logE[:]) - 2*math.Ln2 } // log of four

// Stakes of the difference proof as parts of the largest possible one, and
// their prior.
var (
	stakes     = [7]float64{0.98, 0.7, 0.4, 0.2, 0.08, 0.03, 0.01}
	stakePrior = [7]float64{2, 1.5, 1, 1, 0.7, 0.5, 0.3}
)

// diffProof bets against "the canary's rate is at least stable's plus delta".
type diffProof struct {
	logE [7]float64
	// the factors of one unit for the share and margin last seen
	w, delta     float64
	good, ec, es [7]float64
}

func (p *diffProof) bet(delta float64, n counts) {
	if n.w != p.w || delta != p.delta {
		p.set(delta, n.w)
	}
	good := n.nc - n.ec + n.ns - n.es
	for k := range p.logE {
		p.logE[k] += n.ec*p.ec[k] + n.es*p.es[k] + good*p.good[k]
	}
}

func (p *diffProof) set(delta, w float64) {
	p.w, p.delta = w, delta
	for k, f := range stakes {
		p.ec[k], p.es[k], p.good[k] = stakeFactors(f, delta, w)
	}
}

// stakeFactors are the log factors of a bad unit of the canary, a bad one of
// stable's and a good one, for the part f of the largest stake.
func stakeFactors(f, delta, w float64) (canary, stable, good float64) {
	lam := f / (1/w - delta)
	return math.Log1p(lam * (delta - 1/w)), math.Log1p(lam * (delta + 1/(1-w))), math.Log1p(lam * delta)
}

func (p *diffProof) log() float64 {
	var xs [7]float64
	for k, q := range stakeLogs {
		xs[k] = p.logE[k] + q
	}
	return logSumExp(xs[:])
}

// stakeLogs are the log shares of the stakes in the mixture.
var stakeLogs = func() (logs [7]float64) {
	total := 0.0
	for _, q := range stakePrior {
		total += q
	}
	for k, q := range stakePrior {
		logs[k] = math.Log(q / total)
	}
	return logs
}()

// parts are what the components of a proof have earned.
type parts struct {
	ratio [4]float64
	diff  [7]float64
}

// from sets the proof to what its components earned before, and n on top.
func (p *proof) from(before *parts, n counts) {
	p.ratio.logE, p.diff.logE = before.ratio, before.diff
	if p.rho > 0 {
		p.ratio.bet(n)
	}
	if p.delta > 0 {
		p.diff.bet(p.delta, n)
	}
}

func (p *proof) parts() parts { return parts{p.ratio.logE, p.diff.logE} }

// proofs are the proofs of one metric, one for each looseness of its margin.
type proofs struct {
	each   []proof
	proven []bool // once proven, always proven: Ville's inequality holds at every look
	bar    float64
	// What was earned beside the open row of the ledger: in batches that have no
	// row (loose), and in all, by looseness.
	loose   looseParts
	rest    []parts
	isLoose bool  // there were such batches
	open    []int // the row that rest leaves out, by looseness; -1: not known
	row     int   // of the last batch; another one may have grown before
}

func newProofs(m Metric, p Policy) proofs {
	n := len(p.Looseness)
	out := proofs{bar: math.Log(1 / p.AlphaPromote), proven: make([]bool, n), rest: make([]parts, n), open: make([]int, n), row: -1}
	out.forget()
	for _, l := range p.Looseness {
		out.each = append(out.each, newProof(m, l))
	}
	out.loose = newLooseParts(out.each)
	return out
}

// bet takes a batch into account that was booked in the ledger, or has no row.
func (p *proofs) bet(n counts, l *ledger, booked bool) {
	if n.w <= 0 || n.w >= 1 {
		return
	}
	if n.ec+n.es == 0 && !p.heedsGood() && p.row == l.open {
		return
	}
	if !booked {
		p.loose.bet(p.each, n)
		p.isLoose = true
		p.forget()
	}
	p.settle(l)
}

// forget is for when what was earned beside the open row is another sum.
func (p *proofs) forget() {
	for i := range p.open {
		p.open[i] = -1
	}
}

// heedsGood reports whether good units move a proof: they do where a difference
// is proven.
func (p *proofs) heedsGood() bool { return len(p.each) > 0 && p.each[0].delta > 0 }

// settle takes note of what is proven by the ledger and what has no row.
func (p *proofs) settle(l *ledger) {
	if p.row != l.open {
		p.row = l.open
		p.forget()
	}
	for i := range p.each {
		if !p.proven[i] && p.count(i, l).most() >= p.bar {
			p.proven[i] = p.logOf(i, l) >= p.bar
		}
	}
}

// count brings what the components of one looseness have earned up to date.
func (p *proofs) count(looseness int, l *ledger) *proof {
	if p.open[looseness] != l.open {
		p.restOf(looseness, l)
	}
	e := &p.each[looseness]
	if len(l.rows) > 0 {
		e.from(&p.rest[looseness], l.rows[l.open])
	} else {
		e.ratio.logE, e.diff.logE = p.rest[looseness].ratio, p.rest[looseness].diff
	}
	return e
}

// logOf is the evidence for one looseness.
func (p *proofs) logOf(looseness int, l *ledger) float64 {
	e := p.count(looseness, l)
	e.settle()
	return e.log
}

// most is a bound of the evidence, as a mixture is no more than its best part.
func (p *proof) most() float64 {
	most := math.Inf(-1)
	if p.rho > 0 {
		most = slices.Max(p.ratio.logE[:])
	}
	if p.delta > 0 {
		most = max(most, slices.Max(p.diff.logE[:]))
	}
	return most
}

// restOf sums what was earned beside the open row.
func (p *proofs) restOf(i int, l *ledger) {
	p.open[i] = l.open
	p.rest[i] = p.loose.parts(i, &p.each[i])
	for k, row := range l.rows {
		if k != l.open {
			p.each[i].from(&p.rest[i], row)
			p.rest[i] = p.each[i].parts()
		}
	}
}

// roundDown sets every number to the next lower one of single precision.
func roundDown(xs []float64) {
	for i, x := range xs {
		f := float32(x)
		if float64(f) > x {
			f = math.Nextafter32(f, float32(math.Inf(-1)))
		}
		xs[i] = float64(f)
	}
}
