package telemetry

import (
	"maps"
	"sync"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
)

// Measure is a fact of model answers that a tap takes from each request besides.
type Measure struct {
	release.FactOf
	// Level is what values of such answers usually are, as a multiple of all of
	// stable's; they are divided by it. It may use what was known before the tap
	// was opened only, or else the comparison is not exact. Nil: no difference.
	Level func(*release.Answer) float64
}

// Measured is what one version did of one measure. Of amounts and categories
// each user counts once, with their first answer, where users keep their version
// (TapOptions.Users): a user is what was drawn.
type Measured struct {
	N, Bad        int64
	Users, Firsts int64            // as in Count
	Bins          []judge.BinCount // judge.Amount
	Classes       map[string]int64
}

// mostClasses bounds the words of a category that one portion keeps apart; what
// is beyond counts as RestClass.
const mostClasses = 256

// RestClass is the class of all words that are too many.
const RestClass = "(other)"

// measures are those of one tap.
type measures struct {
	of     []Measure
	faults bool     // some of them are told of clients' faults too
	users  []*users // of shares, by measure; used by Drain only; nil: not assigned by user
	seen   []seen   // users who have a value, by measure; nil: not assigned by user
}

func newMeasures(of []Measure, byUser bool) *measures {
	m := &measures{of: of}
	for _, x := range of {
		m.faults = m.faults || x.Faults
		if byUser {
			m.users, m.seen = append(m.users, newUsers()), append(m.seen, newSeen())
		}
	}
	return m
}

// first reports whether a value counts: where users are assigned, their first.
func (m *measures) first(i int, unit uint64) bool {
	return m.seen == nil || m.seen[i].first(unit)
}

// measured is a measure of one side of a portion.
type measured struct {
	n, bad  int64
	failed  []uint64
	bins    *[numBins]uint32
	classes map[string]int64
}

// measure takes the values of an answer.
func (s *side) measure(e *ended, m *measures) {
	if s.measured == nil {
		s.measured = make([]measured, len(m.of))
	}
	o := release.Observation{Answer: e.answer, Feedback: e.heard}
	switch {
	case e.fault:
		o.Outcome = release.ClientFault
	case e.failed:
		o.Outcome = release.Failed
	}
	for i := range m.of {
		x, to := &m.of[i], &s.measured[i]
		switch {
		case x.Heard != (o.Feedback != nil):
		case x.Form == release.ShareFact:
			if bad, ok := x.Bad(&o); ok {
				to.n++
				if bad {
					to.bad++
					to.failed = append(to.failed, e.unit)
				}
			}
		case o.Outcome != release.OK:
		case x.Form == release.AmountFact:
			if v, ok := x.value(&o); ok && m.first(i, e.unit) {
				to.amount(v)
			}
		default:
			if class, ok := x.Class(&o); ok && m.first(i, e.unit) {
				to.class(class, 1)
			}
		}
	}
}

func (x *Measure) value(o *release.Observation) (float64, bool) {
	v, ok := x.Amount(o)
	if ok && x.Level != nil {
		v /= x.Level(o.Answer)
	}
	return v, ok
}

func (t *measured) amount(v float64) {
	if t.bins == nil {
		t.bins = new([numBins]uint32)
	}
	t.n++
	t.bins[max(judge.BinOf(judge.Amount, v), 0)]++
}

func (t *measured) class(class string, n int64) {
	if t.classes == nil {
		t.classes = map[string]int64{}
	}
	if _, known := t.classes[class]; !known && len(t.classes) >= mostClasses {
		class = RestClass
	}
	t.n += n
	t.classes[class] += n
}

// add sums another cell's.
func (t *measured) add(from *measured) {
	t.bad += from.bad
	t.failed = append(t.failed, from.failed...)
	if from.bins != nil {
		if t.bins == nil {
			t.bins = new([numBins]uint32)
		}
		for i, n := range from.bins {
			t.bins[i] += n
		}
	}
	n := t.n + from.n
	for class, n := range from.classes {
		t.class(class, n)
	}
	t.n = n
}

// addMeasured sums another cell's measures.
func (s *side) addMeasured(from *side) {
	if from.measured == nil {
		return
	}
	if s.measured == nil {
		s.measured = make([]measured, len(from.measured))
	}
	for i := range from.measured {
		s.measured[i].add(&from.measured[i])
	}
}

// takeMeasured is what is handed out.
func (s *side) takeMeasured() []Measured {
	var out []Measured
	for i := range s.measured {
		m := &s.measured[i]
		x := Measured{N: m.n, Bad: m.bad, Classes: maps.Clone(m.classes)}
		if m.bins != nil {
			x.Bins = sparse(m.bins[:])
		}
		out = append(out, x)
	}
	return out
}

// answers are the last of a version's answers, the learner's start of measures.
type answers struct {
	mu   sync.Mutex
	ring []answered
	next int
}

type answered struct {
	end    int64 // unix nanoseconds
	answer *release.Answer
}

// keptAnswers bounds them.
const keptAnswers = 2048

func (a *answers) push(end int64, x *release.Answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.ring) < keptAnswers {
		a.ring = append(a.ring, answered{end, x})
		return
	}
	a.ring[a.next] = answered{end, x}
	a.next = (a.next + 1) % keptAnswers
}

// Answers are what a version of a model said, in requests that ended in (from,
// to], as far as the last answers reach back; not to be changed.
func (r *Recorder) Answers(rel string, v release.VersionID, from, to time.Time) []*release.Answer {
	s := (*r.series.Load())[key{rel, v}]
	if s == nil {
		return nil
	}
	s.answers.mu.Lock()
	defer s.answers.mu.Unlock()
	var out []*release.Answer
	for _, x := range s.answers.ring {
		if x.end > from.UnixNano() && x.end <= to.UnixNano() {
			out = append(out, x.answer)
		}
	}
	return out
}

// MeasuresOf is what answers show of measures, as a tap would.
func MeasuresOf(of []Measure, all []*release.Answer) []Measured {
	var s side
	m := newMeasures(of, false)
	for _, a := range all {
		s.measure(&ended{answer: a}, m)
	}
	return s.takeMeasured()
}
