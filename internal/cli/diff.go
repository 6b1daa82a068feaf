package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/compare"
)

func newDiff(sh *shell) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "diff NAME",
		Short: "Show what the versions answered differently to copied requests",
		Long: `Shows how many answers to copied requests differed, how many of the old version's
own differed from each other (the noise), and the last pairs that differ, with
secrets masked. Lines of the old version begin with -, those of the new one with +.`,
		Example: `  haldane diff hello
  haldane diff hello -o json | jq '.pairs[].why'`,
		Args:              oneName,
		ValidArgsFunction: sh.releaseNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := sh.connect()
			if err != nil {
				return err
			}
			d, err := c.Differences(cmd.Context(), args[0])
			if err != nil {
				return sh.notFound(cmd.Context(), c, args[0], err)
			}
			if done, err := sh.object(d); done {
				return err
			}
			_, err = io.WriteString(sh.out, sh.differences(d, limit))
			return err
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 5, "most pairs to show")
	sh.outputFlag(cmd, "text", "json", "yaml")
	return cmd
}

func (sh *shell) differences(d client.Differences, limit int) string {
	var b strings.Builder
	n := d.Counts
	fmt.Fprintf(&b, "%s copies were answered, %s were not made for want of budget.\n", grouped(n.Copies), grouped(d.Dropped))
	fmt.Fprintf(&b, "%s of %s answers of the new version differ; %s of %s second answers of the old version do.\n",
		grouped(n.Differ), grouped(n.Compared), grouped(n.Noise), grouped(n.Again))
	for i, p := range d.Pairs {
		if i == limit {
			break
		}
		noisy := ""
		if p.Noisy {
			noisy = "; the old version differed from itself as well"
		}
		fmt.Fprintf(&b, "\n%s  %s %s: %s%s\n", p.At.Local().Format(time.DateTime), p.Method, sh.screen.text(p.Path), sh.screen.text(p.Why), noisy)
		left, right := compare.Lines(p.Answers[0], p.Answers[1])
		sh.side(&b, "-", left)
		sh.side(&b, "+", right)
	}
	return b.String()
}

// side writes the lines that one answer has for itself.
func (sh *shell) side(b *strings.Builder, mark string, lines []compare.Line) {
	for _, l := range lines {
		if l.Other {
			fmt.Fprintf(b, "  %s %s\n", mark, sh.screen.text(l.Text))
		}
	}
}
