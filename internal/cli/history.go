package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/status"
)

func newHistory(sh *shell) *cobra.Command {
	var limit int
	var run string
	var evidence bool
	cmd := &cobra.Command{
		Use:   "history NAME",
		Short: "List the runs of a release, newest first",
		Long: `Lists the runs of a release, newest first.

With --run and --evidence it prints what the judge took in during that run, one
JSON object a line; 'haldane judge replay' judges it again, by the same policy or
another one.`,
		Example: `  haldane history hello
  haldane history hello --run hello-2 --evidence > evidence.jsonl
  haldane history hello -o json | jq '.items[0].status.metrics'`,
		Args:              oneName,
		ValidArgsFunction: sh.releaseNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if evidence != (run != "") {
				return usageError(errors.New("--evidence needs the name of a run and --run is for --evidence; 'haldane history NAME' lists the runs"))
			}
			c, err := sh.connect()
			if err != nil {
				return err
			}
			if evidence {
				return sh.evidence(cmd.Context(), c, args[0], run)
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
	cmd.Flags().StringVar(&run, "run", "", "name of one run (with --evidence)")
	cmd.Flags().BoolVar(&evidence, "evidence", false, "print what the judge took in during the run, as JSON lines")
	sh.outputFlag(cmd, "table", "json", "yaml")
	return cmd
}

// evidence prints what the judge took in during a run of a release.
func (sh *shell) evidence(ctx context.Context, c *client.Client, name, run string) error {
	r, err := c.Run(ctx, run)
	if err != nil {
		return err
	}
	if r.Release != name {
		return &coded{exitBadInput, fmt.Errorf("run %s is of release %s, not of %s", run, r.Release, name)}
	}
	e, err := c.Evidence(ctx, run)
	if err != nil {
		return err
	}
	defer e.Close()
	n, err := io.Copy(sh.out, e)
	switch {
	case err != nil:
		return fmt.Errorf("read the evidence of run %s: it broke off after %d bytes: %w", run, n, err)
	case n == 0:
		return fmt.Errorf("no evidence of run %s is kept: it compared nothing, or newer runs have taken its place", run)
	case e.Cut:
		return fmt.Errorf("the evidence of run %s was more than is kept: its end is missing", run)
	}
	return nil
}
