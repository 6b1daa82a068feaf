package judge

import (
	"fmt"
	"io"
	"strings"
)

// Look is one reading of the judge during a replay.
type Look struct {
	Line    int     `json:"line"`
	At      float64 `json:"at"`
	Metric  string  `json:"metric"`
	Verdict Verdict `json:"verdict"`
	LogE    float64 `json:"logE"`    // combined, against the canary
	Own     float64 `json:"ownLogE"` // of the line's metric
	Canary  int64   `json:"canary"`  // units of the line's metric so far
	Stable  int64   `json:"stable"`
}

// Replayed is the outcome of a replay.
type Replayed struct {
	Looks    int    `json:"count"`              // of looks
	Deciding *Look  `json:"deciding,omitempty"` // the first that was not Inconclusive; nil: none
	Report   Report `json:"report"`             // at the end
}

// Replay judges an evidence file by a policy, against entry step of its
// Looseness, and calls each (unless nil) after every line. Errors name the line.
func Replay(p Policy, evidence io.Reader, step int, each func(Look) error) (Replayed, error) {
	r := &replay{policy: p, step: step, each: each}
	if err := p.Validate(); err != nil {
		return Replayed{}, err
	}
	r.histories = make([]History, len(p.Metrics))
	if err := ReadEvidence(evidence, r.line); err != nil {
		return Replayed{}, err
	}
	if err := r.begin(); err != nil {
		return Replayed{}, err
	}
	r.out.Report = r.run.Report(step)
	return r.out, nil
}

type replay struct {
	policy    Policy
	step      int
	each      func(Look) error
	histories []History
	run       *Run // nil until the first line that is not history
	out       Replayed
}

func (r *replay) begin() (err error) {
	if r.run == nil {
		r.run, err = New(r.policy, r.histories)
	}
	return err
}

func (r *replay) line(number int, l EvidenceLine) error {
	i, err := r.policy.find(l.Metric)
	if err != nil {
		return err
	}
	m := r.policy.Metrics[i]
	b, err := l.Batch(m)
	if err != nil {
		return err
	}
	if l.History {
		if r.run != nil {
			return fmt.Errorf("it is history of %q after the run began, expected it first", l.Metric)
		}
		return r.histories[i].add(m, b)
	}
	if err := r.begin(); err != nil {
		return err
	}
	if l.Intervals {
		r.run.CountIntervals(i)
		return nil
	}
	if err := r.run.Update(i, b); err != nil {
		return err
	}
	return r.look(number, i, b.At)
}

func (r *replay) look(number, i int, at float64) error {
	r.out.Looks++
	canary, stable := r.run.metrics[i].sides()
	k := Look{
		Line: number, At: at, Metric: r.policy.Metrics[i].Name, Verdict: r.run.verdict(r.step),
		LogE: clip(r.run.logM), Own: clip(r.run.metrics[i].evidence()), Canary: canary, Stable: stable,
	}
	if k.Verdict != Inconclusive && r.out.Deciding == nil {
		r.out.Deciding = &k
	}
	if r.each == nil {
		return nil
	}
	return r.each(k)
}

// find is the index of a metric; an unknown name lists the known ones.
func (p Policy) find(name string) (int, error) {
	var known []string
	for i, m := range p.Metrics {
		if m.Name == name {
			return i, nil
		}
		known = append(known, m.Name)
	}
	return 0, fmt.Errorf("metric %q is not in the policy, expected one of %s", name, strings.Join(known, ", "))
}

// add takes a line of history in; one from before the run is a second.
func (h *History) add(m Metric, b Batch) error {
	second := b.At < 0
	b.At = max(b.At, 0)
	if err := b.check(0); err != nil {
		return err
	}
	s := b.Stable
	h.N += s.N
	h.Bad += s.Bad
	if m.Kind == Gauge {
		h.Values = append(h.Values, s.Value)
		return h.check(m)
	}
	h.Bins = sortedBins(append(h.Bins, s.Bins...))
	if second && (m.Kind == Latency || m.Kind == Amount) {
		h.Seconds = append(h.Seconds[max(0, len(h.Seconds)-clumpSeconds+1):], s.Bins)
	}
	for i, n := range s.Classes {
		if i < len(h.Classes) {
			h.Classes[i] += n
		} else {
			h.Classes = append(h.Classes, n)
		}
	}
	return h.check(m)
}
