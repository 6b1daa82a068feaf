package embedded

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/telemetry"
)

// facts is the evidence of what models answered: for each metric about it a
// measure of the run's tap.
type facts struct {
	metrics  []release.Metric
	byUser   bool  // users are what was drawn
	index    []int // of the measures' metrics
	measures []telemetry.Measure
	known    []known // by measure
}

// known is what a metric keeps for a whole run, in the cursor: the numbers of a
// category's classes, or what is usual of an amount for inputs of some length.
type known struct {
	Classes []string `json:"classes,omitempty"`
	Levels  *levels  `json:"levels,omitempty"`
}

// The most classes that the judge tells apart; the last one holds the others.
const mostClasses = 64

func newFacts(metrics []release.Metric, byUser bool, was []known, past []*release.Answer) *facts {
	f := &facts{metrics: metrics, byUser: byUser}
	for i, m := range metrics {
		of, ok := m.Source.Fact()
		if !ok {
			continue
		}
		var k known
		if len(f.index) < len(was) {
			k = was[len(f.index)]
		} else if of.ByInput {
			k.Levels = newLevels(of, past)
		}
		x := telemetry.Measure{FactOf: of}
		if k.Levels != nil {
			x.Level = k.Levels.of
		}
		f.index, f.measures, f.known = append(f.index, i), append(f.measures, x), append(f.known, k)
	}
	return f
}

// checkFact says whether the embedded proxy can tell a fact of this release.
func checkFact(rel release.Release, m release.Metric) error {
	fact := m.Source.LLM
	if of, ok := fact.Of(); !ok || of.Heard {
		return fmt.Errorf("source llm: %q is not a fact of a model's answer; known: %v", fact, release.Facts())
	}
	if kinds := fact.Kinds(); !slices.Contains(kinds, m.Kind) {
		return fmt.Errorf("source llm: %s is of kind %v, not %s", fact, kinds, m.Kind)
	}
	e := rel.Traffic.Embedded
	switch {
	case e == nil || e.Model == nil:
		return fmt.Errorf("source llm: %s is read from models' answers, and those of this release are not read; set traffic.embedded.model", fact)
	case fact == release.FactCost && len(e.Model.Prices) == 0:
		return fmt.Errorf("source llm: cost needs traffic.embedded.model.prices")
	}
	return nil
}

// checkFeedback says whether feedback on this release is taken.
func checkFeedback(rel release.Release, m release.Metric) error {
	of, ok := m.Source.Feedback.Of()
	if !ok || !of.Heard {
		return fmt.Errorf("source feedback: there is no %q; known: %v", m.Source.Feedback, release.FeedbackFacts())
	}
	if kinds := m.Source.Feedback.Kinds(); !slices.Contains(kinds, m.Kind) {
		return fmt.Errorf("source feedback: %s is of kind %v, not %s", m.Source.Feedback, kinds, m.Kind)
	}
	if e := rel.Traffic.Embedded; e == nil || e.Feedback == nil {
		return fmt.Errorf("source feedback: this release takes none; set traffic.embedded.feedback")
	}
	return nil
}

// side is a measure of one version as the judge reads it.
func (f *facts) side(i int, c telemetry.Count) judge.Side {
	if c.Measured == nil {
		return judge.Side{}
	}
	m := c.Measured[i]
	switch f.measures[i].Form {
	case release.ShareFact:
		if f.metrics[f.index[i]].Kind == release.Rate {
			events := m.N
			if f.byUser {
				events = m.Firsts
			}
			return judge.Side{N: events, Bad: events}
		}
		return judge.Side{N: m.N, Bad: m.Bad, Units: m.Users, Firsts: m.Firsts}
	case release.ClassFact:
		return judge.Side{Classes: f.known[i].count(m.Classes)}
	}
	return judge.Side{Bins: m.Bins}
}

// batch is a measure of both versions; held is what waits of it.
func (f *facts) batch(i int, b judge.Batch, canary, stable telemetry.Count, held *compared) (judge.Batch, bool) {
	b.Canary, b.Stable = f.side(i, canary), f.side(i, stable)
	if f.metrics[f.index[i]].Kind != release.Rate && !f.byUser && !held.take(&b) {
		return b, false
	}
	b.Names = slices.Clone(f.known[i].Classes)
	return b, true
}

// history is what the judge starts from: what stable answered before the run.
func (f *facts) history(past []*release.Answer, out []judge.History) {
	c := telemetry.Count{Measured: telemetry.MeasuresOf(f.measures, past)}
	for i, metric := range f.index {
		s := f.side(i, c)
		out[metric] = judge.History{N: s.N, Bad: s.Bad, Bins: s.Bins, Classes: s.Classes}
	}
}

// count numbers classes, new ones in the order of their names.
func (k *known) count(classes map[string]int64) []int64 {
	if len(classes) == 0 {
		return nil
	}
	out := make([]int64, len(k.Classes))
	for _, name := range slices.Sorted(maps.Keys(classes)) {
		at := slices.Index(k.Classes, name)
		switch {
		case at >= 0:
		case len(k.Classes) < mostClasses-1 && name != telemetry.RestClass:
			at, k.Classes = len(k.Classes), append(k.Classes, name)
		default:
			if at = slices.Index(k.Classes, telemetry.RestClass); at < 0 {
				at, k.Classes = len(k.Classes), append(k.Classes, telemetry.RestClass)
			}
		}
		for len(out) <= at {
			out = append(out, 0)
		}
		out[at] += classes[name]
	}
	return out
}

// levels are what is usual of a fact by the length of the input, as multiples of
// what is usual of all: values divided by them differ less, so that fewer
// requests tell versions apart, and a lucky mix of prompts moves nothing. They
// are fixed when a run begins: what is given about a request before it was drawn
// may be used in a bet, and leaves it exact (judge.md 5.1).
type levels struct {
	Above []int64   `json:"above"` // characters or values of input from which the next stratum begins
	Of    []float64 `json:"of"`    // one more than Above
}

const (
	strata       = 4
	leastPast    = 200 // answers from which strata are cut
	leastStratum = 30  // answers that a stratum needs
	mostLevel    = 16
)

// newLevels cuts past answers into strata; nil: there are too few, or their
// inputs are all alike.
func newLevels(of release.FactOf, past []*release.Answer) *levels {
	type value struct {
		input int64
		v     float64
	}
	var all []value
	for _, a := range past {
		if v, ok := of.Amount(&release.Observation{Answer: a}); ok && v > 0 {
			all = append(all, value{a.InputSize(), v})
		}
	}
	if len(all) < leastPast {
		return nil
	}
	slices.SortStableFunc(all, func(a, b value) int { return cmp.Compare(a.input, b.input) })
	middle := func(part []value) float64 {
		vs := make([]float64, len(part))
		for i, x := range part {
			vs[i] = x.v
		}
		slices.Sort(vs)
		return vs[len(vs)/2]
	}
	usual, out, begin := middle(all), &levels{}, 0
	for i := 1; i <= strata; i++ {
		end := len(all) * i / strata
		for end < len(all) && all[end].input == all[end-1].input {
			end++
		}
		if end-begin < leastStratum {
			continue
		}
		if begin > 0 {
			out.Above = append(out.Above, all[begin].input)
		}
		out.Of = append(out.Of, min(max(middle(all[begin:end])/usual, 1/float64(mostLevel)), mostLevel))
		begin = end
	}
	if len(out.Of) < 2 {
		return nil
	}
	return out
}

// of gives what is usual for an answer's input.
func (l *levels) of(a *release.Answer) float64 {
	i := 0
	for i < len(l.Above) && a.InputSize() >= l.Above[i] {
		i++
	}
	return l.Of[i]
}
