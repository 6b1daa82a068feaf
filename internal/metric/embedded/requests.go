package embedded

import (
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/telemetry"
)

// requests is the evidence of what the proxy saw of every request: of the run's
// metrics (those about models' answers are in facts), of the placebo beside them, and of how requests were divided.
type requests struct {
	metrics []release.Metric
	name    string // of the release
	tap     *telemetry.Tap
	facts   *facts
	held    [2][]compared     // by measure, of the run and of the placebo
	past    []*release.Answer // of stable, before the run
	pace    *pace
	overdue func(release string, age time.Duration)
	perUser bool // users are what was drawn
}

func newRequests(p *Provider, s metric.Subject, c cursor, opened time.Time) *requests {
	r := &requests{metrics: s.Metrics, name: s.Release.Name, overdue: p.overdue, perUser: s.Release.Analysis.PerUser}
	r.pace = newPace(s.Metrics, p.recorder.History(r.name, s.Stable.ID, s.Started.Add(-past), opened))
	r.past = p.recorder.Answers(r.name, s.Stable.ID, s.Started.Add(-pastAnswers), s.Started)
	r.facts = newFacts(s.Metrics, r.perUser, c.Facts, r.past)
	for i := range r.held {
		r.held[i] = make([]compared, len(r.facts.index))
	}
	o := telemetry.TapOptions{WarmUp: s.Release.Analysis.WarmUp, First: c.First, Users: r.perUser, Measures: r.facts.measures}
	if f := p.settled; f != nil { // only a draining calls it
		o.Settled = func() time.Time { return f(r.name, r.pace.wait()) }
	}
	if p.overdue != nil {
		o.Told = r.told
	}
	r.tap = p.recorder.Tap(r.name, s.Stable.ID, s.Canary.ID, o)
	return r
}

// untold is the age by which a request is known where nobody asks for those
// that are overdue: hardly any takes longer.
const untold = time.Minute

// told is the age by which every request is known.
func (r *requests) told() time.Duration {
	if r.pace.asked {
		return r.pace.overdueAge()
	}
	return untold
}

// isRequest reports whether the proxy's own requests are a metric's source.
func isRequest(m release.Metric) bool {
	return m.Source == release.Source{} && m.Kind != release.Agreement || m.Source.Response != "" || isFact(m)
}

// isFact reports whether it is about models' answers, or what users said of them.
func isFact(m release.Metric) bool { return m.Source.LLM != "" || m.Source.Feedback != "" }

// any reports whether some metric is about requests.
func (r *requests) any() bool {
	for _, m := range r.metrics {
		if isRequest(m) {
			return true
		}
	}
	return false
}

// read takes out what came, as evidence of seconds since the run began.
func (r *requests) read(at float64, out *metric.Reading) telemetry.Portions {
	if r.pace.asked && r.overdue != nil {
		r.overdue(r.name, r.pace.overdueAge())
	}
	got := r.tap.Drain()
	for _, p := range got.Portions {
		out.Samples = append(out.Samples, r.samples(at, p.Share, p.Canary, p.Stable, r.held[0])...)
		out.Placebo = append(out.Placebo, r.samples(at, p.Share, p.Placebo, p.Rest, r.held[1])...)
		r.pace.add(p.Stable.Bins)
	}
	for _, d := range got.Divided {
		out.Division = append(out.Division, judge.Batch{At: at, Share: fraction(d.Share),
			Canary: judge.Side{N: d.Canary}, Stable: judge.Side{N: d.Stable}})
	}
	return got
}

// samples makes one batch of each metric that is about requests.
func (r *requests) samples(at float64, share release.Weight, canary, stable telemetry.Count, held []compared) []metric.Sample {
	var out []metric.Sample
	of := judge.Batch{At: at, Share: fraction(share)}
	for i, m := range r.metrics {
		if isRequest(m) && !isFact(m) {
			of.Canary, of.Stable = r.sideOf(m, canary), r.sideOf(m, stable)
			out = append(out, metric.Sample{Metric: i, Batch: of})
		}
	}
	for i, at := range r.facts.index {
		if b, ok := r.facts.batch(i, of, canary, stable, &held[i]); ok {
			out = append(out, metric.Sample{Metric: at, Batch: b})
		}
	}
	return out
}

func fraction(w release.Weight) float64 { return float64(w) / float64(release.Full) }

// sideOf is a count as the judge reads it. The events of a rate are the
// requests that were answered: a version that hangs answers fewer. Where users
// keep their version, times and sizes are those of each user's first request: one
// who asks often, and is slow with any version, would else decide.
func (r *requests) sideOf(m release.Metric, c telemetry.Count) judge.Side {
	switch m.Source.Response {
	case clientErrors:
		return judge.Side{N: c.N, Bad: c.Class[4], Units: c.Coded[4].Users, Firsts: c.Coded[4].Firsts}
	case serverErrors:
		return judge.Side{N: c.N, Bad: c.Class[5], Units: c.Coded[5].Users, Firsts: c.Coded[5].Firsts}
	case size:
		return judge.Side{Bins: c.Bytes}
	}
	switch m.Kind {
	case release.Latency:
		if r.perUser {
			return judge.Side{Bins: c.Times}
		}
		return judge.Side{Bins: c.Bins}
	case release.Rate:
		return judge.Side{N: c.N, Bad: c.N}
	}
	return judge.Side{N: c.N, Bad: c.Bad, Units: c.Users, Firsts: c.Firsts}
}

// historyOf is what the judge starts from: of requests, also where users count.
func historyOf(m release.Metric, c telemetry.Count) judge.History {
	switch m.Source.Response {
	case clientErrors:
		return judge.History{N: c.N, Bad: c.Class[4]}
	case serverErrors:
		return judge.History{N: c.N, Bad: c.Class[5]}
	case size:
		return judge.History{Bins: c.Bytes}
	}
	switch m.Kind {
	case release.Errors:
		return judge.History{N: c.N, Bad: c.Bad}
	case release.Rate:
		return judge.History{N: c.N, Bad: c.N}
	}
	h := judge.History{Bins: c.Bins}
	if len(h.Bins) > 0 {
		h.Seconds = c.Seconds
	}
	return h
}
