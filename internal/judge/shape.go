package judge

import "math"

// shape is one way in which a distribution can get worse: a part of the values
// is scaled by a factor.
type shape struct {
	factor, part  float64
	prior, period float64
}

// shapes are the components of latency and amounts that look at whole
// distributions; those of one factor stand together.
var shapes = [...]shape{
	{factor: 1.04, part: 1, prior: 1.5, period: 60}, {factor: 1.12, part: 1, prior: 1.5, period: 60},
	{factor: 1.35, part: 1, prior: 1.5, period: 20}, {factor: 2, part: 1, prior: 1.5, period: 5},
	{factor: 5, part: 1, prior: 1.5, period: 5},
	{factor: 5, part: 0.01, prior: 1, period: 60}, {factor: 5, part: 0.06, prior: 1, period: 20},
	{factor: 5, part: 0.3, prior: 1, period: 5},
}

// oddsRow is a number for each shape.
type oddsRow [len(shapes)]float64

// oddsFloor and oddsCeiling bound what one value can say.
const (
	oddsFloor   = 0.02
	oddsCeiling = 200.0
)

// density is stable's distribution over bins, smoothed: every bin takes the
// mean over the smallest window that holds enough values, so that windows are
// wide in the tails, and a broad share keeps every bin possible.
func density(t *tally, p *[scaleBins]float64) {
	var sum [scaleBins + 1]float64
	for i, c := range t {
		sum[i+1] = sum[i] + float64(c)
	}
	n := sum[scaleBins]
	const enough, widest = 50.0, 40
	need := min(enough, n/8+1)
	total := 0.0
	for i, h := 0, 0; i < scaleBins; i++ {
		h = max(0, h-1) // the window within the last one's is too small here too
		lo, hi := max(0, i-h), min(scaleBins, i+h+1)
		for sum[hi]-sum[lo] < need && h < widest {
			h++
			lo, hi = max(0, i-h), min(scaleBins, i+h+1)
		}
		p[i] = (sum[hi] - sum[lo]) / float64(hi-lo)
		total += p[i]
	}
	mid := t.quantileBin(0.5)
	broad := min(0.1, 1/(n+1))
	norm := 0.0
	for i := range p {
		norm += broadShape(i - mid)
	}
	for i := range p {
		p[i] = (1-broad)*p[i]/total + broad*broadShape(i-mid)/norm
	}
}

func broadShape(d int) float64 { return broadShapes[max(d, -d)] }

var broadShapes = func() (out [scaleBins]float64) {
	for d := range out {
		out[d] = math.Exp(-float64(d) / 80)
	}
	return out
}()

// scaledOdds fills r with how many times likelier each bin is when all values
// are shifted, made nondecreasing (pool adjacent violators, weighted by p), so
// that worse values never speak for the canary.
func scaledOdds(p *[scaleBins]float64, shift float64, r *[scaleBins]float64) {
	whole := int(math.Floor(-shift))
	frac := -shift - float64(whole)
	at := func(j int) float64 { return p[max(0, min(scaleBins-1, j))] }
	below := at(whole)
	for i := range r {
		above := at(i + whole + 1)
		r[i] = ((1-frac)*below + frac*above) / p[i]
		below = above
	}
	poolViolators(p, r)
}

// partOdds fills r with the odds of a part of the values being scaled: the fit of
// scaledOdds is a weighted mean of neighbours, so that of a part follows from it.
func partOdds(scaled *[scaleBins]float64, part float64, r *[scaleBins]float64) {
	for i, x := range scaled {
		r[i] = max(oddsFloor, min(oddsCeiling, 1-part+part*x))
	}
}

// poolViolators replaces r by its weighted isotonic fit.
func poolViolators(p, r *[scaleBins]float64) {
	type group struct {
		sum, weight float64
		end         int
	}
	var groups [scaleBins]group
	top := 0
	for i := range r {
		g := group{r[i] * p[i], p[i], i + 1}
		for top > 0 && groups[top-1].sum*g.weight > g.sum*groups[top-1].weight { // means compared without a division
			top--
			g.sum, g.weight = g.sum+groups[top].sum, g.weight+groups[top].weight
		}
		groups[top] = g
		top++
	}
	i := 0
	for _, g := range groups[:top] {
		mean := g.sum / g.weight
		for ; i < g.end; i++ {
			r[i] = mean
		}
	}
}
