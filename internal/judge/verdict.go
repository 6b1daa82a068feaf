package judge

import "math"

// verdict is the report's, without the report.
func (r *Run) verdict(step int) Verdict {
	switch {
	case r.failed:
		return Fail
	case r.proven(step) && r.doubt(step) < 0:
		return Pass
	}
	return Inconclusive
}

// proven reports whether there is the proof of each required metric, and there is one.
func (r *Run) proven(step int) bool {
	any := false
	for i, m := range r.policy.Metrics {
		if !m.Required {
			continue
		}
		if _, proven := r.metrics[i].proof(r.entry(step)); !proven {
			return false
		}
		any = true
	}
	return any
}

// entry is the one of the policy's Looseness that a step is judged by.
func (r *Run) entry(step int) int { return max(0, min(step, len(r.policy.Looseness)-1)) }

// doubt is the metric that speaks most against the canary, among those that could
// fail the run, are not proven to be within their margins and are in doubt; -1:
// none is.
func (r *Run) doubt(step int) int {
	most, at := math.Inf(-1), -1
	for i, m := range r.policy.Metrics {
		if !m.decides() {
			continue
		}
		log := r.metrics[i].evidence()
		if over := log - r.threshold(m); over <= most || log < doubtful(r.threshold(m)) {
			continue
		}
		if _, proven := r.metrics[i].proof(r.entry(step)); !proven {
			most, at = log-r.threshold(m), i
		}
	}
	return at
}

// doubtOdds is what part of the evidence that fails the run puts a metric in doubt.
const doubtOdds = 20

// doubtful is the evidence in nats from which on a metric is in doubt: its odds are
// a twentieth of those that fail the run, or their square root if that is more. The
// version is not promoted then, though all that is required is proven: it goes on
// once further requests have taken the doubt away, or fails.
func doubtful(threshold float64) float64 { return max(threshold-math.Log(doubtOdds), threshold/2) }

// Doubt reports whether a metric that is not proven to be within its margin at entry
// step of the policy's Looseness speaks so much against the canary that it is not to
// get more traffic yet. It is cheaper than a report.
func (r *Run) Doubt(step int) bool { return !r.failed && r.doubt(step) >= 0 }
