package cli

import "github.com/spf13/cobra"

// topics are help pages without a command.
func topics() []*cobra.Command {
	return []*cobra.Command{
		{
			Use:   "exit-codes",
			Short: "What the exit codes mean",
			Long: `Exit codes of every command:

    0   done; waiting commands: the new version was promoted
    1   an error; what to do is said on standard error
    2   waiting commands: the new version was rolled back or aborted
    3   waiting commands: the time of --timeout was up; the run goes on
    4   not authorised: no token, a wrong one, or one with too small a role
    6   waiting commands: a newer version took the place of this run
   64   wrong usage: an unknown command or flag, a missing argument
   65   the manifest, or another input, was refused
  130   left with Ctrl-C; a run is never stopped by that

Waiting commands are wait, and apply, set, retry, rollback with --wait. A CI job
that must fail when a version was rolled back needs nothing but:

    haldane apply -f release.yaml --wait --timeout 1h`,
		},
		{
			Use:   "environment",
			Short: "Which environment variables are read",
			Long: `Flags win over variables.

  HALDANE_SERVER       address of the daemon's API, as --server
  HALDANE_TOKEN        token for the API
  HALDANE_TOKEN_FILE   file with that token, as --token-file
  XDG_STATE_HOME       where serve keeps its data: $XDG_STATE_HOME/haldane,
                       otherwise ~/.local/state/haldane
  NO_COLOR             when set: no colours, as --color never
  CLICOLOR_FORCE       when set and not 0: colours in a pipe, too
  LC_ALL LC_CTYPE LANG when none of them says UTF-8, only ASCII is drawn`,
		},
	}
}
