package embedded

import (
	"fmt"

	"github.com/haldane-project/haldane/internal/evaluate"
	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/release"
)

// evaluations is the evidence of metrics whose answers somebody is asked about.
// Which of a version's answers get a verdict may depend on how long they are, so
// that counts decide and not the share of the traffic.
type evaluations struct {
	tap   *evaluate.Tap
	index []int // of the metrics
	pairs []bool
}

// SetEvaluations names who asks evaluators.
func (p *Provider) SetEvaluations(r *evaluate.Recorder) { p.evals = r }

func (p *Provider) checkEvaluator(m release.Metric) error {
	if p.evals == nil {
		return fmt.Errorf("no evaluator is asked here")
	}
	if m.Kind != release.Proportion && m.Kind != release.Agreement {
		return fmt.Errorf("an evaluator gives a proportion or an agreement, not kind %s", m.Kind)
	}
	return nil
}

// evaluations begins to ask; nil: no metric wants it.
func (p *Provider) evaluations(s metric.Subject) *evaluations {
	e := &evaluations{}
	var jobs []evaluate.Job
	for i, m := range s.Metrics {
		if m.Source.Evaluator != nil {
			e.index, e.pairs = append(e.index, i), append(e.pairs, m.Kind == release.Agreement)
			jobs = append(jobs, evaluate.Job{Metric: m.Name, Evaluator: m.Source.Evaluator, Pairs: m.Kind == release.Agreement})
		}
	}
	if len(jobs) == 0 {
		return nil
	}
	e.tap = p.evals.Tap(s.Release.Name, s.Stable.ID, s.Canary.ID, jobs)
	return e
}

func (e *evaluations) close() {
	if e != nil {
		e.tap.Close()
	}
}

func (e *evaluations) read(at float64, out *metric.Reading) {
	if e == nil {
		return
	}
	out.Critical = e.tap.Critical()
	for i, m := range e.index {
		got, b := e.tap.Drain(i), judge.Batch{At: at}
		switch {
		case e.pairs[i] && got.Pairs > 0:
			b.Stable, b.Canary = judge.Side{N: got.Pairs, Bad: got.StableWon}, judge.Side{N: got.Pairs, Bad: got.CanaryWon}
		case !e.pairs[i] && got.Stable+got.Canary > 0:
			b.Stable, b.Canary = judge.Side{N: got.Stable, Bad: got.StableBad}, judge.Side{N: got.Canary, Bad: got.CanaryBad}
		default:
			continue
		}
		out.Samples = append(out.Samples, metric.Sample{Metric: m, Batch: b})
	}
}
