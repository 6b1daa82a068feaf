package cli

import (
	"time"

	"github.com/spf13/cobra"
)

func newAudit(sh *shell) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Show who asked for what",
		Example: `  haldane audit
  haldane audit --limit 1000 -o json`,
		Args: noNames,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := sh.connect()
			if err != nil {
				return err
			}
			lines, err := c.Audit(cmd.Context(), limit)
			if err != nil {
				return err
			}
			if done, err := sh.object(asList(lines)); done {
				return err
			}
			g := &grid{head: []string{"TIME", "WHO", "FROM", "ACTION", "RELEASE", "DETAIL"}}
			for _, l := range lines {
				g.add(l.At.Local().Format(time.DateTime), sh.screen.text(l.Actor.Subject), sh.screen.text(l.Actor.From),
					l.Action, dash(l.Release), sh.screen.text(dash(l.Detail)))
			}
			return g.write(sh.out, sh.screen)
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 100, "most lines to show")
	sh.outputFlag(cmd, "table", "json", "yaml")
	return cmd
}
