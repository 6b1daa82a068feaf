package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newDelete(sh *shell) *cobra.Command {
	var yes bool
	var w waiting
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "Take a release down: its traffic ends, its processes drain and stop",
		Example: `  haldane delete hello
  haldane delete hello --yes --wait    # in a script`,
		Args:              oneName,
		ValidArgsFunction: sh.releaseNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := sh.connect()
			if err != nil {
				return err
			}
			r, err := c.Get(cmd.Context(), args[0])
			if err != nil {
				return sh.notFound(cmd.Context(), c, args[0], err)
			}
			if err := sh.confirm(yes, fmt.Sprintf("Delete %s? Nothing will answer at its address any more.", r.Name)); err != nil {
				return err
			}
			if err := c.Delete(cmd.Context(), r.Name); err != nil {
				return err
			}
			sh.say("%s: is being deleted; its history stays.", r.Name)
			if !w.on {
				return nil
			}
			w.goal = goal{kind: "deleted"}
			return sh.waitFor(cmd.Context(), c, r.Name, w)
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	w.flags(cmd)
	cmd.Flags().Lookup("wait").Usage = "wait until it is gone"
	return cmd
}
