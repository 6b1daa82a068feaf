package cli

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/manifest"
	"github.com/haldane-project/haldane/internal/status"
)

func newPlan(sh *shell) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "plan -f FILE",
		Short: "Say in words what applying a manifest would do",
		Long: `Says what would happen: which run would start, its steps, and what each of them
needs. A daemon that answers is asked what there is now; without one the release
is taken as a new one.`,
		Example: `  haldane plan -f release.yaml`,
		Args:    noNames,
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
				return err
			}
			for _, s := range a.Plan {
				fmt.Fprintln(sh.out, sh.screen.text(s))
			}
			return nil
		},
	}
	manifestFlag(cmd, &file)
	return cmd
}
