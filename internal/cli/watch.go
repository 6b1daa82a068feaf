package cli

import (
	"encoding/json"
	"errors"

	"github.com/spf13/cobra"

	"github.com/haldane-project/haldane/internal/client"
)

func newWatch(sh *shell) *cobra.Command {
	var plainLines bool
	cmd := &cobra.Command{
		Use:   "watch NAME",
		Short: "Follow a release live: split, steps, evidence and what is missing to decide",
		Long: `Follows a release. On a terminal it is a live view with keys to pause, resume,
promote and abort; elsewhere, or with --plain, it is one line for every change.
Ctrl-C or q leaves; the run goes on without you.`,
		Example: `  haldane watch hello
  haldane watch hello --plain
  haldane watch hello -o json | jq .status.weight`,
		Args:              oneName,
		ValidArgsFunction: sh.releaseNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := sh.connect()
			if err != nil {
				return err
			}
			name := args[0]
			if _, err := c.Get(cmd.Context(), name); err != nil {
				return sh.notFound(cmd.Context(), c, name, err)
			}
			if sh.output == "table" && !plainLines && sh.live() {
				return sh.watchLive(cmd.Context(), c, name)
			}
			l := sh.lines(sh.out, sh.screen)
			err = c.Watch(cmd.Context(), name, func(ch client.Change) error {
				if sh.output == "json" {
					if ch.Release != nil {
						return json.NewEncoder(sh.out).Encode(ch.Release)
					}
				} else {
					l.change(ch)
				}
				if ch.Gone != "" {
					return errReached
				}
				return nil
			})
			if errors.Is(err, errReached) {
				return nil
			}
			return sh.comeBack(cmd.Context(), name, err)
		},
	}
	cmd.Flags().BoolVar(&plainLines, "plain", false, "lines, even on a terminal")
	sh.outputFlag(cmd, "table", "json")
	return cmd
}

// live reports whether a live view can be drawn.
func (sh *shell) live() bool { return isTerminal(sh.in) && sh.screen.terminal }
