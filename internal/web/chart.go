package web

import "fmt"

// Charts are drawn here as coordinates; the templates turn them into SVG, so
// that names in them are escaped like everything else. All times are of one
// axis: seconds since the run began.

const (
	series    = 6   // distinct lines in the style sheet
	maxPoints = 240 // of one line
)

// plot is the size of a chart and of the field that lines are drawn in. Text
// keeps its size, so phones get a drawing of their own.
type plot struct{ W, H, Left, Right, Top, Bottom float64 }

var (
	wideTraffic   = plot{1100, 232, 44, 1090, 26, 204}
	narrowTraffic = plot{340, 200, 38, 332, 26, 174}
	wideLines     = plot{540, 220, 66, 462, 12, 190}
	narrowLines   = plot{340, 190, 62, 276, 12, 162}
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
func timeAxis(d chartData, p plot) axis {
	return axis{0, max(2, end(d).Sub(d.run.Started).Seconds()), p.Left, p.Right}
}

// timeTicks are round times, as many as there is room for.
func timeTicks(a axis) []tick {
	room := (a.high - a.low) / 75
	step := 1.0
	for _, c := range []float64{2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400, 7 * 86400} {
		if a.to/step <= room {
			break
		}
		step = c
	}
	var out []tick
	for t := 0.0; t <= a.to; t += step {
		if x := a.at(t); x <= a.high-8 || t == 0 {
			out = append(out, tick{x, elapsed(int(t), int(step))})
		}
	}
	return out
}

// elapsed writes a time since the start in the unit of its step.
func elapsed(t, step int) string {
	switch {
	case t == 0:
		return "0"
	case step >= 86400:
		return fmt.Sprintf("%d d", t/86400)
	case step >= 3600:
		return fmt.Sprintf("%d h", t/3600)
	case step >= 60 && t < 3600:
		return fmt.Sprintf("%d min", t/60)
	case step >= 60:
		return fmt.Sprintf("%d:%02d h", t/3600, t/60%60)
	case t < 60:
		return fmt.Sprintf("%d s", t)
	}
	return fmt.Sprintf("%d:%02d", t/60, t%60)
}
