package cli

import (
	"io"
	"os"
	"strings"

	"charm.land/lipgloss/v2"
	"golang.org/x/term"
)

// screen says how to draw on one stream.
type screen struct {
	terminal bool
	color    bool
	unicode  bool
	width    int // cells; 0: not a terminal
}

// ink is what a colour means. Meaning is never carried by colour alone.
type ink int

const (
	plain  ink = iota
	strong     // bold
	faint
	good
	bad
	warn
	stable // blue, the version that serves
	canary // orange, the version that is tried
)

// The palette: blue and orange for the two versions, apart for colour-blind eyes too.
var inks = map[ink]lipgloss.Style{
	strong: lipgloss.NewStyle().Bold(true),
	faint:  lipgloss.NewStyle().Foreground(lipgloss.Color("245")),
	good:   lipgloss.NewStyle().Foreground(lipgloss.Color("36")),
	bad:    lipgloss.NewStyle().Bold(true).Foreground(lipgloss.Color("203")),
	warn:   lipgloss.NewStyle().Foreground(lipgloss.Color("220")),
	stable: lipgloss.NewStyle().Foreground(lipgloss.Color("39")),
	canary: lipgloss.NewStyle().Foreground(lipgloss.Color("208")),
}

// screenOf looks at a stream, the --color flag and the environment
// (NO_COLOR, CLICOLOR_FORCE, TERM, LC_ALL, LC_CTYPE, LANG).
func screenOf(w io.Writer, color string) screen {
	s := screen{terminal: isTerminal(w), unicode: utf8Locale()}
	if f, ok := w.(*os.File); ok && s.terminal {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			s.width = width
		}
	}
	switch {
	case color == "always":
		s.color = true
	case color == "never":
	case os.Getenv("NO_COLOR") != "":
	case forced(os.Getenv("CLICOLOR_FORCE")):
		s.color = true
	default:
		s.color = s.terminal && os.Getenv("TERM") != "dumb"
	}
	return s
}

func forced(v string) bool { return v != "" && v != "0" }

// utf8Locale follows POSIX: the first of the three that is set decides.
func utf8Locale() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := os.Getenv(name); v != "" {
			v = strings.ToLower(v)
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return false
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (s screen) paint(i ink, text string) string {
	if !s.color || i == plain || text == "" {
		return text
	}
	return inks[i].Render(text)
}

// glyph returns the sign, or its ASCII twin where the locale has no UTF-8.
func (s screen) glyph(sign, ascii string) string {
	if s.unicode {
		return sign
	}
	return ascii
}

// asciiTwins maps what messages may contain to what every terminal shows.
var asciiTwins = strings.NewReplacer(
	"µ", "u", "∞", "inf", "…", "...", "×", "x", "→", "->", "≤", "<=", "≥", ">=", "–", "-", "·", "|", "−", "-")

// text makes a sentence that came from elsewhere fit for the screen: no
// control characters, no bytes that the locale cannot show.
func (s screen) text(t string) string {
	t = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if r < ' ' || (r >= 0x7f && r < 0xa0) {
			return -1
		}
		return r
	}, t)
	if s.unicode {
		return t
	}
	return strings.Map(func(r rune) rune {
		if r > '~' {
			return '?'
		}
		return r
	}, asciiTwins.Replace(t))
}
