package judge

import (
	"cmp"
	"fmt"
	"math"
	"strings"
)

// Report says what the evidence allows to say, against the margins multiplied
// by entry step of the policy's Looseness (out of range: the last one).
func (r *Run) Report(step int) Report {
	step = r.entry(step)
	out := Report{Verdict: Inconclusive, LogE: clip(r.logM), Threshold: r.bar()}
	for i, m := range r.policy.Metrics {
		mr := r.metricReport(i, step)
		out.At = max(out.At, r.last[i])
		if m.Pause && mr.Verdict == Fail && out.Pause == "" {
			out.Pause = mr.Reason
		}
		if m.Kind == ShareCheck {
			if mr.Canary.N+mr.Stable.N > 0 { // else the provider does not see how requests are divided
				out.Division = &mr
			}
			continue
		}
		out.Metrics = append(out.Metrics, mr)
		if m.Kind == Proportion || out.Canary+out.Stable == 0 {
			out.Canary, out.Stable = max(out.Canary, mr.Canary.N), max(out.Stable, mr.Stable.N)
		}
		if mr.Shared != "" && out.Pause == "" {
			out.Pause = mr.Shared
		}
	}
	if slow := slowest(out.Metrics); slow != nil && !r.failed {
		out.MoreRequests, out.MoreSeconds = slow.MoreRequests, slow.MoreSeconds
	}
	doubt := r.doubt(step)
	switch {
	case r.failed:
		r.explainFail(&out)
	case doubt >= 0:
		out.Doubt = r.metricReport(doubt, step).doubtReason()
		out.Reason = out.Doubt
	case r.proven(step):
		out.Verdict, out.Reason = Pass, passReason(out.Metrics)
	default:
		out.Reason = waitReason(out)
	}
	return out
}

// clip keeps a log e-value printable.
func clip(x float64) float64 { return max(-1e300, min(1e300, x)) }

func (r *Run) metricReport(i, step int) MetricReport {
	m := r.policy.Metrics[i]
	p := r.metrics[i]
	out := MetricReport{
		Name: m.Name, Kind: m.Kind, Verdict: Inconclusive, Required: m.Required,
		LogE: clip(p.evidence()), Threshold: r.threshold(m),
	}
	var proven bool
	out.LogProof, proven = p.proof(step)
	out.LogProof = clip(out.LogProof)
	out.ProofThreshold = math.Log(1 / r.policy.AlphaPromote)
	out.Margin = marginWords(m, r.policy.Looseness[step])
	p.report(m, step, &out)
	out.MoreSeconds = seconds(p, out.MoreRequests, r.last[i])
	switch {
	case r.blamed[i] || out.LogE >= out.Threshold:
		out.Verdict, out.MoreRequests, out.MoreSeconds = Fail, nil, nil
		out.Reason = worseReason(out)
		if m.Split {
			out.Reason = splitReason(out)
		}
	case proven:
		out.Verdict, out.MoreRequests, out.MoreSeconds = Pass, nil, nil
		out.Reason = fmt.Sprintf("%s: proven to be %s.", m.Name, out.Margin)
	default:
		out.Reason = openReason(out)
	}
	return out
}

// doubtReason says why a version does not go on although nothing has failed.
func (m MetricReport) doubtReason() string {
	looks := strings.Replace(worseReason(m), "the canary is worse", "the canary looks worse", 1)
	return looks + " That is not enough to take it back, and too much to give it more traffic."
}

func worseReason(m MetricReport) string {
	switch m.Kind {
	case Category, Drift:
		return fmt.Sprintf("%s: the canary's distribution differs from stable's%s; without a difference one sees so much with a chance of %s at most.", m.Name, classWords(m), odds(m.LogE))
	case ShareCheck:
		return fmt.Sprintf("%s; with the right share one sees so much with a chance of %s at most. The routing or the counting is to be looked at, not the version.",
			divisionWords(m), odds(m.LogE))
	}
	if m.Kind == Agreement && m.Canary.Value != nil && m.Stable.Value != nil {
		return fmt.Sprintf("%s: of %s requests that both versions were asked, stable's answer was the better one in %s and the canary's in %s; a good version shows so much with a chance of %s at most.",
			m.Name, grouped(float64(m.Canary.N)), percent(*m.Stable.Value), percent(*m.Canary.Value), odds(m.LogE))
	}
	if m.Kind == Proportion && m.Canary.N == 0 {
		return fmt.Sprintf("%s: none of the requests that were sent to the canary has ended, and %d of stable's have; a good version shows so much with a chance of %s at most.",
			m.Name, m.Stable.N, odds(m.LogE))
	}
	if m.Kind == Proportion && m.Canary.Bad == 0 && m.Due > 0 {
		return fmt.Sprintf("%s: the canary's requests are missing: %s have ended, none of them bad, where about %s should have beside %s of stable's; a good version shows so much with a chance of %s at most.",
			m.Name, grouped(float64(m.Canary.N)), grouped(m.Due), grouped(float64(m.Stable.N)), odds(m.LogE))
	}
	if m.Kind == Rate && m.Canary.N == m.Canary.Bad && m.Stable.N == m.Stable.Bad { // events alone are compared
		return fmt.Sprintf("%s: the canary is worse, %s of it against %s of stable, which is not its share of the traffic; a good version shows so much with a chance of %s at most.",
			m.Name, grouped(float64(m.Canary.N)), grouped(float64(m.Stable.N)), odds(m.LogE))
	}
	if m.Canary.Value == nil || m.Stable.Value == nil {
		return fmt.Sprintf("%s: the canary is worse; a good version shows so much with a chance of %s at most.", m.Name, odds(m.LogE))
	}
	unit := cmp.Or(displayUnit(m.Kind), m.Unit)
	if q, c, s := m.telling(); q > 0 {
		return fmt.Sprintf("%s: the canary is worse, %s against %s at the %.0fth percentile; a good version shows so much with a chance of %s at most.",
			m.Name, amount(c, unit), amount(s, unit), 100*q, odds(m.LogE))
	}
	return fmt.Sprintf("%s: the canary is worse, %s against %s; a good version shows so much with a chance of %s at most.",
		m.Name, amount(*m.Canary.Value, unit), amount(*m.Stable.Value, unit), odds(m.LogE))
}

// telling is the quantile at which it shows best that the canary is worse, with both
// versions' values, where that of the margin hardly shows it: a fault of one request
// in five leaves the median as it is. 0: that of the margin tells, or none does.
func (m MetricReport) telling() (q, canary, stable float64) {
	own, most := *m.Canary.Value / *m.Stable.Value, 0.0
	for i, r := range m.Quantiles {
		c, s := m.Canary.Quantiles[i].Value, m.Stable.Quantiles[i].Value
		if r.LogE > most && c > 1.2*own*s {
			most, q, canary, stable = r.LogE, r.Q, c, s
		}
	}
	return q, canary, stable
}

// splitReason says that what users send differs, which no version can do.
func splitReason(m MetricReport) string {
	return fmt.Sprintf("%s: what the canary is asked differs from what stable is asked; without a difference one sees so much with a chance of %s at most. "+
		"The split, or a cache that is colder, is to be looked at, not the version.", m.Name, odds(m.LogE))
}

// classWords says which class of a category differs most.
func classWords(m MetricReport) string {
	if m.ClassName == "" || m.Canary.Value == nil || m.Stable.Value == nil {
		return ""
	}
	return fmt.Sprintf(", most in %q: %s against %s", m.ClassName, percent(*m.Canary.Value), percent(*m.Stable.Value))
}

// divisionWords says how requests were divided.
func divisionWords(m MetricReport) string {
	if m.Canary.Value == nil || m.Stable.Value == nil {
		return m.Name + ": nothing was divided yet"
	}
	return fmt.Sprintf("%s: the canary got %s of %s %s, %s, where %s was asked for",
		m.Name, grouped(float64(m.Canary.N)), grouped(float64(m.Canary.N+m.Stable.N)), m.Unit, percent(*m.Canary.Value), percent(*m.Stable.Value))
}

func openReason(m MetricReport) string {
	switch {
	case m.Kind == ShareCheck:
		return divisionWords(m) + "."
	case m.Canary.N == 0:
		return m.Name + ": nothing has been seen of the canary yet."
	case m.Stable.N == 0:
		return m.Name + ": nothing has been seen of stable, so there is nothing to compare with."
	case m.uncompared():
		return m.Name + ": nothing can be said; " + uncomparedWhy + "."
	case m.Margin == "":
		return m.Name + ": nothing is worse so far."
	case m.Coarse != "":
		return fmt.Sprintf("%s: nothing is worse so far, and it can not be proven to be %s: %s.", m.Name, m.Margin, m.tooCoarse())
	case m.MoreRequests == nil:
		return fmt.Sprintf("%s: nothing is worse so far; when it can be proven to be %s cannot be said yet.", m.Name, m.Margin)
	}
	return fmt.Sprintf("%s: nothing is worse so far; %s are needed to prove it %s.", m.Name, expected(&m), m.Margin)
}

// tooCoarse says what to do about a histogram that can not prove a margin.
func (m *MetricReport) tooCoarse() string {
	return m.Coarse + "; give that bounds closer together than the margin, or the metric a wider margin or required: false"
}

// uncompared reports whether a rate has nothing that its events could be
// compared with.
func (m *MetricReport) uncompared() bool {
	return m.Kind == Rate && m.Ratio == nil && m.Canary.N > 0 && m.Canary.N == m.Canary.Bad && m.Stable.N == m.Stable.Bad
}

const uncomparedWhy = "its events are all that was counted, and without the share that the canary should have had nothing follows from them"

func passReason(ms []MetricReport) string {
	var parts []string
	for _, m := range ms {
		if m.Required {
			parts = append(parts, m.Name+" "+m.Margin)
		}
	}
	return "Proven for every required metric: " + strings.Join(parts, ", ") + "."
}

// slowest is the required metric whose proof is expected last; nil: none is
// missing. One that cannot be said is last.
func slowest(ms []MetricReport) *MetricReport {
	var slow *MetricReport
	for i := range ms {
		m := &ms[i]
		if !m.Required || m.Verdict != Inconclusive {
			continue
		}
		if slow == nil || slow.MoreRequests != nil && slow.before(m) {
			slow = m
		}
	}
	return slow
}

// before reports whether m, whose proof can be foretold, is proven before other.
func (m *MetricReport) before(other *MetricReport) bool {
	switch {
	case other.MoreRequests == nil:
		return true
	case m.MoreSeconds != nil && other.MoreSeconds != nil:
		return *m.MoreSeconds < *other.MoreSeconds
	}
	return *m.MoreRequests < *other.MoreRequests
}

// waitReason says what is missing: the required metric that needs longest.
func waitReason(out Report) string {
	if out.Canary == 0 {
		return "No data yet: no request has reached the canary."
	}
	if out.Stable == 0 {
		return "No data to compare with: no request has reached stable."
	}
	for i := range out.Metrics {
		m := &out.Metrics[i]
		if m.Required && m.Verdict == Inconclusive && (m.Canary.N == 0 || m.Stable.N == 0) {
			return "No data yet for " + m.Name + "; nothing else is worse so far."
		}
	}
	slow := slowest(out.Metrics)
	switch {
	case slow == nil:
		return "Nothing is worse so far; no metric's proof is required."
	case slow.uncompared():
		return "Nothing is worse so far; of " + slow.Name + " nothing can be said: " + uncomparedWhy + "."
	case slow.Coarse != "":
		return fmt.Sprintf("Nothing is worse so far, and %s can not be proven %s: %s.", slow.Name, slow.Margin, slow.tooCoarse())
	case slow.MoreRequests == nil:
		return fmt.Sprintf("Nothing is worse so far; when %s will be proven %s cannot be said yet.", slow.Name, slow.Margin)
	}
	return fmt.Sprintf("Nothing is worse so far; %s are needed to prove %s %s.", expected(slow), slow.Name, slow.Margin)
}

// expected writes what a proof still needs: "about 3 100 more requests (2 min)".
func expected(m *MetricReport) string {
	what := "requests"
	switch m.Kind {
	case Gauge:
		what = "samples"
	case Agreement:
		what = "pairs"
	}
	out := fmt.Sprintf("about %s more %s", about(*m.MoreRequests), what)
	if m.MoreSeconds != nil {
		out += " (" + span(*m.MoreSeconds) + ")"
	}
	return out
}
