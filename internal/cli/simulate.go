package cli

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/haldane-project/haldane/internal/manifest"
	"github.com/haldane-project/haldane/internal/sim"
	"github.com/haldane-project/haldane/internal/status"
)

func newSimulate(sh *shell) *cobra.Command {
	var file string
	var truth []string
	var rate float64
	var runs int
	var seed uint64
	cmd := &cobra.Command{
		Use:   "simulate -f FILE",
		Short: "Ask how often and how fast a policy would promote or roll back",
		Long: `Runs the manifest's own plan many times, with the real core and the real judge in
simulated time, against two versions of which the truth is known. It needs no
daemon, and nothing is started. The same seed gives the same figures.

Words of --truth:
` + truthWords(),
		Example: `  haldane simulate -f release.yaml                              # a good version
  haldane simulate -f release.yaml --truth canary.errors=2%     # a bad one
  haldane simulate -f release.yaml --truth stable.latency=80ms --truth canary.latency=100ms --rate 50`,
		Args: noNames,
		RunE: func(*cobra.Command, []string) error {
			m, err := sh.readManifest(file)
			if err != nil {
				return err
			}
			_, rel, err := manifest.Parse(m.shown, m.bytes, manifest.WithDir(filepath.Dir(m.path)))
			if err != nil {
				return &coded{exitBadInput, err}
			}
			t, err := sim.ParseTruth(truth)
			if err != nil {
				return usageError(fmt.Errorf("--truth: %w", err))
			}
			if runs < 1 || runs > mostSimulated || !(rate > 0) || math.IsInf(rate, 0) {
				return usageError(fmt.Errorf("--runs is %d and --rate %g, expected 1 to %d runs and a rate above 0", runs, rate, mostSimulated))
			}
			r, err := sim.Chances(rel, t, rate, runs, seed)
			if err != nil {
				return &coded{exitBadInput, err}
			}
			if done, err := sh.object(r); done {
				return err
			}
			return sh.chances(r, rate)
		},
	}
	manifestFlag(cmd, &file)
	f := cmd.Flags()
	f.StringSliceVar(&truth, "truth", nil, "what is so of the versions, `KEY=VALUE`; may be repeated")
	f.Float64Var(&rate, "rate", 100, "requests a second")
	f.IntVar(&runs, "runs", 400, "how many runs")
	f.Uint64Var(&seed, "seed", 1, "of the random numbers")
	must(cmd.RegisterFlagCompletionFunc("truth", completeTruth))
	sh.outputFlag(cmd, "table", "json", "yaml")
	return cmd
}

// truthWords explains the keys of --truth.
func truthWords() string {
	var lines []string
	for _, k := range sim.TruthKeys() {
		lines = append(lines, fmt.Sprintf("  %-15s %s", k, sim.TruthHelp(k)))
	}
	return strings.Join(lines, "\n")
}

func completeTruth(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var out []string
	for _, k := range sim.TruthKeys() {
		out = append(out, cobra.CompletionWithDesc(k+"=", sim.TruthHelp(k)))
	}
	return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

const mostSimulated = 1_000_000

// chances prints the result in words and numbers.
func (sh *shell) chances(r sim.Result, rate float64) error {
	s := sh.screen
	t := r.Truth
	sh.say("%d runs at %g requests a second. Stable: %s errors, %s. Canary: %s errors, %s.", r.Runs, rate,
		status.Share(t.StableErrors), t.StableLatency, status.Share(t.CanaryErrors), t.CanaryLatency)
	for _, a := range r.Assumed {
		sh.say("Assumed: %s.", s.text(a))
	}
	g := &grid{head: []string{"END", "CHANCE", "95 % INTERVAL", "MEDIAN", "90 % WITHIN"}}
	for _, row := range []struct {
		ink  ink
		name string
		c    sim.Chance
		q    sim.Quantiles
	}{{good, "promoted", r.Promoted, r.ToPromotion}, {bad, "rolled back", r.RolledBack, r.ToRollback}, {warn, "undecided", r.Undecided, sim.Quantiles{}}} {
		g.add(s.paint(row.ink, row.name), status.Share(row.c.Share), status.Share(row.c.Low)+" to "+status.Share(row.c.High),
			spanOf(row.q, row.q.P50), spanOf(row.q, row.q.P90))
	}
	if err := g.write(sh.out, s); err != nil {
		return err
	}
	if r.Undecided.Count > 0 && r.Waits != "" {
		fmt.Fprintf(sh.out, "Most of the undecided: %s\n", s.text(r.Waits))
	}
	fmt.Fprintln(sh.out)
	h := &grid{head: []string{"A RUN COSTS", "MEDIAN", "MEAN", "90 % WITHIN", "99 % WITHIN"}}
	for _, row := range []struct {
		name string
		q    sim.Quantiles
	}{{"canary requests", r.CanaryRequests}, {"requests that the canary failed", r.Hurt}} {
		h.add(row.name, count(row.q.P50), count(row.q.Mean), count(row.q.P90), count(row.q.P99))
	}
	return h.write(sh.out, s)
}

func spanOf(q sim.Quantiles, seconds float64) string {
	if q.Runs == 0 {
		return "-"
	}
	return status.Duration(time.Duration(seconds * float64(time.Second)))
}

func count(x float64) string { return grouped(int64(math.Round(x))) }
