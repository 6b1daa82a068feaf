package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/rollout"
)

// asking is a command that records a person's wish.
type asking struct {
	sh      *shell
	reason  string
	run     string
	wait    waiting
	version string
}

// newAsk builds such a command; verb is asked when it runs.
func newAsk(sh *shell, cmd *cobra.Command, verb func() rollout.Verb) (*cobra.Command, *asking) {
	a := &asking{sh: sh}
	cmd.Args = oneName
	cmd.ValidArgsFunction = sh.releaseNames
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := sh.connect()
		if err != nil {
			return err
		}
		return a.ask(cmd.Context(), c, args[0], verb())
	}
	cmd.Flags().StringVar(&a.reason, "reason", "", "why, for the history")
	cmd.Flags().StringVar(&a.run, "run", "", "only if this run is still the current one, such as hello-7")
	a.wait.flags(cmd)
	return cmd, a
}

const answerSeconds = 20

func (a *asking) ask(ctx context.Context, c *client.Client, name string, verb rollout.Verb) error {
	ans, err := c.Ask(ctx, name, client.Ask{Verb: verb, Run: a.run, Version: a.version, Reason: a.reason, WaitSeconds: answerSeconds})
	if err != nil {
		return a.sh.notFound(ctx, c, name, err)
	}
	switch {
	case !ans.Answered:
		a.sh.say("%s: recorded, and not yet done: `%s events %s` shows when it is.", name, self, name)
	case !ans.Done:
		return fmt.Errorf("%s: %s", name, a.sh.talk.text(ans.Message))
	default:
		a.sh.say("%s: %s", name, a.sh.talk.text(ans.Message))
	}
	if !a.wait.on {
		return nil
	}
	return a.sh.waitFor(ctx, c, name, a.wait)
}

func newPause(sh *shell) *cobra.Command {
	cmd, _ := newAsk(sh, &cobra.Command{
		Use:     "pause NAME",
		Short:   "Hold the run where it is; a failing version is still taken off",
		Example: `  haldane pause hello --reason "lunch"`,
	}, func() rollout.Verb { return rollout.AskPause })
	return cmd
}

func newResume(sh *shell) *cobra.Command {
	cmd, _ := newAsk(sh, &cobra.Command{
		Use:     "resume NAME",
		Short:   "Let a paused run go on",
		Example: `  haldane resume hello`,
	}, func() rollout.Verb { return rollout.AskResume })
	return cmd
}

func newAbort(sh *shell) *cobra.Command {
	cmd, _ := newAsk(sh, &cobra.Command{
		Use:   "abort NAME",
		Short: "Take the new version's traffic away at once",
		Long: `Takes the new version's traffic away at once, in every phase, and stops it.
It asks nothing: it is always the safe thing to do.`,
		Example: `  haldane abort hello --reason "customers complain"`,
	}, func() rollout.Verb { return rollout.AskAbort })
	return cmd
}

func newRetry(sh *shell) *cobra.Command {
	cmd, _ := newAsk(sh, &cobra.Command{
		Use:     "retry NAME",
		Short:   "Try the version again that was rolled back or aborted",
		Example: `  haldane retry hello --wait`,
	}, func() rollout.Verb { return rollout.AskRetry })
	return cmd
}

func newPromote(sh *shell) *cobra.Command {
	var full, yes bool
	cmd, a := newAsk(sh, &cobra.Command{
		Use:   "promote NAME",
		Short: "Go one step on, or to all of the traffic, without waiting for the evidence",
		Long: `Goes one step on without waiting for the evidence, and answers a gate that
waits for a person. With --full all of the traffic goes to the new version.`,
		Example: `  haldane promote hello
  haldane promote hello --full --reason "hotfix"`,
	}, func() rollout.Verb {
		if full {
			return rollout.AskPromoteFull
		}
		return rollout.AskPromote
	})
	cmd.Flags().BoolVar(&full, "full", false, "to all of the traffic")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := sh.connect()
		if err != nil {
			return err
		}
		verb := rollout.AskPromote
		if full {
			verb = rollout.AskPromoteFull
			r, err := c.Get(cmd.Context(), args[0])
			if err != nil {
				return sh.notFound(cmd.Context(), c, args[0], err)
			}
			sh.say("%s", sh.talk.text(r.Status.Message))
			if isTerminal(sh.in) && isTerminal(sh.err) {
				if err := sh.confirm(yes, "Send all of the traffic to the new version now, without waiting for more evidence?"); err != nil {
					return err
				}
			}
		}
		return a.ask(cmd.Context(), c, args[0], verb)
	}
	return cmd
}

func newRollback(sh *shell) *cobra.Command {
	cmd, a := newAsk(sh, &cobra.Command{
		Use:     "rollback NAME",
		Aliases: []string{"undo"},
		Short:   "Go back to an earlier version",
		Long: `Goes back to the version that was stable before, or with --to to another
earlier one (` + "`haldane history NAME`" + ` lists them). To stop a run that is under way,
use abort: it is faster.`,
		Example: `  haldane rollback hello
  haldane rollback hello --to v1 --wait`,
	}, func() rollout.Verb { return rollout.AskRollback })
	cmd.Flags().StringVar(&a.version, "to", "", "version to go back to (name or ID)")
	return cmd
}
