package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// oneName demands exactly the name of a release.
func oneName(cmd *cobra.Command, args []string) error {
	if len(args) == 1 && args[0] != "" {
		return nil
	}
	return usageError(fmt.Errorf("%s needs the name of one release, such as `%s hello`; `%s get` lists them", cmd.CommandPath(), cmd.CommandPath(), self))
}

// noNames demands nothing beside flags.
func noNames(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usageError(fmt.Errorf("%s takes flags only, not %q; `%s --help` shows how it is used", cmd.CommandPath(), args[0], cmd.CommandPath()))
}

// atMostOneName allows the name of a release.
func atMostOneName(cmd *cobra.Command, args []string) error {
	if len(args) <= 1 {
		return nil
	}
	return usageError(fmt.Errorf("%s takes at most one release, not %d", cmd.CommandPath(), len(args)))
}

// releaseNames completes the names of releases; without a daemon there are none.
func (sh *shell) releaseNames(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c, err := sh.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Second)
	defer cancel()
	list, err := c.List(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, r := range list {
		out = append(out, cobra.CompletionWithDesc(r.Name, r.Status.Phase))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// fixed completes a flag by a list of words.
func fixed(words ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
}

// manifestFlag registers -f.
func manifestFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVarP(file, "file", "f", "", "the manifest, or - for standard input")
	must(cmd.MarkFlagFilename("file", "yaml", "yml", "json"))
}
