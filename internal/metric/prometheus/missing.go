package prometheus

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// missing says why evidence is absent or old; empty: it is not.
func (r *reader) missing(now time.Time) string {
	stale := r.provider.options.Stale
	var why []string
	if left := r.warm() - seconds(now); left > 0 && !math.IsInf(left, 1) && len(r.flows) > 0 {
		why = append(why, fmt.Sprintf("%s is warming up for another %s", r.names[canary], rounded(time.Duration(left*float64(time.Second)))))
	}
	for _, f := range r.flows {
		if text := r.quiet(f, now); text != "" && !slices.Contains(why, text) {
			why = append(why, text)
		}
	}
	if r.hasGauge() && now.Sub(r.gauge) >= stale && r.why == "" {
		why = append(why, "no query has given a value")
	}
	if r.why != "" && (len(why) > 0 || now.Sub(r.gauge) >= stale && r.hasGauge()) {
		why = append(why, r.why)
	}
	if r.gaps > 0 {
		longest := leastGap
		for _, f := range r.flows {
			longest = max(longest, f.every.longestGap())
		}
		why = append(why, fmt.Sprintf("%d series had gaps of more than %.0f s, which are left out", r.gaps, longest))
		r.gaps = 0
	}
	return strings.Join(why, "; ")
}

// quiet says which version's series of a flow are absent or do not grow.
func (r *reader) quiet(f *flow, now time.Time) string {
	what := "the counter of requests of "
	if m := r.subject.Metrics[f.metrics[0]]; f.name != requestsFlow && f.name != timesFlow {
		what = "metric " + m.Name + " of "
	}
	stale := f.every.patience(r.provider.options.Stale)
	for _, who := range []int{canary, stable} {
		age := now.Sub(r.opened)
		if n := f.newest[who]; n > 0 {
			age = min(age, now.Sub(time.UnixMilli(int64(n*1000))))
		}
		if age >= stale {
			return fmt.Sprintf("%s%s has no sample of the last %s", what, r.names[who], rounded(age))
		}
		if idle := now.Sub(f.grown[who]); idle >= stale {
			return fmt.Sprintf("no request has reached %s for %s", r.names[who], rounded(idle))
		}
	}
	return ""
}

func (r *reader) hasGauge() bool {
	return slices.ContainsFunc(r.levels, func(s [2]*source) bool { return s[canary] != nil })
}
