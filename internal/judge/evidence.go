package judge

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
)

// EvidenceLine is one line of an evidence file: JSON lines, in the order of
// time for each metric.
type EvidenceLine struct {
	T      float64       `json:"t"` // seconds since the run began
	Metric string        `json:"metric"`
	Canary *EvidenceSide `json:"canary,omitempty"`
	Stable *EvidenceSide `json:"stable,omitempty"`
	Share  *float64      `json:"share,omitempty"` // routing mode; null: counts decide
	Slack  float64       `json:"slack,omitempty"` // of the odds of a share that is checked
	// History marks what stable did before the run; such lines come first. One with
	// a negative t is one of stable's seconds, oldest first; others are sums.
	History bool `json:"history,omitempty"`
	// Intervals says that from here on the metric is judged by intervals, since a
	// placebo found that its units fail together; the line has no counts.
	Intervals bool `json:"intervals,omitempty"`
	// Names are those of the classes.
	Names []string `json:"names,omitempty"`
}

// EvidenceSide is one version's part: n and bad, or values, or a histogram, or
// a gauge's value, or counts of classes.
type EvidenceSide struct {
	N       int64     `json:"n,omitempty"`
	Bad     int64     `json:"bad,omitempty"`
	Units   int64     `json:"units,omitempty"`  // users with a bad outcome in the line
	Firsts  int64     `json:"firsts,omitempty"` // of them, for the first time in the run
	Values  []float64 `json:"values,omitempty"`
	Bounds  []float64 `json:"bounds,omitempty"` // upper bounds, ascending
	Counts  []int64   `json:"counts,omitempty"` // values in each bucket; one more than bounds, or as many
	Value   *float64  `json:"value,omitempty"`
	Classes []int64   `json:"classes,omitempty"`
}

// maxEvidenceLine bounds one line of an evidence file.
const maxEvidenceLine = 8 << 20

// ReadEvidence calls each for every line of an evidence file. An error names
// the line's number.
func ReadEvidence(r io.Reader, each func(number int, l EvidenceLine) error) error {
	scan := bufio.NewScanner(r)
	scan.Buffer(make([]byte, 64<<10), maxEvidenceLine)
	number := 0
	for scan.Scan() {
		number++
		if len(bytes.TrimSpace(scan.Bytes())) == 0 {
			continue
		}
		l, err := parseEvidence(scan.Bytes())
		if err == nil {
			err = each(number, l)
		}
		if err != nil {
			return fmt.Errorf("evidence line %d: %w", number, err)
		}
	}
	if err := scan.Err(); err != nil {
		return fmt.Errorf("evidence line %d: %w", number+1, err)
	}
	return nil
}

func parseEvidence(line []byte) (EvidenceLine, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	var l EvidenceLine
	if err := d.Decode(&l); err != nil {
		return l, fmt.Errorf(`it is no evidence, expected {"t": seconds, "metric": name, "canary": {...}, "stable": {...}, "share": number or null}: %w`, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return l, errors.New("there is more than one value on the line")
	}
	if l.Metric == "" {
		return l, errors.New("it names no metric")
	}
	return l, nil
}

// Batch turns a line into a batch of a metric.
func (l EvidenceLine) Batch(m Metric) (Batch, error) {
	b := Batch{At: l.T, Canary: noSide(m.Kind), Stable: noSide(m.Kind), Names: l.Names, Slack: l.Slack}
	if l.Share != nil {
		if b.Share = *l.Share; !(b.Share > 0 && b.Share <= 1) {
			return b, fmt.Errorf("the share is %v, expected more than 0 and at most 1, or null where counts decide", b.Share)
		}
	}
	for _, s := range []struct {
		who  string
		from *EvidenceSide
		to   *Side
	}{{"canary", l.Canary, &b.Canary}, {"stable", l.Stable, &b.Stable}} {
		if s.from == nil {
			continue
		}
		side, err := s.from.side(m)
		if err != nil {
			return b, fmt.Errorf("%s: %w", s.who, err)
		}
		*s.to = side
	}
	return b, nil
}

func noSide(k Kind) Side {
	if k == Gauge {
		return Side{Value: math.NaN()}
	}
	return Side{}
}

func (s EvidenceSide) side(m Metric) (Side, error) {
	out := Side{N: s.N, Bad: s.Bad, Units: s.Units, Firsts: s.Firsts, Classes: s.Classes}
	switch m.Kind {
	case Latency, Amount, Mean, Drift:
		bins, err := s.bins(m)
		out.Bins = bins
		return out, err
	case Gauge:
		if s.Value == nil {
			return out, errors.New("a gauge needs a value")
		}
		out.Value = *s.Value
	case Category:
		if s.Classes == nil {
			return out, errors.New("a category needs classes, the count of each")
		}
	default:
		if s.Values != nil || s.Bounds != nil || s.Counts != nil || s.Value != nil || s.Classes != nil {
			return out, fmt.Errorf("kind %s needs n and bad", m.Kind)
		}
	}
	return out, nil
}

// bins counts values, or a histogram's buckets at the bins of their bounds.
func (s EvidenceSide) bins(m Metric) ([]BinCount, error) {
	switch {
	case s.Values != nil && s.Counts == nil && s.Bounds == nil:
		return valueBins(m.Kind, s.Values)
	case s.Counts != nil && s.Values == nil:
		return s.bucketBins(m.Kind)
	case s.N == 0 && s.Values == nil && s.Counts == nil:
		return sortedBins(nil), nil
	}
	return nil, fmt.Errorf("kind %s needs values, or bounds and counts", m.Kind)
}

func valueBins(k Kind, values []float64) ([]BinCount, error) {
	var counts []BinCount
	for i, v := range values {
		bin := BinOf(k, v)
		if bin < 0 {
			return nil, fmt.Errorf("value %d is %v, expected a number of 0 or more", i, v)
		}
		counts = append(counts, BinCount{Bin: bin, Count: 1})
	}
	return sortedBins(counts), nil
}

func (s EvidenceSide) bucketBins(k Kind) ([]BinCount, error) {
	if len(s.Counts) != len(s.Bounds) && len(s.Counts) != len(s.Bounds)+1 {
		return nil, fmt.Errorf("there are %d counts for %d bounds, expected as many or one more", len(s.Counts), len(s.Bounds))
	}
	var counts []BinCount
	for i, c := range s.Counts {
		if c < 0 || c > maxCount {
			return nil, fmt.Errorf("count %d is %d, expected 0 to %d", i, c, maxCount)
		}
		bin := int32(scaleBins - 1)
		if i < len(s.Bounds) {
			if !(s.Bounds[i] >= 0) || i > 0 && s.Bounds[i] <= s.Bounds[i-1] {
				return nil, fmt.Errorf("bound %d is %v, expected ascending numbers of 0 or more", i, s.Bounds[i])
			}
			bin = binUnder(k, s.Bounds[i])
		}
		counts = append(counts, BinCount{Bin: bin, Count: c})
	}
	return sortedBins(counts), nil
}

// sortedBins sorts bins and makes one of those that are the same.
func sortedBins(bins []BinCount) []BinCount {
	bins = slices.DeleteFunc(slices.Clone(bins), func(b BinCount) bool { return b.Count == 0 })
	slices.SortFunc(bins, func(a, b BinCount) int { return int(a.Bin - b.Bin) })
	var out []BinCount
	for _, b := range bins {
		if n := len(out); n > 0 && out[n-1].Bin == b.Bin {
			out[n-1].Count += b.Count
			continue
		}
		out = append(out, b)
	}
	return out
}

// LineOf is the line that a batch of a metric is exported as.
func LineOf(m Metric, b Batch) EvidenceLine {
	l := EvidenceLine{T: b.At, Metric: m.Name, Canary: sideOf(m, b.Canary), Stable: sideOf(m, b.Stable), Names: b.Names, Slack: b.Slack}
	if b.Share > 0 {
		share := b.Share
		l.Share = &share
	}
	return l
}

// LineOfHistory is what a metric's history is exported as: one line, or one for
// each sample of a gauge and for each second that is known apart.
func LineOfHistory(m Metric, h History) []EvidenceLine {
	if m.Kind == Gauge {
		var out []EvidenceLine
		for _, v := range h.Values {
			out = append(out, EvidenceLine{Metric: m.Name, History: true, Stable: &EvidenceSide{Value: &v}})
		}
		return out
	}
	s := Side{N: h.N, Bad: h.Bad, Bins: without(h.Bins, h.Seconds), Classes: h.Classes}
	out := []EvidenceLine{{Metric: m.Name, History: true, Stable: sideOf(m, s)}}
	for i, bins := range h.Seconds {
		out = append(out, EvidenceLine{T: float64(i - len(h.Seconds)), Metric: m.Name, History: true, Stable: sideOf(m, Side{Bins: bins})})
	}
	return out
}

// without is what bins hold beside those of the seconds.
func without(bins []BinCount, seconds [][]BinCount) []BinCount {
	if len(seconds) == 0 {
		return bins
	}
	left := map[int32]int64{}
	for _, s := range seconds {
		for _, b := range s {
			left[b.Bin] += b.Count
		}
	}
	var out []BinCount
	for _, b := range bins {
		if n := b.Count - left[b.Bin]; n > 0 {
			out = append(out, BinCount{Bin: b.Bin, Count: n})
		}
	}
	return out
}

func sideOf(m Metric, s Side) *EvidenceSide {
	switch m.Kind {
	case Latency, Amount, Mean, Drift:
		out := &EvidenceSide{}
		for _, b := range s.Bins {
			out.Bounds = append(out.Bounds, binTop(m.Kind, int(b.Bin)))
			out.Counts = append(out.Counts, b.Count)
		}
		return out
	case Gauge:
		if math.IsNaN(s.Value) {
			return nil
		}
		return &EvidenceSide{Value: &s.Value}
	case Category:
		return &EvidenceSide{Classes: append([]int64{}, s.Classes...)}
	}
	return &EvidenceSide{N: s.N, Bad: s.Bad, Units: s.Units, Firsts: s.Firsts}
}

// WriteEvidence writes one line.
func WriteEvidence(w io.Writer, l EvidenceLine) error {
	b, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("judge: evidence of %q cannot be written: %w", l.Metric, err)
	}
	_, err = w.Write(append(b, '\n'))
	return err
}
