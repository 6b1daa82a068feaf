package web

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/status"
)

// trafficChart is the canary's share over time: the wanted weight as a line
// over bands of steps, what was observed as dots, decisions as marks.
type trafficChart struct {
	plot
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

func newTrafficChart(d chartData, p plot) *trafficChart {
	wanted := stepLine(d)
	top := topShare(d, wanted)
	x, y := timeAxis(d, p), axis{0, top, p.Bottom, p.Top}
	c := &trafficChart{plot: p, X: timeTicks(x)}
	for _, part := range []float64{0, 0.25, 0.5, 0.75, 1} {
		c.Y = append(c.Y, tick{y.at(part * top), strconv.FormatFloat(part*top, 'f', -1, 64) + "%"})
	}
	c.Wanted, c.Area = stepPath(wanted, x, y)
	for _, l := range thin(d.looks, int(p.W/4)) {
		// Late answers after the traffic went off would show as a share of nothing.
		if l.Weight > 0 && (l.Report.Canary > 0 || l.Seen > 0) {
			c.Dots = append(c.Dots, point{x.at(l.At.Sub(d.run.Started).Seconds()), y.at(100 * l.Seen)})
		}
	}
	c.Bands = bands(d, x)
	c.Marks = marks(d, x, p)
	c.Sentence = trafficSentence(d, wanted)
	return c
}

// topShare is the end of the scale, in percent: small weights would be lost on
// one that always ends at 100 %.
func topShare(d chartData, wanted []level) float64 {
	most := 0.0
	for _, l := range wanted {
		most = max(most, float64(l.weight)/100)
	}
	for _, l := range d.looks {
		if l.Weight > 0 {
			most = max(most, 100*l.Seen)
		}
	}
	for _, top := range []float64{4, 20, 40} {
		if most <= top*0.8 {
			return top
		}
	}
	return 100
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

func marks(d chartData, x axis, p plot) []mark {
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
		out = append(out, mark{at, p.Top + 10 + 17*float64(row), n, e.Warning, e.Message})
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
