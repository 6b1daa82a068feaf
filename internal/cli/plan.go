package cli

import (
	"context"
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

// planned is what plan says.
type planned struct {
	Plan     []string         `json:"plan"`
	Expected *sim.Expectation `json:"expected,omitempty"`
	From     string           `json:"from,omitempty"` // the run that stable's figures are from
}

func newPlan(sh *shell) *cobra.Command {
	var file string
	var k stableFlags
	cmd := &cobra.Command{
		Use:   "plan -f FILE",
		Short: "Say in words what applying a manifest would do",
		Long: `Says what would happen: which run would start, its steps, and what each of them
needs. A daemon that answers is asked what there is now; without one the release
is taken as a new one.

With --rate, --errors or --latency it also says, before anything is started, how
long a good version takes, the smallest regression that each step finds with a
chance of 90 %, and what a slower ramp would save. It simulates the manifest's own
plan with the real judge. What is not given is taken from the newest run of the
release where a daemon answers; otherwise errors are 1 % and latencies log-normal
around 100 ms.`,
		Example: `  haldane plan -f release.yaml
  haldane plan -f release.yaml --rate 200 --errors 1%
  haldane plan -f release.yaml --rate 200 --errors 0.1% --latency 80ms --spread 0.4
  haldane plan -f release.yaml --rate 200 -o json | jq '.expected.steps[] | {weight, seconds, errors}'`,
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
				a.Plan, c = status.Plan(rel, nil), nil
			case err != nil:
				return m.refused(err)
			}
			out := planned{Plan: a.Plan}
			if k.asked(cmd) {
				if err := sh.expect(cmd.Context(), c, rel, k, &out); err != nil {
					return err
				}
			}
			return sh.plan(out)
		},
	}
	manifestFlag(cmd, &file)
	f := cmd.Flags()
	f.StringVar(&k.rate, "rate", "", "requests a second, such as `200`")
	f.StringVar(&k.errors, "errors", "", "share of stable's requests that fail, such as `1%`")
	f.StringVar(&k.latency, "latency", "", "median of stable's answers, such as `80ms`")
	f.StringVar(&k.spread, "spread", "", "standard deviation of the latencies' logarithm, such as `0.5`")
	sh.outputFlag(cmd, "table", "json", "yaml")
	return cmd
}

// simulatedAhead is how many runs each figure of a plan is from: enough to be
// within some percent, in seconds.
const simulatedAhead = 100

// expect adds what the plan will take and find.
func (sh *shell) expect(ctx context.Context, c *client.Client, rel release.Release, k stableFlags, out *planned) error {
	past, err := pastOf(ctx, c, rel.Name)
	if err != nil {
		return err
	}
	out.From = past.run
	rate, t, err := k.over(past)
	if err != nil {
		return usageError(err)
	}
	e, err := sim.Expect(rel, t, rate, simulatedAhead, 1)
	if err != nil {
		return &coded{exitBadInput, err}
	}
	out.Expected = &e
	return nil
}

func (sh *shell) plan(p planned) error {
	if done, err := sh.object(p); done {
		return err
	}
	for _, s := range p.Plan {
		fmt.Fprintln(sh.out, sh.screen.text(s))
	}
	if p.Expected == nil {
		return nil
	}
	fmt.Fprintln(sh.out)
	return sh.ahead(*p.Expected, p.From)
}

// ahead prints what the plan will take and find.
func (sh *shell) ahead(e sim.Expectation, from string) error {
	t := e.Truth
	if from != "" {
		from = ", as far as not given from run " + sh.screen.text(from)
	}
	sh.say("Stable: %s errors, a median of %s with a spread of %g%s.", status.Share(t.StableErrors), status.Seconds(t.StableLatency.Seconds()), t.Spread, from)
	for _, a := range e.Assumed {
		sh.say("Assumed: %s.", sh.screen.text(a))
	}
	if len(e.Steps) == 0 && e.ToPromotion.Runs == 0 {
		fmt.Fprintf(sh.out, "At %g requests a second no simulated run to a version as good as stable was promoted. %s\n", e.Rate, sh.screen.text(e.Waits))
		return nil
	}
	g := &grid{head: []string{"STEP", "WEIGHT", "LEFT AFTER", "CANARY REQUESTS", "ERRORS FOUND FROM", "LATENCY FOUND FROM"}, right: map[int]bool{3: true}}
	for i, s := range e.Steps {
		g.add(fmt.Sprint(i+1), status.Percent(s.Weight), secondsOf(s.Seconds), count(s.Canary), foundFrom(s.Errors, status.Share), foundFrom(s.Latency, status.Seconds))
	}
	if err := g.write(sh.out, sh.screen); err != nil {
		return err
	}
	fmt.Fprintf(sh.out, "What is found is rolled back, with a chance of 90 %%, before a good version would leave the step.\n\n")
	fmt.Fprintf(sh.out, "At %g requests a second a version as good as stable is promoted after about %s, 9 in 10 within %s, with %s canary requests.\n",
		e.Rate, spanOf(e.ToPromotion, e.ToPromotion.P50), spanOf(e.ToPromotion, e.ToPromotion.P90), count(e.CanaryRequests.P50))
	if s := e.Slower; s != nil {
		fmt.Fprintf(sh.out, "A version with %s errors fails %s requests until it is rolled back, after %s. With a first step of 1%% it would fail %s, and go after %s; a good version would be promoted after %s.\n",
			status.Share(s.CanaryErrors), count(s.Hurt), secondsOf(s.Found), count(s.HurtSlower), secondsOf(s.FoundSlower), secondsOf(s.PromoteSlower))
	}
	return nil
}

// foundFrom writes a regression: "3.2× (1.6%)".
func foundFrom(s *sim.Smallest, value func(float64) string) string {
	switch {
	case s == nil:
		return "-"
	case s.Ratio == 0:
		return value(s.Value)
	}
	return fmt.Sprintf("%.3gx (%s)", s.Ratio, value(s.Value))
}
