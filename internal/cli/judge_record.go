package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/haldane-project/haldane/internal/status"
)

func newJudgeRecord(sh *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "record",
		Short: "Show how often the judge raised a false alarm",
		Long: `Beside every run stable is compared with itself: a part of its requests under the
canary's share with the rest or, in a cluster, half of the instances with the
others. What is found there is a false alarm, or stable's instances are not alike:
so often would a good version have been rolled back. This prints how often that came in all runs that have ended, with its
always-valid interval and the chance that was stated (analysis.falseRollback).
Exit code 1 when the record contradicts what was stated.`,
		Example: `  haldane judge record
  haldane judge record -o json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return usageError(errors.New("judge record takes no argument: it is of all releases"))
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := sh.connect()
			if err != nil {
				return err
			}
			r, err := c.Record(cmd.Context())
			if err != nil {
				return err
			}
			done, err := sh.object(r)
			if err != nil {
				return err
			}
			if !done && r.Rate != nil {
				g := &grid{head: []string{"RUNS", "FALSE ALARMS", "SHARE", "INTERVAL", "STATED"}, right: map[int]bool{0: true, 1: true}}
				g.add(grouped(r.Runs), grouped(r.Alarms), status.Share(*r.Rate.Value),
					status.Share(*r.Rate.Low)+" to "+status.Share(*r.Rate.High), "at most "+status.Share(r.Alpha()))
				if err := g.write(sh.out, sh.screen); err != nil {
					return err
				}
			}
			if !done {
				fmt.Fprintln(sh.out, sh.screen.text(r.Message))
			}
			if r.Contradicted {
				return &silent{exitError}
			}
			return nil
		},
	}
	sh.outputFlag(cmd, "table", "json", "yaml")
	return cmd
}
