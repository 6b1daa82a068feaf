package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/haldane-project/haldane/internal/status"
)

// outputFlag registers -o with the formats that a command has; the first is the
// default. It wraps RunE, so it comes last.
func (sh *shell) outputFlag(cmd *cobra.Command, formats ...string) {
	format := cmd.Flags().StringP("output", "o", formats[0], "format: "+strings.Join(formats, ", "))
	must(cmd.RegisterFlagCompletionFunc("output", fixed(formats...)))
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !slices.Contains(formats, *format) {
			return usageError(fmt.Errorf("-o is %q%s", *format, known("formats", formats, *format)))
		}
		sh.output = *format
		return run(cmd, args)
	}
}

// listed is how lists look in JSON and YAML.
type listed[T any] struct {
	Items []T `json:"items"`
}

func asList[T any](items []T) listed[T] {
	if items == nil {
		items = []T{}
	}
	return listed[T]{items}
}

// object writes the API's own object as JSON or YAML and reports whether the format is one of them.
func (sh *shell) object(v any) (bool, error) {
	switch sh.output {
	case "json":
		e := json.NewEncoder(sh.out)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return true, e.Encode(v)
	case "yaml":
		b, err := yaml.Marshal(v)
		if err != nil {
			return true, fmt.Errorf("write YAML: %w", err)
		}
		_, err = sh.out.Write(b)
		return true, err
	}
	return false, nil
}

// grid is a table of columns whose widths are counted in cells of the screen.
type grid struct {
	head  []string
	rows  [][]string
	right map[int]bool // columns that are aligned right
}

func (g *grid) add(cells ...string) { g.rows = append(g.rows, cells) }

// write prints the grid; a cell may carry colour, the last column is not padded.
func (g *grid) write(w io.Writer, s screen) error {
	all := g.rows
	if g.head != nil {
		head := make([]string, len(g.head))
		for i, h := range g.head {
			head[i] = s.paint(faint, h)
		}
		all = append([][]string{head}, all...)
	}
	var widths []int
	for _, row := range all {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], lipgloss.Width(c))
		}
	}
	var b strings.Builder
	for _, row := range all {
		var line strings.Builder
		for i, c := range row {
			gap := strings.Repeat(" ", widths[i]-lipgloss.Width(c))
			if g.right[i] {
				c = gap + c
			} else {
				c += gap
			}
			if i > 0 {
				line.WriteString("   ")
			}
			line.WriteString(c)
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// age writes how long ago a moment is: "3 min 12 s".
func age(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := max(now.Sub(t), 0)
	if d > 48*time.Hour {
		return fmt.Sprintf("%d d", int(d.Hours()/24))
	}
	return status.Duration(d)
}

// dash stands for nothing in a table.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// grouped writes a count with thin groups of three: "28 114".
func grouped(n int64) string {
	s := fmt.Sprint(n)
	neg := strings.HasPrefix(s, "-")
	s = strings.TrimPrefix(s, "-")
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	if neg {
		return "-" + s
	}
	return s
}

// phaseInk is the colour of a phase.
func phaseInk(phase string) ink {
	switch phase {
	case "Idle", "Promoted":
		return good
	case "RolledBack", "Aborted", "RollingBack", "Blocked":
		return bad
	case "Paused", "Superseded":
		return warn
	}
	return canary
}

// verdictInk is the colour of a verdict.
func verdictInk(v string) ink {
	switch v {
	case "Pass":
		return good
	case "Fail":
		return bad
	}
	return plain
}
