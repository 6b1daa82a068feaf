package judge

import (
	"math"
	"slices"
	"strings"
)

// eBH is the weighted e-BH procedure (Wang, Ramdas 2022): of log e-values that
// are each weighted by its share of alpha it takes the k largest for the
// greatest k of which all reach 1/(alpha k). The expected part of false ones
// among those taken is at most alpha, whatever depends on what. taken, as long
// as the list, is set.
func eBH(weighted []float64, bar float64, taken []bool) {
	order := make([]int, len(weighted))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case weighted[a] > weighted[b]:
			return -1
		case weighted[a] < weighted[b]:
			return 1
		}
		return 0
	})
	clear(taken)
	for k := len(order); k > 0; k-- {
		if weighted[order[k-1]] >= bar-math.Log(float64(k)) {
			for _, i := range order[:k] {
				taken[i] = true
			}
			return
		}
	}
}

// blame tells, once the run has failed, which metrics are worse: by e-BH at the
// level of the run; where none is by itself, the one that speaks most.
func (r *Run) blame() {
	weighted, most := make([]float64, len(r.metrics)), -1
	for i := range r.metrics {
		weighted[i] = math.Inf(-1)
		if r.policy.Metrics[i].decides() {
			weighted[i] = r.metrics[i].evidence() + r.shares[i]
			if most < 0 || weighted[i] > weighted[most] {
				most = i
			}
		}
	}
	eBH(weighted, r.bar(), r.blamed)
	if most >= 0 {
		r.blamed[most] = true
	}
}

// explainFail says what the canary is failed for: the metric that speaks most in
// full, the others that are to blame by name.
func (r *Run) explainFail(out *Report) {
	out.Verdict, out.LogE = Fail, max(clip(r.failLog), out.LogE)
	var to []int
	for i := range r.policy.Metrics {
		if r.blamed[i] {
			to = append(to, i)
		}
	}
	slices.SortStableFunc(to, func(a, b int) int {
		if r.metrics[a].evidence()+r.shares[a] > r.metrics[b].evidence()+r.shares[b] {
			return -1
		}
		return 1
	})
	for _, i := range to {
		out.Blame = append(out.Blame, r.policy.Metrics[i].Name)
	}
	if len(to) > 0 {
		for _, m := range out.Metrics { // not all of the policy's are among them
			if m.Name == out.Blame[0] {
				out.Reason = m.Reason
			}
		}
	}
	if len(to) > 1 {
		out.Reason = "Because of " + listed(out.Blame) + ". " + out.Reason
	}
}

// mostListed is how many names are written out.
const mostListed = 5

// listed writes names: "errors, latency and cost".
func listed(names []string) string {
	last := len(names) - 1
	if len(names) > mostListed {
		return strings.Join(names[:mostListed], ", ") + " and " + grouped(float64(len(names)-mostListed)) + " more"
	}
	return strings.Join(names[:last], ", ") + " and " + names[last]
}
