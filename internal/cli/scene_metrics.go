package cli

import (
	"fmt"
	"math"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/status"
)

// metrics draws two lines for every metric: what was measured, and what that
// is worth as evidence.
func (sc scene) metrics(s screen) []string {
	if sc.look == nil {
		return nil
	}
	var out []string
	for _, m := range sc.look.Report.Metrics {
		out = append(out, sc.measured(s, m), sc.worth(s, m))
	}
	return out
}

// measured: name, both figures, the ratio with its interval, drawn.
func (sc scene) measured(s screen, m judge.MetricReport) string {
	sign := map[judge.Verdict]string{judge.Pass: s.glyph("✓", "+"), judge.Fail: s.glyph("✗", "x")}[m.Verdict]
	if sign == "" {
		sign = s.glyph("·", ".")
	}
	name := s.paint(verdictInk(string(m.Verdict)), sign+" ") + s.paint(strong, pad(s.text(m.Name), 9))
	figures := s.paint(stable, s.text(status.Figure(m, m.Stable))) + " " + s.glyph("→", "->") + " " + s.paint(canary, s.text(status.Figure(m, m.Canary)))
	what, ratio := "", m.Ratio
	switch {
	case ratio != nil && ratio.Value != nil:
		what = s.glyph("×", "x") + s.text(status.Interval(ratio))
	case m.Diff != nil && m.Diff.Value != nil:
		what = s.glyph("Δ", "diff ") + s.text(status.Interval(m.Diff)) + m.Unit
	}
	line := "  " + name + pad(figures, 36) + " " + pad(what, 20)
	if room := sc.fit(s) - lipgloss.Width(line) - 1; ratio != nil && ratio.Value != nil && room >= 15 {
		line += " " + plot(s, *ratio, min(room, 33))
	}
	return strings.TrimRight(line, " ")
}

// worth: evidence against the canary and for its being within the margin, each
// on its way to what a decision needs.
func (sc scene) worth(s screen, m judge.MetricReport) string {
	against := gauge(s, m.LogE, m.Threshold, bad) + " " + s.text(status.Odds(m.LogE)) + " of " + s.text(status.Odds(m.Threshold))
	line := "             against " + pad(against, 31)
	switch {
	case m.ProofThreshold <= 0:
		return line + s.paint(faint, s.text(m.Reason))
	case m.LogProof >= m.ProofThreshold:
		return line + " " + s.paint(good, "proven: "+s.text(orElse(m.Margin, "within the margin")))
	}
	proof := " proof " + gauge(s, m.LogProof, m.ProofThreshold, good)
	if m.MoreRequests != nil {
		proof += " " + sc.left(*m.MoreRequests)
	} else if !m.Required {
		proof += s.paint(faint, " not needed")
	}
	return line + proof
}

// left says how many requests are still expected, and how long they take.
func (sc scene) left(more float64) string {
	if math.IsInf(more, 0) || math.IsNaN(more) || more > 1e9 {
		return "no end in sight"
	}
	text := grouped(int64(math.Ceil(more))) + " to go"
	if sc.pace > 0 {
		text += " (" + status.Duration(time.Duration(max(more/sc.pace, 1)*float64(time.Second))) + ")"
	}
	return text
}

const gaugeCells = 10

// gauge draws how far evidence (in nats, so on a logarithmic scale) has come.
func gauge(s screen, have, need float64, i ink) string {
	part := 0.0
	if need > 0 {
		part = min(max(have/need, 0), 1)
	}
	full := int(part * gaugeCells)
	return s.glyph("▕", "[") + s.paint(i, strings.Repeat(s.glyph("█", "#"), full)) +
		s.paint(faint, strings.Repeat(s.glyph("░", "."), gaugeCells-full)) + s.glyph("▏", "]")
}

// plot draws an interval of a ratio on a logarithmic axis around 1: left is
// better than stable, right is worse.
func plot(s screen, r judge.Interval, cells int) string {
	cells -= (cells + 1) % 2 // odd, so that 1 has a cell
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
	edge := fmt.Sprintf("%.0f", math.Exp(reach))
	return s.paint(faint, "1/"+edge) + b.String() + s.paint(faint, edge)
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
