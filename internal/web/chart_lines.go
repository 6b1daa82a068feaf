package web

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/status"
	"github.com/haldane-project/haldane/internal/store"
)

// lineChart is evidence over time, one line a metric, on a scale of odds.
type lineChart struct {
	plot
	Title, Sentence string
	Lines           []line
	X, Y            []tick
	Limit           float64 // y of the threshold; 0: none
	LimitText       string
}

type line struct {
	Name   string
	Path   string
	Series int
	X, Y   float64 // of its end
	LabelY float64
	All    bool // the metrics together
}

// reading picks a metric's evidence out of a look, in nats.
type reading struct {
	title string
	value func(judge.MetricReport) float64
	all   func(judge.Report) (value, limit float64)
	limit func(judge.MetricReport) float64
	keep  func(judge.MetricReport) bool
}

var worseLines = reading{
	title: "Evidence that the new version is worse",
	value: func(m judge.MetricReport) float64 { return m.LogE },
	all:   func(r judge.Report) (float64, float64) { return r.LogE, r.Threshold },
	limit: func(judge.MetricReport) float64 { return 0 },
	keep:  func(judge.MetricReport) bool { return true },
}

var proofLines = reading{
	title: "Evidence that it is within the margin",
	value: func(m judge.MetricReport) float64 { return m.LogProof },
	all:   func(judge.Report) (float64, float64) { return 0, 0 },
	limit: func(m judge.MetricReport) float64 { return m.ProofThreshold },
	keep:  func(m judge.MetricReport) bool { return m.Required },
}

func newLineChart(d chartData, r reading, p plot) *lineChart {
	looks := thin(d.looks, maxPoints)
	c := &lineChart{plot: p, Title: r.title}
	_, limit := r.all(*d.report)
	top := limit
	for _, m := range d.report.Metrics {
		if r.keep(m) {
			limit = max(limit, r.limit(m))
		}
	}
	top = max(top, limit)
	for _, l := range looks {
		all, _ := r.all(l.Report)
		top = max(top, all)
		for _, m := range l.Report.Metrics {
			if r.keep(m) {
				top = max(top, r.value(m))
			}
		}
	}
	top = max(top*1.12, math.Log(10))
	x, y := timeAxis(d, p), axis{0, top, p.Bottom, p.Top}
	c.X, c.Y = timeTicks(x), oddsTicks(y)
	if limit > 0 {
		c.Limit, c.LimitText = y.at(limit), "decides at "+status.Odds(limit)
	}
	c.Lines = chartLines(d, looks, r, x, y)
	c.Sentence = lineSentence(d, r)
	spread(c.Lines, p.Bottom)
	return c
}

func chartLines(d chartData, looks []store.Look, r reading, x, y axis) []line {
	var out []line
	add := func(name string, n int, all bool, value func(judge.Report) (float64, bool)) {
		l := line{Name: name, Series: n % series, All: all}
		var b strings.Builder
		for _, look := range looks {
			v, ok := value(look.Report)
			if !ok || math.IsNaN(v) {
				continue
			}
			l.X, l.Y = x.at(look.At.Sub(d.run.Started).Seconds()), y.at(v)
			op := "L"
			if b.Len() == 0 {
				op = "M"
			}
			fmt.Fprintf(&b, "%s%.1f %.1f", op, l.X, l.Y)
		}
		l.Path, l.LabelY = b.String(), l.Y
		if l.Path != "" {
			out = append(out, l)
		}
	}
	for i, m := range d.report.Metrics {
		if !r.keep(m) {
			continue
		}
		add(m.Name, i, false, func(rep judge.Report) (float64, bool) {
			for _, x := range rep.Metrics {
				if x.Name == m.Name {
					return r.value(x), true
				}
			}
			return 0, false
		})
	}
	if _, limit := r.all(*d.report); limit > 0 && len(d.report.Metrics) > 1 {
		add("all", 0, true, func(rep judge.Report) (float64, bool) { v, _ := r.all(rep); return v, true })
	}
	return out
}

// spread moves the labels at the ends of lines apart, from the top down.
func spread(lines []line, bottom float64) {
	const apart = 13
	order := make([]int, len(lines))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(lines[a].LabelY, lines[b].LabelY) })
	for k := 1; k < len(order); k++ {
		lines[order[k]].LabelY = max(lines[order[k]].LabelY, lines[order[k-1]].LabelY+apart)
	}
	floor := bottom + 2
	for k := len(order) - 1; k >= 0; k-- {
		l := &lines[order[k]]
		l.LabelY = min(l.LabelY, floor)
		floor = l.LabelY - apart
	}
}

// oddsTicks are powers of ten, at most six of them.
func oddsTicks(y axis) []tick {
	top := y.to / math.Ln10
	step := max(1, math.Ceil(top/6))
	var out []tick
	for p := 0.0; p <= top; p += step {
		text := "1 : 1"
		switch {
		case p > 6:
			text = fmt.Sprintf("1 : 10^%.0f", p)
		case p > 0:
			text = "1 : " + count(int64(math.Pow(10, p)))
		}
		out = append(out, tick{y.at(p * math.Ln10), text})
	}
	return out
}

func lineSentence(d chartData, r reading) string {
	var parts []string
	for _, m := range d.report.Metrics {
		if r.keep(m) {
			parts = append(parts, m.Name+" "+status.Odds(r.value(m)))
		}
	}
	return r.title + ", at the end: " + strings.Join(parts, ", ") + "."
}
