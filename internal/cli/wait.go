package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/haldane-project/haldane/internal/app"
	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/status"
)

// waiting holds the flags of commands that can wait for the end of a run.
type waiting struct {
	on         bool
	timeout    time.Duration
	goal       goal
	run        string
	version    string
	generation int64
}

func (w *waiting) flags(cmd *cobra.Command) {
	w.goal = goal{kind: "promoted"}
	cmd.Flags().BoolVar(&w.on, "wait", false, "wait for the end of the run; the exit code says how it ended")
	cmd.Flags().DurationVar(&w.timeout, "timeout", 0, "with --wait: longest time (0: none); exit code 3")
}

func newWait(sh *shell) *cobra.Command {
	w := waiting{on: true}
	var until string
	cmd := &cobra.Command{
		Use:   "wait NAME",
		Short: "Wait for the end of a run; the exit code says how it ended",
		Long: `Waits until the current run of a release has ended: exit code 0 when the new
version was promoted, 2 when it was rolled back or aborted, 3 when the time was
up, 6 when a newer version took its place. The run itself is not touched: Ctrl-C
and a time-out only end the waiting.

In a cluster the run that is waited for is that of the version which the
release's Deployment asks for now, though the controller has not yet seen it and
though an image keeps its tag: it is told by its content.`,
		Example: `  haldane wait hello --timeout 30m
  haldane wait hello --for step=2
  haldane apply -f release.yaml --wait || echo "not released"   # in a CI job`,
		Args:              oneName,
		ValidArgsFunction: sh.releaseNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			g, err := parseGoal(until)
			if err != nil {
				return usageError(err)
			}
			w.goal = g
			c, err := sh.connect()
			if err != nil {
				return err
			}
			r, err := c.Get(cmd.Context(), args[0])
			if err != nil {
				if g.kind == "deleted" && client.IsNotFound(err) {
					return nil
				}
				return sh.notFound(cmd.Context(), c, args[0], err)
			}
			w.generation = r.Generation
			if sh.onCluster() && w.run == "" && w.version == "" && g.kind != "deleted" {
				if w.version, err = app.Deployed(cmd.Context(), sh.cluster, args[0]); err != nil {
					return err
				}
			}
			return sh.waitFor(cmd.Context(), c, args[0], w)
		},
	}
	f := cmd.Flags()
	f.StringVar(&until, "for", "promoted", "what to wait for: promoted, ended, step=N, verdict=WORD, phase=WORD or deleted")
	f.DurationVar(&w.timeout, "timeout", 0, "longest time (0: none); exit code 3")
	f.StringVar(&w.run, "run", "", "the run to wait for (default: the current one)")
	f.StringVar(&w.version, "version", "", "wait for the run to this version, a name or a content hash (default: any; in a cluster the Deployment's)")
	must(cmd.RegisterFlagCompletionFunc("for", fixed("promoted", "ended", "step=", "verdict=Pass", "phase=Paused", "deleted")))
	return cmd
}

// waitFor follows a release, tells of every change, and returns the outcome as an exit code.
func (sh *shell) waitFor(ctx context.Context, c *client.Client, name string, w waiting) error {
	limited, cancel := ctx, func() {}
	if w.timeout > 0 {
		limited, cancel = context.WithTimeout(ctx, w.timeout)
	}
	defer cancel()
	say := sh.lines(sh.err, sh.talk)
	ch := chase{c: c, name: name, run: w.run, version: w.version, generation: w.generation, goal: w.goal}
	out, err := ch.until(limited, say.change)
	switch {
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		sh.say("%s after %s the time is up; the run goes on: `%s watch %s` follows it.", sh.paint(warn, "haldane:"), status.Duration(w.timeout), self, name)
		return &silent{exitTimeout}
	case err != nil:
		return sh.comeBack(ctx, name, err)
	}
	fmt.Fprintln(sh.out, sh.screen.text(out.sentence))
	if out.code != exitOK {
		return &silent{out.code}
	}
	return nil
}

// comeBack says, when a person left with Ctrl-C, that nothing was stopped.
func (sh *shell) comeBack(ctx context.Context, name string, err error) error {
	if ctx.Err() == nil || !errors.Is(err, context.Canceled) {
		return err
	}
	sh.say("\nLeft; the run goes on. `%s watch %s` comes back, `%s abort %s` takes the new version off.", self, name, self, name)
	return &silent{exitInterrupt}
}

// detached: the end of ctx is how following is meant to end.
func detached(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}
