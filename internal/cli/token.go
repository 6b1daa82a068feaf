package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/haldane-project/haldane/internal/web"
)

func newToken(sh *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "token NAME ROLE",
		Short: "Make an access token for the daemon",
		Long: `Makes a random token. Its line for the daemon's token file goes to standard
output; it holds only a hash. The secret itself is shown once, on standard error.
Roles: viewer (look), operator (also pause, promote, abort), author (also apply, delete).`,
		Example: `  haldane token ada author >> /etc/haldane/tokens
  haldane token ci operator >> /etc/haldane/tokens`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usageError(fmt.Errorf("haldane token takes a name and a role, such as: haldane token ada operator"))
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			role, err := web.ParseRole(args[1])
			if err != nil {
				return usageError(err)
			}
			secret, t, err := web.NewToken(args[0], role)
			if err != nil {
				return usageError(err)
			}
			fmt.Fprintf(sh.err, "the secret of %s, shown only now (HALDANE_TOKEN): %s\n", t.Name, secret)
			fmt.Fprintln(sh.out, t.Line())
			return nil
		},
	}
}
