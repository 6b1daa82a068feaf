package cli

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/manifest"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/sim"
	"github.com/haldane-project/haldane/internal/status"
)

func newPlan(sh *shell) *cobra.Command {
	var file string
	var rate float64
	cmd := &cobra.Command{
		Use:   "plan -f FILE",
		Short: "Say in words what applying a manifest would do",
		Long: `Says what would happen: which run would start, its steps, and what each of them
needs. A daemon that answers is asked what there is now; without one the release
is taken as a new one.`,
		Example: `  haldane plan -f release.yaml
  haldane plan -f release.yaml --rate 200    # and how long it takes at 200 requests a second`,
		Args: noNames,
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := sh.readManifest(file)
			if err != nil {
				return err
			}
			obj, rel, err := manifest.Parse(m.shown, m.bytes, manifest.WithDir(filepath.Dir(m.path)))
			if err != nil {
				return &coded{exitBadInput, err}
			}
			c, err := sh.connect()
			if err != nil {
				return err
			}
			a, err := c.Apply(cmd.Context(), obj.Name, m.bytes, client.ApplyOptions{DryRun: true, File: m.path})
			var down *client.Unreachable
			switch {
			case errors.As(err, &down):
				sh.say("No daemon answers at %s: this is the plan for a release that is new.", down.Server)
				a.Plan = status.Plan(rel, nil)
			case err != nil:
				return m.refused(err)
			}
			for _, s := range a.Plan {
				fmt.Fprintln(sh.out, sh.screen.text(s))
			}
			if rate == 0 {
				return nil
			}
			return sh.expect(rel, rate)
		},
	}
	manifestFlag(cmd, &file)
	cmd.Flags().Float64Var(&rate, "rate", 0, "requests a second, to say how long a run takes (0: do not)")
	return cmd
}

const planned = 200 // simulated runs, enough for a median

// expect says how long a run to a version as good as stable takes.
func (sh *shell) expect(rel release.Release, rate float64) error {
	t, err := sim.ParseTruth(nil)
	if err != nil {
		return err
	}
	r, err := sim.Chances(rel, t, rate, planned, 1)
	if err != nil {
		return usageError(err)
	}
	if r.ToPromotion.Runs == 0 {
		fmt.Fprintf(sh.out, "At %g requests a second no simulated run to a version as good as stable was promoted. %s\n", rate, sh.screen.text(r.Waits))
		return nil
	}
	fmt.Fprintf(sh.out, "At %g requests a second a version as good as stable (1 %% errors, median 100 ms) is promoted after about %s, 9 in 10 within %s, with %s canary requests.\n",
		rate, spanOf(r.ToPromotion, r.ToPromotion.P50), spanOf(r.ToPromotion, r.ToPromotion.P90), count(r.CanaryRequests.P50))
	return nil
}
