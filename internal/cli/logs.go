package cli

import (
	"io"

	"github.com/spf13/cobra"
)

func newLogs(sh *shell) *cobra.Command {
	var version string
	cmd := &cobra.Command{
		Use:   "logs NAME",
		Short: "Show the last output of a release's instances",
		Example: `  haldane logs hello
  haldane logs hello --version v2    # why does it not get ready?`,
		Args:              oneName,
		ValidArgsFunction: sh.releaseNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := sh.connect()
			if err != nil {
				return err
			}
			l, err := c.Logs(cmd.Context(), args[0], version)
			if err != nil {
				return sh.notFound(cmd.Context(), c, args[0], err)
			}
			_, err = io.WriteString(sh.out, l.Text)
			return err
		},
	}
	cmd.Flags().StringVar(&version, "version", "", "of this version only (name or ID)")
	return cmd
}
