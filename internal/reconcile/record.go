package reconcile

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
)

const (
	// exactFor is how many seconds of a run are recorded batch by batch, so that a
	// replay repeats the judge's arithmetic to the last digit. Later ones are
	// merged between two saves: a replay then learns a second at a time.
	exactFor = 60
	// mostBatches bounds what waits while nothing can be saved: beyond it batches
	// are merged too. Gauges, one batch a second, never are.
	mostBatches = 4096
)

// record is the evidence that the judge took in since the last save. It is
// saved with the judge's state, in one write.
type record struct {
	metrics []judge.Metric
	history []judge.EvidenceLine // what the judge began from, until it is saved
	batches []recorded
}

type recorded struct {
	metric.Sample
	sealed    bool // nothing is merged into it
	intervals bool // no batch: from here on the metric is judged by intervals
}

func newRecord(p judge.Policy) *record { return &record{metrics: p.Metrics} }

// begin records stable's history.
func (r *record) begin(histories []judge.History) {
	for i, h := range histories {
		r.history = append(r.history, judge.LineOfHistory(r.metrics[i], h)...)
	}
}

// add records one reading. That of a deciding look stays by itself.
func (r *record) add(samples []metric.Sample, deciding bool) {
	for _, x := range samples {
		if !deciding && (x.Batch.At > exactFor || len(r.batches) >= mostBatches) && r.merge(x) {
			continue
		}
		r.batches = append(r.batches, recorded{Sample: x, sealed: deciding || x.Batch.At <= exactFor && len(r.batches) < mostBatches})
	}
}

// countIntervals records that metrics are judged by intervals from now on.
func (r *record) countIntervals(names []string) {
	for i, m := range r.metrics {
		if slices.Contains(names, m.Name) {
			r.batches = append(r.batches, recorded{Sample: metric.Sample{Metric: i}, sealed: true, intervals: true})
		}
	}
}

// merge adds a sample to the last one of its metric and reports whether it
// could. Only in the routing mode is the sum of two batches worth what they are.
func (r *record) merge(x metric.Sample) bool {
	for i := range slices.Backward(r.batches) {
		last := &r.batches[i]
		if last.Metric != x.Metric {
			continue
		}
		a, b := &last.Batch, &x.Batch
		if last.sealed || b.Share == 0 || a.Share != b.Share || a.Slack != b.Slack || r.metrics[x.Metric].Kind == judge.Gauge {
			return false
		}
		a.At, a.Canary, a.Stable = b.At, sum(a.Canary, b.Canary), sum(a.Stable, b.Stable)
		return true
	}
	return false
}

// sum is both sides together; neither is changed.
func sum(a, b judge.Side) judge.Side {
	out := judge.Side{N: a.N + b.N, Bad: a.Bad + b.Bad, Units: a.Units + b.Units, Firsts: a.Firsts + b.Firsts, Bins: sumBins(a.Bins, b.Bins)}
	if len(a.Classes) < len(b.Classes) {
		a, b = b, a
	}
	out.Classes = slices.Clone(a.Classes)
	for i, n := range b.Classes {
		out.Classes[i] += n
	}
	return out
}

// sumBins merges two sorted lists of bins.
func sumBins(a, b []judge.BinCount) []judge.BinCount {
	out := make([]judge.BinCount, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].Bin < b[0].Bin:
			out, a = append(out, a[0]), a[1:]
		case a[0].Bin > b[0].Bin:
			out, b = append(out, b[0]), b[1:]
		default:
			out = append(out, judge.BinCount{Bin: a[0].Bin, Count: a[0].Count + b[0].Count})
			a, b = a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// lines is all that is not saved yet, as JSON lines.
func (r *record) lines() ([]byte, error) {
	var out bytes.Buffer
	for _, l := range r.history {
		if err := judge.WriteEvidence(&out, l); err != nil {
			return nil, fmt.Errorf("record stable's history: %w", err)
		}
	}
	for _, x := range r.batches {
		line := judge.LineOf(r.metrics[x.Metric], x.Batch)
		if x.intervals {
			line = judge.EvidenceLine{Metric: line.Metric, Intervals: true}
		}
		if err := judge.WriteEvidence(&out, line); err != nil {
			return nil, fmt.Errorf("record the evidence: %w", err)
		}
	}
	return out.Bytes(), nil
}

// saved forgets what was saved.
func (r *record) saved() {
	r.history = nil
	clear(r.batches)
	r.batches = r.batches[:0]
}
