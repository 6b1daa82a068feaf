package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/haldane-project/haldane/internal/judge"
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
	cmd.AddCommand(newJudgeVerify(sh))
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
			f, err := os.Open(args[0])
			if err != nil {
				return &coded{exitBadInput, fmt.Errorf("read the reference values: %w", err)}
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
