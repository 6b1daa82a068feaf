package sim

import (
	"math"
	"slices"
	"strings"

	"github.com/haldane-project/haldane/internal/rollout"
)

func summary(ends []end, t Truth, assumed []string) Result {
	out := Result{Runs: len(ends), Truth: t, Assumed: assumed}
	var promoted, back, canary, hurt []float64
	var waits []string
	for _, e := range ends {
		switch e.outcome {
		case rollout.Promoted:
			promoted = append(promoted, e.took.Seconds())
		case rollout.RolledBack:
			back = append(back, e.took.Seconds())
		default:
			waits = append(waits, e.why)
		}
		canary, hurt = append(canary, float64(e.canary)), append(hurt, float64(e.hurt))
	}
	n := len(ends)
	out.Promoted, out.RolledBack, out.Undecided = chance(len(promoted), n), chance(len(back), n), chance(len(waits), n)
	out.Waits = commonest(waits)
	out.ToPromotion, out.ToRollback = quantiles(promoted), quantiles(back)
	out.CanaryRequests, out.Hurt = quantiles(canary), quantiles(hurt)
	return out
}

// chance is k of n with Wilson's interval at 95 %.
func chance(k, n int) Chance {
	const z = 1.959964
	p, m := float64(k)/float64(n), float64(n)
	mid := (p + z*z/(2*m)) / (1 + z*z/m)
	half := z / (1 + z*z/m) * math.Sqrt(p*(1-p)/m+z*z/(4*m*m))
	out := Chance{Count: k, Share: p, Low: max(0, mid-half), High: min(1, mid+half)}
	if k == 0 {
		out.Low = 0 // without what rounding leaves
	}
	if k == n {
		out.High = 1
	}
	return out
}

func quantiles(x []float64) Quantiles {
	if len(x) == 0 {
		return Quantiles{}
	}
	slices.Sort(x)
	at := func(q float64) float64 { return x[max(int(math.Ceil(q*float64(len(x))))-1, 0)] }
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return Quantiles{Runs: len(x), Mean: sum / float64(len(x)), P10: at(0.1), P50: at(0.5), P90: at(0.9), P99: at(0.99)}
}

// commonest is the reason that most have, its numbers left out of the comparison.
func commonest(reasons []string) string {
	if len(reasons) == 0 {
		return ""
	}
	key := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return '0'
			}
			return r
		}, s)
	}
	slices.SortFunc(reasons, func(a, b string) int { return strings.Compare(key(a), key(b)) })
	best, run, at := 0, 0, 0
	for i := range reasons {
		if i > 0 && key(reasons[i]) == key(reasons[i-1]) {
			run++
		} else {
			run = 1
		}
		if run > best {
			best, at = run, i
		}
	}
	return reasons[at]
}
