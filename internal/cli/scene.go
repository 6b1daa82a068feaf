package cli

import (
	"fmt"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/status"
	"github.com/haldane-project/haldane/internal/store"
)

// scene is one release at one moment, as describe and the live view draw it.
type scene struct {
	rel    v1alpha1.Release
	look   *store.Look // the newest of the current run; nil: none
	events []store.StoredEvent
	now    time.Time
}

// width of a scene: neither too narrow to read nor wider than an eye follows.
const (
	narrowest = 60
	usual     = 100
	widest    = 110
)

func (sc scene) fit(s screen) int {
	if s.width == 0 { // a pipe or a file
		return usual
	}
	return min(max(s.width, narrowest), widest)
}

// head is the title, the sentence, the split and the steps.
func (sc scene) head(s screen) []string {
	w := sc.fit(s)
	out := []string{sc.title(s, w)}
	ink := plain
	if sc.rel.Status.Phase == "RolledBack" || sc.rel.Status.Phase == "Blocked" {
		ink = bad
	}
	for line := range strings.SplitSeq(lipgloss.Wrap(s.text(dash(sc.rel.Status.Message)), w-2, ""), "\n") {
		out = append(out, "  "+s.paint(ink, line))
	}
	if bar := sc.split(s, w); bar != "" {
		out = append(out, "", bar)
	}
	if steps := sc.steps(s); steps != "" {
		out = append(out, steps)
	}
	return out
}

func (sc scene) title(s screen, w int) string {
	st := sc.rel.Status
	left := s.paint(strong, sc.rel.Name) + "  " + s.paint(phaseInk(st.Phase), dash(st.Phase))
	right := ""
	if run := st.Run; run != nil {
		end := sc.now
		if run.Ended != nil {
			end = run.Ended.Time
		}
		left += "  " + sc.route(s)
		right = s.paint(faint, run.Name+" "+s.glyph("·", "|")+" "+status.Duration(end.Sub(run.Started.Time)))
	}
	return left + strings.Repeat(" ", max(2, w-lipgloss.Width(left)-lipgloss.Width(right))) + right
}

// route names the two versions of the run: "v1 → v2".
func (sc scene) route(s screen) string {
	run := sc.rel.Status.Run
	to := s.paint(canary, s.text(run.To))
	if run.From == "" {
		return to
	}
	return s.paint(stable, s.text(run.From)) + " " + s.glyph("→", "->") + " " + to
}

// split draws who gets which share of the traffic.
func (sc scene) split(s screen, w int) string {
	st := sc.rel.Status
	if st.Stable == nil {
		return ""
	}
	if st.Canary == nil || st.Canary.ID == st.Stable.ID {
		return "  traffic  " + s.paint(stable, strings.Repeat(s.glyph("█", "="), max(10, w-24))+" "+s.text(st.Stable.Name)+" 100%")
	}
	share := percentOf(st.Weight)
	left, right := s.text(st.Stable.Name)+" ", " "+s.text(st.Canary.Name)+" "+st.Weight
	seen := ""
	if sc.look != nil && sc.look.Seen > 0 {
		seen = s.paint(faint, "  seen "+status.Share(sc.look.Seen))
	}
	room := max(10, w-11-lipgloss.Width(left+right)-lipgloss.Width(seen))
	mine := int(share*float64(room) + 0.5)
	if share > 0 {
		mine = max(mine, 1)
	}
	if share < 1 {
		mine = min(mine, room-1)
	}
	return "  traffic  " + s.paint(stable, left+strings.Repeat(s.glyph("█", "="), room-mine)) +
		s.paint(canary, strings.Repeat(s.glyph("▒", "#"), mine)+right) + seen
}

// steps draws the plan: done, now, to come.
func (sc scene) steps(s screen) string {
	run := sc.rel.Status.Run
	if run == nil || len(run.Steps) == 0 || run.From == "" {
		return ""
	}
	at := stepOf(sc.rel.Status)
	left := run.Phase == "RollingBack" || run.Phase == "RolledBack" || run.Phase == "Aborted"
	if left && sc.look != nil {
		at = sc.look.Step
	}
	var parts []string
	for i, weight := range run.Steps {
		switch {
		case run.Phase == "Promoted" || run.Phase == "Baking" || run.Phase == "Finishing" || i < at:
			parts = append(parts, s.paint(good, s.glyph("✓", "+")+" "+weight))
		case i == at && left:
			parts = append(parts, s.paint(bad, s.glyph("✗", "x")+" "+weight))
		case i == at && sc.rel.Status.Canary != nil && run.Phase == "Progressing":
			parts = append(parts, s.paint(canary, s.glyph("●", "*")+" "+weight))
		default:
			parts = append(parts, s.paint(faint, s.glyph("○", ".")+" "+weight))
		}
	}
	line := "  steps    " + strings.Join(parts, s.paint(faint, s.glyph(" ── ", " -- ")))
	if run.Phase == "Baking" {
		line += s.paint(faint, s.glyph(" ── ", " -- ")) + s.paint(canary, s.glyph("●", "*")+" bake")
	}
	return line
}

// stepOf is the index of the current step; -1: none.
func stepOf(st v1alpha1.ReleaseStatus) int {
	var n int
	if _, err := fmt.Sscanf(st.Step, "%d/", &n); err != nil {
		return -1
	}
	return n - 1
}

// percentOf reads a weight such as "10%" as a share of 1.
func percentOf(text string) float64 {
	var x float64
	if _, err := fmt.Sscanf(text, "%g", &x); err != nil {
		return 0
	}
	return min(max(x/100, 0), 1)
}

// log draws the newest events in at most n lines; a long message takes several.
func (sc scene) log(s screen, n int) []string {
	const indent = 30
	var out []string
	w := sc.fit(s) - indent
	for i := len(sc.events) - 1; i >= 0 && len(out) < n; i-- {
		e := sc.events[i]
		reason := pad(clip(s.text(e.Reason), 17, s), 18)
		if e.Warning {
			reason = s.paint(warn, reason)
		}
		text := s.text(e.Message)
		if e.By != "" && e.By != "haldane" {
			text += " (by " + s.text(e.By) + ")"
		}
		var lines []string
		for j, line := range strings.Split(lipgloss.Wrap(text, w, ""), "\n") {
			if j == 0 {
				line = "  " + s.paint(faint, e.At.Local().Format(time.TimeOnly)) + "  " + reason + line
			} else {
				line = strings.Repeat(" ", indent) + line
			}
			lines = append(lines, line)
		}
		if len(out)+len(lines) > n {
			break
		}
		out = append(lines, out...)
	}
	return out
}

// legend explains the picture.
func legend(s screen) []string {
	text := []string{
		"against  evidence that the new version is worse, as odds: at the figure on the right it is rolled back",
		"for      evidence that it is within the margin; when the bar is full that is proven",
		"[a, b]   interval that holds at every look at once: looking often does not make it wrong",
		s.glyph("━●━", "=o=") + "      the same, drawn; left of 1 is better than stable, right is worse",
		"seen     share of the requests that really went to the new version, lately",
	}
	for i, line := range text {
		text[i] = "  " + s.paint(faint, line)
	}
	return text
}

// clip cuts a line at a number of cells.
func clip(text string, cells int, s screen) string {
	if cells <= 0 || lipgloss.Width(text) <= cells {
		return text
	}
	mark := s.glyph("…", "...")
	return truncate(text, cells, mark)
}
