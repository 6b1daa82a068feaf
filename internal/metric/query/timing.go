package query

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
)

// Timing tells when the samples were taken that a bound query reads. A query that
// is asked more often than its series are scraped gives one sample again and
// again, and one over a range gives the same seconds again: neither is new
// evidence (Step).
type Timing struct {
	// Oldest and Newest are queries of the oldest and the newest sample that is
	// current, in seconds since 1970.
	Oldest, Newest string
	// All is one query of the value and of both times: series that have the label
	// Part, with the values PartValue, PartOldest and PartNewest.
	All string
	// Window is the longest range that the query looks back over; 0: none.
	Window time.Duration
}

// The parts of the answer to Timing.All.
const (
	Part       = "haldane_part"
	PartValue  = "value"
	PartOldest = "oldest"
	PartNewest = "newest"
)

// TimingOf is the timing of a query with its variables' values in it.
func TimingOf(bound string) (Timing, error) {
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(bound)
	if err != nil {
		return Timing{}, fmt.Errorf("query %q is not PromQL: %w", bound, err)
	}
	var t Timing
	var series []string
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			if text := n.String(); !slices.Contains(series, text) {
				series = append(series, text)
			}
		case *parser.MatrixSelector:
			t.Window = max(t.Window, n.Range)
		case *parser.SubqueryExpr:
			t.Window = max(t.Window, n.Range)
		}
		return nil
	})
	if len(series) == 0 {
		return Timing{}, errors.New("query " + bound + " reads no series, so it tells nothing of a version")
	}
	t.Oldest, t.Newest = timestamps("min", series), timestamps("max", series)
	value := expr.String()
	if expr.Type() == parser.ValueTypeScalar {
		value = "vector(" + value + ")"
	}
	t.All = labelled(value, Part, PartValue) + " or " + labelled(t.Oldest, Part, PartOldest) + " or " + labelled(t.Newest, Part, PartNewest)
	return t, nil
}

// timestamps is a query of the least or the largest time of the samples of series.
func timestamps(of string, series []string) string {
	var each []string
	for i, s := range series {
		each = append(each, labelled(of+"(timestamp("+s+"))", "selector", fmt.Sprint(i)))
	}
	return of + "(" + strings.Join(each, " or ") + ")"
}

func labelled(promql, label, value string) string {
	return fmt.Sprintf(`label_replace(%s, %q, %q, "", "")`, promql, label, value)
}

// Span is when the samples behind one version's value were taken, in seconds
// since 1970; the zero value: there are none.
type Span struct{ Oldest, Newest float64 }

// Step is the last pair of values of a level that was evidence. The zero value:
// there was none.
type Step struct {
	At     float64    `json:"at"`     // seconds since 1970: when it was evaluated
	Newest [2]float64 `json:"newest"` // sample behind it, of either version
}

// shortest is how far two values are apart that are two pieces of evidence; a
// second, with room for a clock that ticks unevenly.
const shortest = 0.9

// Next reports whether values that were evaluated at some time are new evidence,
// and steps on to them if so: all samples behind them are newer than all behind
// the last ones, and no range reaches back beyond those.
func (s *Step) Next(at time.Time, window time.Duration, spans [2]Span) bool {
	for i, x := range spans {
		if x.Newest > 0 && x.Oldest <= s.Newest[i] {
			return false
		}
	}
	t := float64(at.UnixMilli()) / 1000
	if spans == [2]Span{} || t-s.At < max(shortest, window.Seconds()) {
		return false
	}
	*s = Step{At: t, Newest: [2]float64{spans[0].Newest, spans[1].Newest}}
	return true
}
