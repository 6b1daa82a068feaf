package cli

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/haldane-project/haldane/internal/app"
)

func newVersion(sh *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show the version of this program and of the daemon",
		Example: `  haldane version
  haldane version -o json`,
		Args: noNames,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := versions{Client: app.Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
			if c, err := sh.connect(); err == nil {
				ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Second)
				defer cancel()
				if s, err := c.Version(ctx); err == nil {
					v.Server = s.Version
				}
			}
			if done, err := sh.object(v); done {
				return err
			}
			fmt.Fprintf(sh.out, "client %s (%s, %s)\n", v.Client, v.Go, v.Platform)
			if v.Server == "" {
				fmt.Fprintf(sh.out, "server none at %s\n", sh.server)
				return nil
			}
			fmt.Fprintf(sh.out, "server %s\n", v.Server)
			return nil
		},
	}
	sh.outputFlag(cmd, "table", "json", "yaml")
	return cmd
}

type versions struct {
	Client   string `json:"client"`
	Server   string `json:"server,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}
