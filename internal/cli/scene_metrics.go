package cli

import (
	"math"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/status"
)

// The columns of the metrics, in cells.
const (
	nameCells   = 10
	figureCells = 18
	ratioCells  = 19
	leastPlot   = 15
	mostPlot    = 33
)

// metrics draws two lines for every metric: what was measured, and what that
// is worth as evidence.
func (sc scene) metrics(s screen) []string {
	if sc.look == nil || len(sc.look.Report.Metrics) == 0 {
		return nil
	}
	out := []string{sc.metricHead(s)}
	for _, m := range sc.look.Report.Metrics {
		out = append(out, sc.measured(s, m), sc.worth(s, m))
	}
	return append(out, sc.checks(s)...)
}

// checks says what the checks of the comparison itself found, and what could mislead.
func (sc scene) checks(s screen) []string {
	var out []string
	placebo, division := status.Checks(sc.look.Report)
	texts := []string{placebo, division}
	if run := sc.rel.Status.Run; run != nil {
		for _, c := range run.Caveats {
			texts = append(texts, "Mind: "+c)
		}
	}
	for _, text := range texts {
		if text == "" {
			continue
		}
		for _, line := range strings.Split(lipgloss.Wrap(s.text(text), max(sc.fit(s)-4, 20), ""), "\n") {
			out = append(out, "    "+s.paint(faint, line))
		}
	}
	return out
}

// plotCells is the room for drawn intervals; 0: too little.
func (sc scene) plotCells(s screen) int {
	room := sc.fit(s) - 4 - nameCells - 2*figureCells - ratioCells
	if room < leastPlot {
		return 0
	}
	room = min(room, mostPlot)
	return room - (room+1)%2 // odd, so that 1 has a cell
}

func (sc scene) metricHead(s screen) string {
	from, to := "stable", "canary"
	if run := sc.rel.Status.Run; run != nil {
		from, to = orElse(s.text(run.From), from), s.text(run.To)
	}
	line := strings.Repeat(" ", 4+nameCells) + s.paint(stable, pad(clip(from, figureCells-1, s), figureCells)) +
		s.paint(canary, pad(clip(to, figureCells-1, s), figureCells)) + s.paint(faint, pad("ratio", ratioCells))
	if n := sc.plotCells(s); n > 0 {
		side := n/2 - 1
		line += s.paint(faint, pad("better", side)+" 1 "+strings.Repeat(" ", side-len("worse"))+"worse")
	}
	return strings.TrimRight(line, " ")
}

// measured: name, both figures, the ratio with its interval, drawn.
func (sc scene) measured(s screen, m judge.MetricReport) string {
	sign := map[judge.Verdict]string{judge.Pass: s.glyph("✓", "+"), judge.Fail: s.glyph("✗", "x")}[m.Verdict]
	if sign == "" {
		sign = s.glyph("·", ".")
	}
	i := verdictInk(string(m.Verdict))
	what := ""
	switch {
	case m.Ratio != nil && m.Ratio.Value != nil:
		what = status.Interval(m.Ratio)
	case m.Diff != nil && m.Diff.Value != nil:
		what = status.Difference(m)
	}
	name := clip(s.text(m.Name), nameCells-1, s)
	line := "  " + s.paint(i, sign) + " " + s.paint(strong, name) + strings.Repeat(" ", nameCells-lipgloss.Width(name)) +
		pad(s.text(status.Figure(m, m.Stable)), figureCells) + pad(s.text(status.Figure(m, m.Canary)), figureCells) + pad(s.text(what), ratioCells)
	if n := sc.plotCells(s); n > 0 && m.Ratio != nil && m.Ratio.Value != nil {
		line += plot(s, *m.Ratio, n)
	}
	return strings.TrimRight(line, " ")
}

// worth: evidence against the canary, and for its being within the margin, each
// on its way to what a decision needs.
func (sc scene) worth(s screen, m judge.MetricReport) string {
	cells := 10
	if sc.fit(s) < 92 {
		cells = 6
	}
	odds := status.Odds(m.LogE) + " of " + strings.TrimPrefix(status.Odds(m.Threshold), "1 : ")
	line := strings.Repeat(" ", 4+nameCells) + s.paint(faint, "against ") + gauge(s, m.LogE, m.Threshold, cells, bad) + " " + pad(s.text(odds), 17)
	switch {
	case m.ProofThreshold <= 0 || m.Verdict == judge.Fail:
		return strings.TrimRight(line, " ")
	case m.LogProof >= m.ProofThreshold:
		return line + s.paint(good, s.glyph("✓ ", "+ ")+"proven: "+s.text(orElse(m.Margin, "within the margin")))
	}
	line += s.paint(faint, "for ") + gauge(s, m.LogProof, m.ProofThreshold, cells, good)
	switch {
	case !m.Required:
		return line + s.paint(faint, " not needed")
	case m.MoreRequests != nil:
		return line + " " + left(m)
	}
	return line
}

// left says how many requests are still expected, and how long they take.
func left(m judge.MetricReport) string {
	more := *m.MoreRequests
	if math.IsInf(more, 0) || math.IsNaN(more) || more > 1e9 {
		return "no end in sight"
	}
	text := grouped(int64(math.Ceil(more))) + " to go"
	if s := m.MoreSeconds; s != nil && *s < 1e9 {
		text += " (" + status.Duration(time.Duration(max(*s, 1)*float64(time.Second))) + ")"
	}
	return text
}

// gauge draws how far evidence (in nats, so on a logarithmic scale) has come.
func gauge(s screen, have, need float64, cells int, i ink) string {
	part := 0.0
	if need > 0 {
		part = min(max(have/need, 0), 1)
	}
	full := int(part * float64(cells))
	return s.glyph("▕", "[") + s.paint(i, strings.Repeat(s.glyph("█", "#"), full)) +
		s.paint(faint, strings.Repeat(s.glyph("░", "."), cells-full)) + s.glyph("▏", "]")
}

// plot draws an interval of a ratio on a logarithmic axis around 1: left is
// better than stable, right is worse. The axis reaches from 1/4 to 4, and from
// 1/16 to 16 where the ratio is beyond that.
func plot(s screen, r judge.Interval, cells int) string {
	reach := math.Log(4)
	if v := math.Abs(math.Log(max(*r.Value, 1e-9))); v > reach {
		reach = math.Log(16)
	}
	mid := cells / 2
	at := func(x float64) int {
		if x <= 0 {
			return 0
		}
		return min(max(mid+int(math.Round(math.Log(x)/reach*float64(mid))), 0), cells-1)
	}
	low, high := 0, cells-1
	if r.Low != nil {
		low = at(*r.Low)
	}
	if r.High != nil {
		high = at(*r.High)
	}
	point := at(*r.Value)
	var b strings.Builder
	for i := range cells {
		switch {
		case i == point:
			b.WriteString(s.paint(canary, s.glyph("●", "o")))
		case i == mid:
			b.WriteString(s.paint(strong, s.glyph("┼", "|")))
		case i >= low && i <= high:
			b.WriteString(s.paint(canary, s.glyph("━", "=")))
		default:
			b.WriteString(s.paint(faint, s.glyph("─", "-")))
		}
	}
	return b.String()
}

// pad fills a text, which may carry colour, to a number of cells.
func pad(text string, cells int) string {
	return text + strings.Repeat(" ", max(0, cells-lipgloss.Width(text)))
}

func truncate(text string, cells int, mark string) string { return ansi.Truncate(text, cells, mark) }

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
