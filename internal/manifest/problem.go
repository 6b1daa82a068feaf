package manifest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Problem is one thing that is wrong with a manifest.
type Problem struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`   // from 1; 0: not known
	Column int    `json:"column,omitempty"` // from 1, in characters
	Path   string `json:"path,omitempty"`   // spec.strategy.canary.steps[2].weight
	// Message says what is wrong and what was expected.
	Message string `json:"message"`
	// Hint says how to mend it; empty: the message does.
	Hint   string `json:"hint,omitempty"`
	Source string `json:"source,omitempty"` // the line itself
}

// Errors are all problems of a manifest, in the order of the file.
type Errors []Problem

// maxProblems is how many Error prints in full.
const maxProblems = 50

// Error prints every problem with its source line and a caret.
func (e Errors) Error() string {
	var b strings.Builder
	for i, p := range e {
		if i == maxProblems {
			fmt.Fprintf(&b, "\nand %d more problems", len(e)-maxProblems)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		p.write(&b)
	}
	return b.String()
}

// String is the problem in one line, without its source.
func (p Problem) String() string {
	var b strings.Builder
	p.head(&b)
	return b.String()
}

func (p Problem) head(b *strings.Builder) {
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(b, ":%d:%d", p.Line, p.Column)
		}
		b.WriteString(": ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
}

func (p Problem) write(b *strings.Builder) {
	p.head(b)
	if p.Source != "" {
		number := strconv.Itoa(p.Line)
		source, column := clip(p.Source, p.Column)
		fmt.Fprintf(b, "\n  %s | %s\n  %s | %s^", number, source,
			strings.Repeat(" ", len(number)), indent(source, column))
	}
	if p.Hint != "" {
		b.WriteString("\n  hint: " + p.Hint)
	}
}

// clip keeps a long line readable: what is around the column.
func clip(line string, column int) (string, int) {
	const before, width = 60, 120
	runes := []rune(line)
	if len(runes) <= width {
		return line, column
	}
	from := max(0, column-1-before)
	to := min(len(runes), from+width)
	return string(runes[from:to]), column - from
}

// indent is as wide as the line before the column, tabs kept.
func indent(line string, column int) string {
	var b strings.Builder
	for _, r := range line {
		if column--; column <= 0 {
			break
		}
		if r == '\t' {
			b.WriteByte('\t')
		} else {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

func (e Errors) sorted() Errors {
	slices.SortStableFunc(e, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return e
}

// printable shortens a value for a message.
func printable(s string) string {
	const most = 60
	if utf8.RuneCountInString(s) <= most {
		return strconv.Quote(s)
	}
	return strconv.Quote(string([]rune(s)[:most])) + "..."
}
