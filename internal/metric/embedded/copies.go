package embedded

import (
	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/release"
)

// paired is the share of evidence that comes in pairs: each request went to both
// versions, so that without a difference each of two outcomes that differ is the
// canary's with probability one half. What both have in common only slows such a
// bet down.
const paired = 0.5

// readCopies takes out what copied requests say: of failures and times for the
// metrics that the proxy measures itself, and of answers for those of kind
// agreement.
func (r *reader) readCopies(out *metric.Reading) {
	if r.copies == nil {
		return
	}
	got := r.copies.Drain()
	if got.Pairs == 0 {
		return
	}
	r.seen[0], r.seen[1] = latest(r.seen[0], got.Newest), latest(r.seen[1], got.Newest)
	for i, m := range r.subject.Metrics {
		if m.Source != (release.Source{}) {
			continue
		}
		b := judge.Batch{At: r.cursor.At, Share: paired}
		switch m.Kind {
		case release.Errors:
			b.Stable, b.Canary = failures(got.Pairs, got.StableFailed), failures(got.Pairs, got.CanaryFailed)
		case release.Latency:
			if len(got.CanaryTimes) == 0 {
				continue
			}
			b.Stable.Bins, b.Canary.Bins = got.StableTimes, got.CanaryTimes
		case release.Agreement:
			if got.Answers == 0 {
				continue
			}
			b.Share = 0
			b.Stable = judge.Side{N: got.Answers, Bad: got.StableWon}
			b.Canary = judge.Side{N: got.Answers, Bad: got.CanaryWon}
		default:
			continue
		}
		out.Samples = append(out.Samples, metric.Sample{Metric: i, Batch: b})
	}
}

// failures are of requests each of which stands by itself, whoever asked.
func failures(n, bad int64) judge.Side { return judge.Side{N: n, Bad: bad, Units: bad, Firsts: bad} }
