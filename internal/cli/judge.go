package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/manifest"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/status"
	"github.com/haldane-project/haldane/internal/store"
)

func newJudge(sh *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "judge",
		Short: "Check the statistics themselves",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
		Args: cobra.ArbitraryArgs,
	}
	cmd.AddCommand(newJudgeVerify(sh), newJudgeReplay(sh), newJudgeRecord(sh))
	return cmd
}

func newJudgeVerify(sh *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Recompute a file of reference values with this binary's judge",
		Long: `Recomputes every figure of a reference file, such as the one in the sources at
internal/judge/testdata/reference.json, and lists those that are off by more
than their tolerance. Exit code 1 when there is one.`,
		Example: `  haldane judge verify internal/judge/testdata/reference.json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return nil
			}
			return usageError(errors.New("judge verify needs one file of reference values"))
		},
		RunE: func(_ *cobra.Command, args []string) error {
			f, _, err := sh.openInput(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			v, err := judge.Verify(f)
			if err != nil {
				return &coded{exitBadInput, fmt.Errorf("%s: %w", args[0], err)}
			}
			if done, err := sh.object(v); err != nil {
				return err
			} else if !done {
				for _, m := range v.Misses {
					fmt.Fprintln(sh.out, sh.screen.text(m.String()))
				}
				fmt.Fprintf(sh.out, "%d cases, %d figures, %d off\n", v.Cases, v.Figures, len(v.Misses))
			}
			if len(v.Misses) > 0 {
				return &silent{exitError}
			}
			return nil
		},
	}
	sh.outputFlag(cmd, "table", "json")
	return cmd
}

func newJudgeReplay(sh *shell) *cobra.Command {
	var file string
	var step int
	var short bool
	cmd := &cobra.Command{
		Use:   "replay EVIDENCE",
		Short: "Judge recorded evidence by a manifest's policy",
		Long: `Reads evidence of a run, one JSON object a line in the order of time, and judges
it by the policy of a manifest, as if it happened now. It needs no daemon.

    {"t": 1.5, "metric": "errors", "canary": {"n": 10, "bad": 1}, "stable": {"n": 90, "bad": 1}}
    {"t": 1.5, "metric": "latency", "canary": {"values": [0.081]}, "stable": {"values": [0.079, 0.085]}}

Lines with "history": true, before all others, are what stable did before the run.
Every look is printed, then the one that decided and what is known at the end.`,
		Example: `  haldane judge replay evidence.jsonl -f release.yaml
  haldane judge replay - -f release.yaml --short < evidence.jsonl
  haldane judge replay evidence.jsonl -f release.yaml -o json | jq '.looks[].logE'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return nil
			}
			return usageError(errors.New("judge replay needs one file of evidence, or - for standard input"))
		},
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := sh.policyOf(file)
			if err != nil {
				return err
			}
			in, shown, err := sh.openInput(args[0])
			if err != nil {
				return err
			}
			defer in.Close()
			if step < 1 || step > len(p.Looseness) {
				return usageError(fmt.Errorf("--margin is %d, expected 1 to %d: the plan has so many sets of margins", step, len(p.Looseness)))
			}
			var out replayed
			out.Replayed, err = judge.Replay(p, in, step-1, sh.eachLook(&out, short))
			if err != nil {
				return &coded{exitBadInput, fmt.Errorf("%s: %w", shown, err)}
			}
			return sh.replayed(out)
		},
	}
	manifestFlag(cmd, &file)
	cmd.Flags().IntVar(&step, "margin", 1, "which of the plan's sets of margins, the strictest is 1")
	cmd.Flags().BoolVar(&short, "short", false, "leave out the looks")
	sh.outputFlag(cmd, "table", "json", "yaml")
	return cmd
}

// policyOf is what runs of a manifest are judged by.
func (sh *shell) policyOf(file string) (judge.Policy, error) {
	m, err := sh.readManifest(file)
	if err != nil {
		return judge.Policy{}, err
	}
	_, rel, err := manifest.Parse(m.shown, m.bytes, manifest.WithDir(filepath.Dir(m.path)))
	if err != nil {
		return judge.Policy{}, &coded{exitBadInput, err}
	}
	return rollout.Policy(rel.Analysis, rel.Strategy.Compile(rel.Analysis, rel.Replicas)), nil
}

// openInput opens a file, or standard input for "-".
func (sh *shell) openInput(name string) (io.ReadCloser, string, error) {
	if name == "-" {
		return io.NopCloser(sh.in), "standard input", nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, name, &coded{exitBadInput, err}
	}
	return f, name, nil
}

// replayed is a replay as an object.
type replayed struct {
	judge.Replayed
	Looks []judge.Look `json:"looks,omitempty"`
}

func (sh *shell) replayed(r replayed) error {
	if done, err := sh.object(r); done {
		return err
	}
	s := sh.screen
	fmt.Fprintf(sh.out, "%s: %s\n", s.paint(verdictInk(string(r.Report.Verdict)), string(r.Report.Verdict)), s.text(r.Report.Reason))
	if d := r.Deciding; d != nil {
		fmt.Fprintf(sh.out, "decided at line %d, %.1f s, by %s, after %s canary and %s stable units\n",
			d.Line, d.At, s.text(d.Metric), grouped(d.Canary), grouped(d.Stable))
	}
	sc := scene{look: &store.Look{Report: r.Report}}
	for _, line := range sc.metrics(s) {
		fmt.Fprintln(sh.out, line)
	}
	fmt.Fprintln(sh.out)
	return sh.figures(r.Report)
}

// eachLook prints the looks of a replay as they come, or keeps them for the
// object that is printed; the deciding one is the first that has a verdict.
func (sh *shell) eachLook(out *replayed, short bool) func(judge.Look) error {
	if short {
		return nil
	}
	if sh.output == "json" || sh.output == "yaml" {
		return func(l judge.Look) error {
			out.Looks = append(out.Looks, l)
			return nil
		}
	}
	decided := false
	return func(l judge.Look) error {
		mark := ""
		if !decided && l.Verdict != judge.Inconclusive {
			decided, mark = true, "  decides"
		}
		_, err := fmt.Fprintf(sh.out, "line %-6d %9.1f s  %-12s %-12s against %-12s canary %s, stable %s%s\n",
			l.Line, l.At, sh.screen.text(l.Metric), l.Verdict, status.Odds(l.LogE), grouped(l.Canary), grouped(l.Stable), mark)
		return err
	}
}

// figures prints every figure with the intervals that always hold.
func (sh *shell) figures(r judge.Report) error {
	g := &grid{head: []string{"FIGURE", "STABLE", "CANARY", "RATIO", "DIFFERENCE"}}
	for _, m := range r.Metrics {
		for _, c := range status.Comparisons(m) {
			s := sh.screen
			g.add(s.text(c.Name), s.text(c.Stable), s.text(c.Canary), s.text(dash(c.Ratio)), s.text(dash(c.Difference)))
		}
	}
	return g.write(sh.out, sh.screen)
}
