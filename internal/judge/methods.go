package judge

import (
	"errors"
	"math"
	"sort"
)

// method recomputes the figures of a reference case.
type method struct {
	name string
	run  func(in inputs) ([]figure, error)
}

// methods lists every reference method.
var methods = []method{
	{"label_bet", labelBetCase}, {"label_bet_counts", labelBetCase}, {"rho_grid", rhoGridCase},
	{"beta_binomial_two_sided", func(in inputs) ([]figure, error) {
		return []figure{one("log_e", betaBinomial(in.NC, in.NC+in.NS, in.W, in.A, in.B))}, nil
	}},
	{"dirichlet_multinomial", dirichletCase},
	{"beta_one_sided", func(in inputs) ([]figure, error) {
		return []figure{one("log_e", betaOneSided(in.NC, in.NS, in.W, in.A, in.B))}, nil
	}},
	{"safe_test_2x2_plugin", safeTestCase}, {"fisher_noncentral_batch", fisherCase},
	{"proportion_judge", proportionCase}, {"interval_share_bet", shareBetCase},
	{"confidence_sequence_rate_ratio", ratioCase},
	{"normal_mixture_two_sided", normalCase(false)}, {"normal_mixture_one_sided", normalCase(true)},
	{"normal_mixture_two_sided_bound", normalBoundCase(false)}, {"normal_mixture_one_sided_bound", normalBoundCase(true)},
	{"gamma_exponential_mixture", gammaCase(gammaExponential)}, {"gamma_poisson_mixture", gammaCase(gammaPoisson)},
	{"gamma_exponential_mixture_bound", gammaBoundCase(gammaExponential)}, {"gamma_poisson_mixture_bound", gammaBoundCase(gammaPoisson)},
	{"beta_binomial_mixture_two_sided", howardBetaCase(false)}, {"beta_binomial_mixture_one_sided", howardBetaCase(true)},
	{"poly_stitching_bound", func(in inputs) ([]figure, error) {
		return []figure{one("bound", polyStitching(in.V, in.Alpha.first(), in.VMin, in.C, in.S, in.Eta))}, nil
	}},
	{"empirical_process_lil_bound", func(in inputs) ([]figure, error) {
		bound, c := empiricalBand(in.T, in.Alpha.first(), in.TMin, in.BandA)
		return []figure{one("bound", bound), one("C", c)}, nil
	}},
	{"quantile_two_arm", quantileCase}, {"noninferiority_ratio", ratioProofCase},
	{"noninferiority_difference", diffProofCase},
	{"coin_one_sided", func(in inputs) ([]figure, error) {
		return []figure{one("log_e", coinOneSided(in.Worse, in.Better, in.A, in.B))}, nil
	}},
	{"score_bet", scoreCase},
	{"msprt_normal", func(in inputs) ([]figure, error) {
		return []figure{one("log_e", normalMSPRT(in.PCanary, in.NCanary, in.PStable, in.NStable, in.Tau2))}, nil
	}},
	{"wald_limit", func(in inputs) ([]figure, error) {
		l := LimitOf(in.PS, in.PC, in.W, in.Alpha.first())
		return []figure{
			one("info_per_request", l.PerUnit), one("limit_requests", l.Units),
			one("limit_canary_requests", l.Canary), one("limit_canary_requests_stable_known", l.StableKnown),
		}, nil
	}},
	{"weighted_average_of_e", averageCase},
	{"exact_false_alarm", func(in inputs) ([]figure, error) {
		if len(in.Rho) != len(in.Prior) {
			return nil, errLengths
		}
		return []figure{one("probability", FalseAlarm(in.W, in.Rho, in.Prior, in.Alpha.first(), in.NErrors))}, nil
	}},
}

var errLengths = errors.New("lists that belong together differ in length")

// share completes a batch in counts mode; false: nothing to compare.
func (b refBatch) share() (counts, bool) {
	n := b.counts()
	if n.w == 0 {
		if n.nc == 0 || n.ns == 0 {
			return n, false
		}
		n.w = n.nc / (n.nc + n.ns)
	}
	return n, true
}

func labelBetCase(in inputs) ([]figure, error) {
	sum := 0.0
	for _, b := range in.Batches {
		if n, ok := b.share(); ok {
			sum += labelFactor(in.ThetaC, in.ThetaS, n)
		}
	}
	return []figure{one("log_e", sum)}, nil
}

func rhoGridCase(in inputs) ([]figure, error) {
	if len(in.Rho) != len(in.Prior) {
		return nil, errLengths
	}
	parts := make([]float64, len(in.Rho))
	for _, b := range in.Batches {
		for k, rho := range in.Rho {
			parts[k] += eventFactor(rho, 1, b.counts())
		}
	}
	return mixtureFigures(parts, in.Prior), nil
}

func dirichletCase(in inputs) ([]figure, error) {
	if len(in.X) != len(in.Theta0) || len(in.X) != len(in.Alpha) {
		return nil, errLengths
	}
	return []figure{one("log_e", dirichletMultinomial(in.X, in.Theta0, in.Alpha))}, nil
}

// safeTestCase is the plug-in block e-variable of Turner, Ly and Grunwald.
func safeTestCase(in inputs) ([]figure, error) {
	if len(in.YA) != len(in.YB) {
		return nil, errLengths
	}
	sum, ka, kb, n := 0.0, 0.0, 0.0, 0.0
	for i := range in.YA {
		a := (ka + in.BetaP) / (n*in.NA + 2*in.BetaP)
		b := (kb + in.BetaP) / (n*in.NB + 2*in.BetaP)
		m := (in.NA*a + in.NB*b) / (in.NA + in.NB)
		ya, yb := in.YA[i], in.YB[i]
		sum += xlogy(ya, a/m) + xlogy(in.NA-ya, (1-a)/(1-m)) + xlogy(yb, b/m) + xlogy(in.NB-yb, (1-b)/(1-m))
		ka, kb, n = ka+ya, kb+yb, n+1
	}
	return []figure{one("log_e", sum)}, nil
}

// fisherCase is the noncentral against the central hypergeometric law.
func fisherCase(in inputs) ([]figure, error) {
	sum := 0.0
	for _, b := range in.Batches {
		if b.EC+b.ES > 1e6 {
			return nil, errors.New("a batch has more than a million bad units")
		}
		sum += fisherFactor(b.counts(), in.Psi)
	}
	return []figure{one("log_e", sum)}, nil
}

func fisherFactor(n counts, psi float64) float64 {
	bad := n.ec + n.es
	var plain, tilted []float64
	for x := max(0, bad-n.ns); x <= min(bad, n.nc); x++ {
		l := logChoose(n.nc, x) + logChoose(n.ns, bad-x)
		plain = append(plain, l)
		tilted = append(tilted, l+x*math.Log(psi))
	}
	return n.ec*math.Log(psi) - logSumExp(tilted) + logSumExp(plain)
}

func logChoose(n, k float64) float64 {
	a, _ := math.Lgamma(n + 1)
	b, _ := math.Lgamma(k + 1)
	c, _ := math.Lgamma(n - k + 1)
	return a - b - c
}

func proportionCase(in inputs) ([]figure, error) {
	var alts []alternative
	for _, c := range in.Components {
		alts = append(alts, alternative{absolute: c.Kind == "abs", v: c.V, prior: c.Prior, period: c.Period})
	}
	l := newLabelBets(alts, in.HistBad, in.HistN, in.G0, in.Horizon, 1)
	var path []float64
	for t, b := range in.Batches {
		n, _ := b.share()
		l.bet(float64(t), n)
		path = append(path, l.logM)
	}
	return []figure{one("log_e", l.logM), {"log_e_path", path}, {"log_components", l.logR}, {"unspent", l.u}}, nil
}

func shareBetCase(in inputs) ([]figure, error) {
	if len(in.Rho) != len(in.Prior) {
		return nil, errLengths
	}
	parts := make([]float64, len(in.Rho))
	for _, i := range in.Intervals {
		for k, rho := range in.Rho {
			parts[k] += shareFactor(rho, 1, i.W, i.Canary, i.Total)
		}
	}
	return mixtureFigures(parts, in.Prior), nil
}

// ratioCase is the confidence sequence of a rate ratio for a constant share.
func ratioCase(in inputs) ([]figure, error) {
	bar, n := math.Log(1/in.Alpha.first()), in.NC+in.NS
	f := func(q float64) float64 { return betaBinomial(in.NC, n, q, in.A, in.B) - bar }
	low, high := 0.0, 1.0
	if in.NC > 0 {
		low = bisect(f, 0, in.NC/n)
	}
	if in.NS > 0 {
		high = bisect(f, in.NC/n, 1)
	}
	ratio := func(q float64) float64 { return q * (1 - in.W) / ((1 - q) * in.W) }
	return []figure{one("q_low", low), one("q_high", high), one("ratio_low", ratio(low)), one("ratio_high", ratio(high))}, nil
}

func (in inputs) tuned(oneSided bool) float64 {
	if oneSided {
		return bestRho(in.VOpt, 2*in.AlphaOpt)
	}
	return bestRho(in.VOpt, in.AlphaOpt)
}

func normalCase(oneSided bool) func(inputs) ([]figure, error) {
	return func(in inputs) ([]figure, error) {
		rho := in.tuned(oneSided)
		if oneSided {
			return []figure{one("log_e", normalOneSided(in.S, in.V, rho)), one("rho", rho)}, nil
		}
		return []figure{one("log_e", normalTwoSided(in.S, in.V, rho)), one("rho", rho)}, nil
	}
}

func normalBoundCase(oneSided bool) func(inputs) ([]figure, error) {
	return func(in inputs) ([]figure, error) {
		rho := in.tuned(oneSided)
		f := normalTwoSided
		if oneSided {
			f = normalOneSided
		}
		bound := boundOf(func(s float64) float64 { return f(s, in.V, rho) }, in.Alpha.first(), math.Sqrt(in.V))
		return []figure{one("bound", bound), one("rho", rho)}, nil
	}
}

type gammaMixture func(s, v, rho, c float64) float64

func gammaCase(f gammaMixture) func(inputs) ([]figure, error) {
	return func(in inputs) ([]figure, error) {
		rho := in.tuned(true)
		return []figure{one("log_e", f(in.S, in.V, rho, in.C)), one("rho", rho)}, nil
	}
}

func gammaBoundCase(f gammaMixture) func(inputs) ([]figure, error) {
	return func(in inputs) ([]figure, error) {
		rho := in.tuned(true)
		bound := boundOf(func(s float64) float64 { return f(s, in.V, rho, in.C) }, in.Alpha.first(), math.Sqrt(in.V))
		return []figure{one("bound", bound), one("rho", rho)}, nil
	}
}

func howardBetaCase(oneSided bool) func(inputs) ([]figure, error) {
	return func(in inputs) ([]figure, error) {
		r := in.tuned(oneSided) - in.G*in.H
		return []figure{one("log_e", betaBinomialMixture(in.S, in.V, in.G, in.H, r, oneSided)), one("r", r)}, nil
	}
}

func quantileCase(in inputs) ([]figure, error) {
	a, b := append([]float64(nil), in.Arm1...), append([]float64(nil), in.Arm2...)
	if len(a) == 0 || len(b) == 0 {
		return nil, errors.New("an arm has no values")
	}
	sort.Float64s(a)
	sort.Float64s(b)
	e := twoArmQuantile(in.P, in.TOpt, in.AlphaOpt, a, b)
	return []figure{one("log_e", e), one("p_value", min(1, math.Exp(-e)))}, nil
}

func ratioProofCase(in inputs) ([]figure, error) {
	if len(in.Alt) != len(in.Prior) {
		return nil, errLengths
	}
	parts := make([]float64, len(in.Alt))
	for _, b := range in.Batches {
		for k, a := range in.Alt {
			parts[k] += eventFactor(a, in.Rho0, b.counts())
		}
	}
	return mixtureFigures(parts, in.Prior), nil
}

func diffProofCase(in inputs) ([]figure, error) {
	if len(in.Stakes) != len(in.Prior) {
		return nil, errLengths
	}
	parts := make([]float64, len(in.Stakes))
	for _, b := range in.Batches {
		n := b.N
		if n == 0 {
			n = b.NC + b.NS
		}
		for k, f := range in.Stakes {
			c, s, good := stakeFactors(f, in.Delta, b.W)
			parts[k] += b.EC*c + b.ES*s + (n-b.EC-b.ES)*good
		}
	}
	return mixtureFigures(parts, in.Prior), nil
}

func scoreCase(in inputs) ([]figure, error) {
	sum := 0.0
	for _, r := range in.RCanary {
		sum += math.Log(r) - math.Log1p(in.W*(r-1))
	}
	for _, r := range in.RStable {
		sum -= math.Log1p(in.W * (r - 1))
	}
	return []figure{one("log_e", sum)}, nil
}

func averageCase(in inputs) ([]figure, error) {
	if len(in.LogE) != len(in.Weights) {
		return nil, errLengths
	}
	xs := make([]float64, len(in.LogE))
	for i, e := range in.LogE {
		xs[i] = e + math.Log(in.Weights[i])
	}
	return []figure{one("log_e", logSumExp(xs))}, nil
}
