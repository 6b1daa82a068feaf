package judge

import (
	"fmt"
	"math"
	"strings"
)

// placeboBar is the evidence at which a placebo has shown that units are not
// independent: 1 : 20.
var placeboBar = math.Log(20)

// HeedPlacebo looks at a placebo: a run of the same policy whose "canary" is a
// part of stable's own traffic, drawn with the same share. Evidence against it
// can only come from units that fail together. Every metric with such evidence
// that keeps intervals is judged by them from now on; their names are returned.
// The choice is made by stable's traffic alone, so the error probability stays.
func (r *Run) HeedPlacebo(placebo *Run) []string {
	var switched []string
	for i, m := range r.policy.Metrics {
		if i >= len(placebo.metrics) {
			break
		}
		mine, theirs := testedOf(r.metrics[i]), testedOf(placebo.metrics[i])
		if mine == nil || theirs == nil || mine.clusters.decides || mine.clusters.length <= 0 {
			continue
		}
		if unitEvidence(placebo.metrics[i]) >= placeboBar && r.CountIntervals(i) {
			switched = append(switched, m.Name)
		}
	}
	return switched
}

// testedOf finds what proportions and rates share; nil for other kinds.
func testedOf(p process) *tested {
	switch p := p.(type) {
	case *proportion:
		return &p.tested
	case *events:
		return &p.tested
	case *limited:
		return testedOf(p.process)
	}
	return nil
}

// unitEvidence is the evidence of the bets on single units, whatever counts.
func unitEvidence(p process) float64 {
	switch p := p.(type) {
	case *proportion:
		return p.labelBets.logM
	case *events:
		return p.bets.logM
	case *limited:
		return unitEvidence(p.process)
	}
	return 0
}

// PlaceboReport says what a placebo found: stable compared with itself under
// the canary's share. Evidence in it is a false alarm.
type PlaceboReport struct {
	LogE      float64  `json:"logE"`
	Threshold float64  `json:"threshold"`
	Alarm     bool     `json:"alarm"` // it would have failed the run
	Blame     []string `json:"blame,omitempty"`
	Canary    int64    `json:"canaryRequests"` // stable's requests that were labelled as the canary's
	Stable    int64    `json:"stableRequests"`
	// Intervals are the metrics that are judged by intervals from now on, since
	// their units fail together.
	Intervals []string `json:"intervals,omitempty"`
	Finding   string   `json:"finding"` // in words
}

// Placebo says what a placebo of this run found.
func (r *Run) Placebo(placebo *Run) *PlaceboReport {
	out := &PlaceboReport{
		LogE: clip(placebo.logM), Threshold: placebo.bar(), Alarm: placebo.failed,
		Intervals: r.byIntervals(),
	}
	if placebo.failed {
		out.LogE = clip(placebo.failLog)
	}
	for i, m := range placebo.policy.Metrics {
		if m.Kind != ShareCheck {
			c, s := placebo.metrics[i].sides()
			out.Canary, out.Stable = max(out.Canary, c), max(out.Stable, s)
		}
		if placebo.blamed[i] {
			out.Blame = append(out.Blame, m.Name)
		}
	}
	out.Finding = out.words()
	return out
}

// byIntervals lists the metrics whose intervals count though they did not from
// the start.
func (r *Run) byIntervals() []string {
	var out []string
	for i, m := range r.policy.Metrics {
		if t := testedOf(r.metrics[i]); t != nil && t.clusters.decides && !m.Clustered {
			out = append(out, m.Name)
		}
	}
	return out
}

func (p *PlaceboReport) words() string {
	if p.Canary == 0 || p.Stable == 0 {
		return "Stable was not compared with itself: that takes evidence that tells its single requests apart, or counters of at least two instances."
	}
	s := fmt.Sprintf("Stable was compared with itself, %s of its %s requests with the others: ", grouped(float64(p.Canary)), grouped(float64(p.Canary+p.Stable)))
	if p.Alarm {
		s += fmt.Sprintf("a false alarm by %s (%s), so that what is found there against the canary is to be doubted.", strings.Join(p.Blame, " and "), odds(p.LogE))
	} else {
		s += "no false alarm."
	}
	if len(p.Intervals) > 0 {
		s += fmt.Sprintf(" Requests of %s fail in bursts, so that intervals are judged there, not requests.", strings.Join(p.Intervals, " and "))
	}
	return s
}

// CountIntervals judges a metric by its intervals from now on, as HeedPlacebo
// does, with a proof that begins now; false: it keeps none, or they count already.
func (r *Run) CountIntervals(metric int) bool {
	if metric < 0 || metric >= len(r.metrics) {
		return false
	}
	t := testedOf(r.metrics[metric])
	if t == nil || t.clusters.decides || t.clusters.length <= 0 {
		return false
	}
	t.clusters.decides = true
	r.logM = r.combine()
	return true
}

// Record is the realised false alarms of a judge over runs of versions that
// turned out to be good (placebos).
type Record struct {
	Runs   int64 `json:"runs"`
	Alarms int64 `json:"alarms"`
	// Allowed is the sum of the runs' alphas: so many alarms are within what was
	// stated.
	Allowed float64 `json:"allowed"`
}

// Add takes more runs in.
func (r Record) Add(o Record) Record {
	return Record{Runs: r.Runs + o.Runs, Alarms: r.Alarms + o.Alarms, Allowed: r.Allowed + o.Allowed}
}

// Rate is the share of alarms with its always-valid interval; nil before the
// first run.
func (r Record) Rate() *Interval {
	if r.Runs <= 0 || r.Alarms < 0 || r.Alarms > r.Runs {
		return nil
	}
	low, high := rateInterval(r.Alarms, r.Runs, IntervalAlpha)
	return &Interval{Value: finite(float64(r.Alarms) / float64(r.Runs)), Low: finite(low), High: finite(high)}
}

// Alpha is the share of alarms that was stated, the mean over the runs.
func (r Record) Alpha() float64 {
	if r.Runs <= 0 {
		return 0
	}
	return r.Allowed / float64(r.Runs)
}

// Contradicted reports whether the alarms refute the stated share: their
// interval lies above it.
func (r Record) Contradicted() bool {
	rate := r.Rate()
	return rate != nil && rate.Low != nil && *rate.Low > r.Alpha()
}

// Words says what the record holds, in one or two sentences.
func (r Record) Words() string {
	rate := r.Rate()
	if rate == nil {
		return "No run with a placebo has ended yet."
	}
	runs, alarms := "runs", "false alarms"
	if r.Runs == 1 {
		runs = "run"
	}
	if r.Alarms == 1 {
		alarms = "false alarm"
	}
	s := fmt.Sprintf("%s %s in %s %s that compared stable with itself: %s, at most %s was stated; the interval is %s to %s.",
		grouped(float64(r.Alarms)), alarms, grouped(float64(r.Runs)), runs, percent(*rate.Value), percent(r.Alpha()),
		percent(*rate.Low), percent(math.Min(1, *rate.High)))
	if r.Contradicted() {
		s += " That is more than was stated: requests fail together in a way that the judge does not know, so that rollbacks are to be doubted."
	}
	return s
}
