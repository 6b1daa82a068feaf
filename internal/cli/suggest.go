package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// known says what was perhaps meant, or lists what there is.
func known(what string, names []string, word string) string {
	if near := nearest(word, names); len(near) > 0 {
		return ": did you mean " + strings.Join(near, " or ") + "?"
	}
	const most = 12
	more := ""
	if len(names) > most {
		more = fmt.Sprintf(" and %d more", len(names)-most)
		names = names[:most]
	}
	return fmt.Sprintf(": %s are %s%s", what, strings.Join(names, ", "), more)
}

// nearest returns the names within two typing errors of the word (fewer for short
// names), or that begin with it, best first, at most three.
func nearest(word string, names []string) []string {
	type hit struct {
		name string
		far  int
	}
	var hits []hit
	word = strings.ToLower(word)
	for _, n := range names {
		d := distance(word, strings.ToLower(n))
		switch {
		case d <= min(2, (len([]rune(n))-1)/2) && word != "":
			hits = append(hits, hit{n, d})
		case len(word) >= 2 && strings.HasPrefix(strings.ToLower(n), word):
			hits = append(hits, hit{n, 3})
		}
	}
	slices.SortStableFunc(hits, func(a, b hit) int { return a.far - b.far })
	var out []string
	for _, h := range hits[:min(3, len(hits))] {
		out = append(out, h.name)
	}
	return out
}

// distance is the number of insertions, deletions, substitutions and swaps of
// neighbours between two words (optimal string alignment).
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	before, prev := make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(x); i++ {
		row := make([]int, len(y)+1)
		row[0] = i
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev = prev, row
	}
	return prev[len(y)]
}

func unknownCommand(cmd *cobra.Command, word string) error {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
			names = append(names, c.Aliases...)
		}
	}
	if near := nearest(word, names); len(near) > 0 {
		return usageError(fmt.Errorf("there is no command %q: did you mean %s?", word, strings.Join(near, " or ")))
	}
	return usageError(fmt.Errorf("there is no command %q: `%s help` lists them", word, self))
}

// flagError names the flag that was perhaps meant.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return usageError(fmt.Errorf("%w\n  `%s --help` shows how it is used", err, cmd.CommandPath()))
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	word := unknown.GetSpecifiedName()
	if near := nearest(word, names); unknown.GetSpecifiedShortnames() == "" && len(near) > 0 {
		return usageError(fmt.Errorf("%s has no flag --%s: did you mean --%s?", cmd.CommandPath(), word, strings.Join(near, " or --")))
	}
	return usageError(fmt.Errorf("%w\n  `%s --help` shows how it is used", err, cmd.CommandPath()))
}
