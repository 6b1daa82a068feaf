package judge

import "math"

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
		p.ratio = newRatioProof(p.rho, [4]float64{0.5, 0.8, 1, 1 + 0.4*(p.rho-1)})
		if m.Harm == Fewer {
			p.ratio = newRatioProof(1/p.rho, [4]float64{2, 1.25, 1, 1 - 0.4*(1-1/p.rho)})
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
	total := 0.0
	for k, q := range stakePrior {
		xs[k] = p.logE[k] + math.Log(q)
		total += q
	}
	return logSumExp(xs[:]) - math.Log(total)
}

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
	// What was earned beside the open row of the ledger, by looseness: in batches
	// that have no row (loose), and in all.
	loose, rest []parts
	isLoose     bool // there were such batches
	open        int  // the row that rest leaves out; -1: not known
}

func newProofs(m Metric, p Policy) proofs {
	n := len(p.Looseness)
	out := proofs{bar: math.Log(1 / p.AlphaPromote), proven: make([]bool, n), loose: make([]parts, n), rest: make([]parts, n), open: -1}
	for _, l := range p.Looseness {
		out.each = append(out.each, newProof(m, l))
	}
	return out
}

// bet takes a batch into account that was booked in the ledger, or has no row.
func (p *proofs) bet(n counts, l *ledger, booked bool) {
	if n.w <= 0 || n.w >= 1 {
		return
	}
	if n.ec+n.es == 0 && !p.heedsGood() && p.open == l.open {
		return
	}
	if !booked {
		for i := range p.each {
			p.each[i].from(&p.loose[i], n)
			p.loose[i] = p.each[i].parts()
			p.loose[i].roundDown()
		}
		p.isLoose, p.open = true, -1
	}
	p.settle(l)
}

// heedsGood reports whether good units move a proof: they do where a difference
// is proven.
func (p *proofs) heedsGood() bool { return len(p.each) > 0 && p.each[0].delta > 0 }

// settle recomputes the proofs from the ledger and what has no row.
func (p *proofs) settle(l *ledger) {
	if p.open < 0 || p.open != l.open {
		p.restOf(l)
	}
	for i := range p.each {
		if len(l.rows) > 0 {
			p.each[i].from(&p.rest[i], l.rows[l.open])
		} else {
			p.each[i].ratio.logE, p.each[i].diff.logE = p.rest[i].ratio, p.rest[i].diff
		}
		p.each[i].settle()
		if p.each[i].log >= p.bar {
			p.proven[i] = true
		}
	}
}

// restOf sums what was earned beside the open row.
func (p *proofs) restOf(l *ledger) {
	p.open = l.open
	copy(p.rest, p.loose)
	for i := range p.each {
		for k, row := range l.rows {
			if k != l.open {
				p.each[i].from(&p.rest[i], row)
				p.rest[i] = p.each[i].parts()
			}
		}
	}
}

// roundDown keeps the parts in single precision: the next lower number, so that
// an e-value stays one.
func (p *parts) roundDown() {
	roundDown(p.ratio[:])
	roundDown(p.diff[:])
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
