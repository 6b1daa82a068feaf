package web

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/status"
	"github.com/haldane-project/haldane/internal/store"
)

// Charts are drawn here as coordinates; the templates turn them into SVG, so
// that names in them are escaped like everything else. All times are of one
// axis: seconds since the run began.

const (
	series     = 6   // distinct lines in the style sheet
	maxPoints  = 240 // of one line
	plotLeft   = 52.0
	plotRight  = 704.0
	plotTop    = 26.0
	plotBottom = 190.0
	lineLeft   = 82.0 // charts of evidence have wider labels
	lineRight  = 640.0
)

// axis maps a value to a coordinate.
type axis struct{ from, to, low, high float64 }

func (a axis) at(v float64) float64 {
	if a.to <= a.from {
		return a.low
	}
	u := min(1, max(0, (v-a.from)/(a.to-a.from)))
	return a.low + u*(a.high-a.low)
}

// timeAxis covers a run from its start to the last moment shown.
func timeAxis(d chartData) axis {
	return axis{0, max(10, end(d).Sub(d.run.Started).Seconds()), plotLeft, plotRight}
}

// timeTicks are round times, four to seven of them.
func timeTicks(a axis) []tick {
	step := 1.0
	for _, c := range []float64{2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400, 7 * 86400} {
		if a.to/step <= 7 {
			break
		}
		step = c
	}
	var out []tick
	for t := 0.0; t <= a.to; t += step {
		text := "0"
		if t > 0 {
			text = status.Duration(time.Duration(t) * time.Second)
		}
		out = append(out, tick{a.at(t), text})
	}
	return out
}

// trafficChart is the canary's share over time: the wanted weight as a line
// over bands of steps, what was observed as dots, decisions as marks.
type trafficChart struct {
	Wanted, Area string // path data
	Dots         []point
	Bands        []band
	Marks        []mark
	X, Y         []tick
	Sentence     string
}

type point struct{ X, Y float64 }

type band struct {
	X, Width float64
	Text     string
	Odd      bool
}

type mark struct {
	X, Y    float64
	Number  int
	Warning bool
	Text    string
}

func newTrafficChart(d chartData) *trafficChart {
	x, y := timeAxis(d), axis{0, 100, plotBottom, plotTop}
	c := &trafficChart{X: timeTicks(x)}
	for _, p := range []float64{0, 25, 50, 75, 100} {
		c.Y = append(c.Y, tick{y.at(p), fmt.Sprintf("%.0f%%", p)})
	}
	line := stepLine(d)
	c.Wanted, c.Area = stepPath(line, x, y)
	for _, l := range thin(d.looks, maxPoints) {
		if l.Report.Canary > 0 || l.Seen > 0 {
			c.Dots = append(c.Dots, point{x.at(l.At.Sub(d.run.Started).Seconds()), y.at(100 * l.Seen)})
		}
	}
	c.Bands = bands(d, x)
	c.Marks = marks(d, x)
	c.Sentence = trafficSentence(d, line)
	return c
}

// level is the wanted weight from a time on.
type level struct {
	at     float64
	weight release.Weight
}

// stepLine is the wanted weight over time, as the looks recorded it and as the
// run ended.
func stepLine(d chartData) []level {
	out := []level{{0, 0}}
	add := func(t time.Time, w release.Weight) {
		if at := t.Sub(d.run.Started).Seconds(); w != out[len(out)-1].weight {
			out = append(out, level{at, w})
		}
	}
	for _, l := range d.looks {
		add(l.At, l.Weight)
	}
	switch {
	case !d.run.TrafficOff.IsZero():
		add(d.run.TrafficOff, 0)
	case d.run.Phase.Ended() && d.run.Phase != "Promoted":
		add(d.run.Ended, 0)
	case d.run.Phase == "Promoted" || d.run.Phase == "Baking" || d.run.Phase == "Finishing":
		at := d.run.Entered
		if at.IsZero() || d.run.Phase == "Promoted" {
			at = end(d)
		}
		add(at, release.Full)
	}
	return append(out, level{end(d).Sub(d.run.Started).Seconds(), out[len(out)-1].weight})
}

func stepPath(line []level, x, y axis) (path, area string) {
	var b strings.Builder
	for i, l := range line {
		px, py := x.at(l.at), y.at(float64(l.weight)/100)
		if i == 0 {
			fmt.Fprintf(&b, "M%.1f %.1f", px, py)
			continue
		}
		fmt.Fprintf(&b, "H%.1fV%.1f", px, py)
	}
	path = b.String()
	return path, fmt.Sprintf("%sV%.1fH%.1fZ", path, y.low, x.low)
}

// bands are the stretches of time in each step.
func bands(d chartData, x axis) []band {
	var out []band
	for i := 0; i < len(d.looks); {
		j := i
		for j < len(d.looks) && d.looks[j].Step == d.looks[i].Step {
			j++
		}
		stop := end(d)
		if j < len(d.looks) {
			stop = d.looks[j].At
		} else if !d.run.TrafficOff.IsZero() {
			stop = d.run.TrafficOff
		}
		from, to := x.at(d.looks[i].At.Sub(d.run.Started).Seconds()), x.at(stop.Sub(d.run.Started).Seconds())
		text := ""
		if to-from > 44 {
			text = fmt.Sprintf("step %d", d.looks[i].Step+1)
		}
		out = append(out, band{from, to - from, text, len(out)%2 == 1})
		i = j
	}
	return out
}

func marks(d chartData, x axis) []mark {
	var out []mark
	n, last, row := 0, -100.0, 0
	for _, e := range d.events {
		if e.Run != d.run.ID {
			continue
		}
		n++
		at := x.at(e.At.Sub(d.run.Started).Seconds())
		// Marks that would cover each other go down a row.
		if at-last < 16 {
			row++
		} else {
			row = 0
		}
		last = at
		if row > 6 {
			continue
		}
		out = append(out, mark{at, plotTop + 10 + 17*float64(row), n, e.Warning, e.Message})
	}
	return out
}

func trafficSentence(d chartData, line []level) string {
	var most release.Weight
	for _, l := range line {
		most = max(most, l.weight)
	}
	return fmt.Sprintf("Share of the traffic that %s got over %s: at most %s, at the end %s.",
		d.run.To.Name, status.Duration(end(d).Sub(d.run.Started)), status.Percent(most), status.Percent(line[len(line)-1].weight))
}

// lineChart is evidence over time, one line a metric, on a scale of odds.
type lineChart struct {
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

func newLineChart(d chartData, r reading) *lineChart {
	looks := thin(d.looks, maxPoints)
	c := &lineChart{Title: r.title}
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
	x, y := timeAxis(d), axis{0, top, plotBottom, plotTop}
	x.low, x.high = lineLeft, lineRight
	c.X, c.Y = timeTicks(x), oddsTicks(y)
	if limit > 0 {
		c.Limit, c.LimitText = y.at(limit), status.Odds(limit)
	}
	c.Lines = chartLines(d, looks, r, x, y)
	c.Sentence = lineSentence(d, r)
	spread(c.Lines)
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
func spread(lines []line) {
	const apart = 13
	order := make([]int, len(lines))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(lines[a].LabelY, lines[b].LabelY) })
	for k := 1; k < len(order); k++ {
		lines[order[k]].LabelY = max(lines[order[k]].LabelY, lines[order[k-1]].LabelY+apart)
	}
	floor := plotBottom + 4
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
