package embedded

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/haldane-project/haldane/internal/evaluate"
	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/release"
)

// evaluations is the evidence of metrics whose answers somebody is asked about.
// Which of a version's answers get a verdict may depend on how long they are, so
// that counts decide and not the share of the traffic.
type evaluations struct {
	tap     *evaluate.Tap
	index   []int // of the metrics
	metrics []release.Metric
}

// SetEvaluations names who asks evaluators.
func (p *Provider) SetEvaluations(r *evaluate.Recorder) { p.evals = r }

func (p *Provider) checkEvaluator(m release.Metric) error {
	if p.evals == nil {
		return fmt.Errorf("no evaluator is asked here")
	}
	if kinds := release.EvaluatorKinds(); !slices.Contains(kinds, m.Kind) {
		return fmt.Errorf("an evaluator gives one of kind %v, not %s", kinds, m.Kind)
	}
	return nil
}

// evaluations begins to ask; nil: no metric wants it.
func (p *Provider) evaluations(s metric.Subject) *evaluations {
	e := &evaluations{metrics: s.Metrics}
	var jobs []evaluate.Job
	for i, m := range s.Metrics {
		if m.Source.Evaluator != nil {
			e.index = append(e.index, i)
			jobs = append(jobs, evaluate.Job{Metric: m.Name, Evaluator: m.Source.Evaluator, Pairs: m.Kind == release.Agreement, Scores: m.Kind == release.Mean, Users: s.Release.Analysis.PerUser})
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
		switch kind := e.metrics[m].Kind; {
		case kind == release.Agreement && got.Pairs > 0:
			b.Stable, b.Canary = judge.Side{N: got.Pairs, Bad: got.StableWon}, judge.Side{N: got.Pairs, Bad: got.CanaryWon}
		case kind == release.Mean && len(got.StableShort)+len(got.CanaryShort) > 0:
			b.Stable, b.Canary = judge.Side{Bins: binsOf(got.StableShort)}, judge.Side{Bins: binsOf(got.CanaryShort)}
		case kind == release.Proportion && got.Stable+got.Canary > 0:
			b.Stable, b.Canary = judge.Side{N: got.Stable, Bad: got.StableBad}, judge.Side{N: got.Canary, Bad: got.CanaryBad}
		default:
			continue
		}
		out.Samples = append(out.Samples, metric.Sample{Metric: m, Batch: b})
	}
	out.Caveats = append(out.Caveats, e.caveats()...)
}

// binsOf counts values as the judge takes them.
func binsOf(values []float64) []judge.BinCount {
	count := map[int32]int64{}
	for _, v := range values {
		count[judge.BinOf(judge.Mean, v)]++
	}
	out := make([]judge.BinCount, 0, len(count))
	for _, bin := range slices.Sorted(maps.Keys(count)) {
		out = append(out, judge.BinCount{Bin: bin, Count: count[bin]})
	}
	return out
}

// caveats says of which evaluators not all is heard that was asked.
func (e *evaluations) caveats() []string {
	var out []string
	for i, m := range e.index {
		s, name := e.tap.Stats(i), e.metrics[m].Name
		if lost := s.Unclear + s.Failed; lost > 0 {
			out = append(out, fmt.Sprintf("%s: of %d questions to the evaluator %d brought no verdict and count for nothing (%d were answered with something else than was asked for, %d failed); the last: %s.",
				name, s.Verdicts+lost, lost, s.Unclear, s.Failed, strings.TrimSuffix(s.LastError, ".")))
		}
		if s.Spent {
			out = append(out, name+": the evaluator's budget of this run is spent, so that nothing new is learned of it.")
		}
	}
	return out
}
