package cli

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/haldane-project/haldane/internal/status"
)

func newHistory(sh *shell) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "history NAME",
		Short: "List the runs of a release, newest first",
		Example: `  haldane history hello
  haldane history hello -o json | jq '.items[0].status.metrics'`,
		Args:              oneName,
		ValidArgsFunction: sh.releaseNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := sh.connect()
			if err != nil {
				return err
			}
			runs, err := c.Runs(cmd.Context(), args[0], limit)
			if err != nil {
				return sh.notFound(cmd.Context(), c, args[0], err)
			}
			if done, err := sh.object(asList(runs)); done {
				return err
			}
			if len(runs) == 0 {
				sh.say("%s has had no run yet.", args[0])
				return nil
			}
			g := &grid{head: []string{"RUN", "FROM", "TO", "RESULT", "STARTED", "TOOK", "CANARY REQUESTS", "AGAINST CANARY", "WHY"}, right: map[int]bool{6: true}}
			now := time.Now()
			for _, r := range runs {
				s := r.Status
				took := now.Sub(s.Started.Time)
				if s.Ended != nil {
					took = s.Ended.Sub(s.Started.Time)
				}
				g.add(r.Name, dash(s.From), s.To, sh.screen.paint(phaseInk(s.Phase), s.Phase),
					s.Started.Local().Format(time.DateTime), status.Duration(took),
					grouped(s.CanaryRequests), dash(s.Evidence), sh.screen.text(dash(s.Why)))
			}
			return g.write(sh.out, sh.screen)
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "most runs to list")
	sh.outputFlag(cmd, "table", "json", "yaml")
	return cmd
}
