package judge

import "math"

// looseParts is what proofs have earned in batches that have no row in the ledger,
// as those of the counts mode, in numbers that all loosenesses of a margin share.
//
// A ratio proof is a difference of two sums, log E = S(a) - S(rho) with S(r) =
// sum of e_c log(r) - (e_c+e_s) log(1+w(r-1)), of which only the second knows
// the margin. A difference proof with the stake lam = f w/(1 - f w d) has the factors
// (1 + lam d)(1 + f w x) for x = -1/w, 1/(1-w) and 0, of which only the first
// knows the margin d: 1 + lam d = 1/(1 - f w d), and of that a lower bound by Jensen's
// inequality is kept, from the number of units and of those that the canary was
// to get.
//
// Everything is in single precision and rounded down, so that an e-value stays one.
type looseParts struct {
	altLogs  [3]float64 // logs of the alternatives
	nullLogs []float64  // logs of rho, by looseness
	alts     [3]float64 // S of the alternatives; that of 1 is 0
	nulls    []float64  // -S(rho), by looseness
	stakes   [len(stakes)]float64
	n, drawn float64 // units; of them the canary's by the share
}

// stakeLosses are what a bad unit of the canary costs.
var stakeLosses = func() (logs [len(stakes)]float64) {
	for k, f := range stakes {
		logs[k] = math.Log1p(-f)
	}
	return logs
}()

// looseAlts are the alternatives of a ratio proof but 1.
func looseAlts(p *ratioProof) [3]float64 { return [3]float64{p.alts[0], p.alts[1], p.alts[3]} }

func newLooseParts(each []proof) looseParts {
	e := looseParts{nulls: make([]float64, len(each)), nullLogs: make([]float64, len(each))}
	if len(each) == 0 || each[0].rho == 0 {
		return e
	}
	for i, a := range looseAlts(&each[0].ratio) {
		e.altLogs[i] = math.Log(a)
	}
	for i := range each {
		e.nullLogs[i] = math.Log(each[i].ratio.rho)
	}
	return e
}

// bet takes a batch in.
func (e *looseParts) bet(each []proof, n counts) {
	if len(each) > 0 && each[0].rho > 0 && n.ec+n.es > 0 {
		for i, a := range looseAlts(&each[0].ratio) {
			e.alts[i] += n.ec*e.altLogs[i] - (n.ec+n.es)*math.Log1p(n.w*(a-1))
		}
		for i := range each {
			e.nulls[i] -= n.ec*e.nullLogs[i] - (n.ec+n.es)*math.Log1p(n.w*(each[i].ratio.rho-1))
		}
		roundDown(e.alts[:])
		roundDown(e.nulls)
	}
	if len(each) > 0 && each[0].delta > 0 {
		if n.ec+n.es > 0 {
			for k, f := range stakes {
				e.stakes[k] += n.ec*stakeLosses[k] + n.es*math.Log1p(f*n.w/(1-n.w))
			}
			roundDown(e.stakes[:])
		}
		e.n += n.nc + n.ns
		e.drawn += math.Floor(n.w*(n.nc+n.ns) + 1e-6)
	}
}

// parts are those of the proof of one looseness.
func (e *looseParts) parts(looseness int, p *proof) (out parts) {
	if p.rho > 0 {
		null := e.nulls[looseness]
		out.ratio = [4]float64{e.alts[0] + null, e.alts[1] + null, null, e.alts[2] + null}
	}
	if p.delta > 0 && e.n > 0 {
		for k, f := range stakes {
			out.diff[k] = e.stakes[k] - e.n*math.Log1p(-f*e.drawn/e.n*p.delta)
		}
	}
	return out
}
