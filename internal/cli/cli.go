// Package cli is the command line: one file per command, all of them talking to
// a daemon through internal/client. It knows words, terminals and exit codes,
// and decides nothing about releases. What scripts read goes to standard
// output; all talk goes to standard error.
//
// Read this file first, then shell.go (what commands share) and any command,
// such as get.go. The live view is live.go (what happens) and scene*.go (what is drawn).
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Main runs the command line and returns the exit code. args begins with the
// program's name: under kubectl-haldane it calls itself `kubectl haldane`.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	cobra.EnableCommandSorting = false // the order of the help page is ours
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	sh := newShell(stdin, stdout, stderr)
	sh.lasting = ctx
	plugin := len(args) > 0 && strings.HasPrefix(filepath.Base(args[0]), "kubectl-")
	sh.kube = sh.kube || plugin
	root := newRoot(sh)
	if len(args) > 0 {
		if plugin {
			root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl haldane"}
		}
		args = args[1:]
	}
	root.SetArgs(args)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if i := slices.IndexFunc(args, func(a string) bool { return !strings.HasPrefix(a, "-") }); cmd == root && i >= 0 {
			return unknownCommand(root, args[i]) // its flags are not the root's
		}
		return flagError(cmd, err)
	})
	err := root.ExecuteContext(ctx)
	return sh.end(err)
}

func newRoot(sh *shell) *cobra.Command {
	root := &cobra.Command{
		Use:   "haldane",
		Short: "Release new versions safely, by evidence",
		Long: `Haldane sends a small, growing share of real traffic to a new version, compares
it with the running one on every request, and promotes it or takes its traffic
away by itself, with a stated probability of being wrong.`,
		Example: `  haldane demo                     # see it work, in a minute, with nothing to set up
  haldane serve                    # the daemon: proxy, supervisor, judge and web page
  haldane apply -f release.yaml    # a changed workload starts a run
  haldane watch hello              # follow it; Ctrl-C leaves, the run goes on`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
	}
	root.SetIn(sh.in)
	root.SetOut(sh.out)
	root.SetErr(sh.err)
	root.SetHelpFunc(sh.help)
	sh.globals(root)
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return sh.begin() }
	root.AddGroup(
		&cobra.Group{ID: "start", Title: "Start"},
		&cobra.Group{ID: "see", Title: "See"},
		&cobra.Group{ID: "act", Title: "Act"},
		&cobra.Group{ID: "try", Title: "Before it is real"},
	)
	for _, c := range commands() {
		cmd := c.make(sh)
		cmd.GroupID = c.group
		root.AddCommand(cmd)
	}
	root.AddCommand(topics()...)
	return root
}

// commands is every command, in the order of the help page.
func commands() []entry {
	return []entry{
		{"start", newDemo},
		{"start", newServe},
		{"start", newController},
		{"start", newCheck},
		{"start", newValidate},
		{"start", newRender},
		{"start", newSchema},
		{"start", newToken},
		{"act", newApply},
		{"see", newGet},
		{"see", newDescribe},
		{"see", newWatch},
		{"see", newHistory},
		{"see", newEvents},
		{"see", newLogs},
		{"see", newDiff},
		{"see", newAudit},
		{"act", newWait},
		{"act", newPromote},
		{"act", newPause},
		{"act", newResume},
		{"act", newAbort},
		{"act", newRetry},
		{"act", newRollback},
		{"act", newSet},
		{"act", newDelete},
		{"try", newPlan},
		{"try", newSimulate},
		{"try", newLoad},
		{"try", newJudge},
		{"", newSample},
		{"", newSampleLLM},
		{"", newVersion},
	}
}

// entry is a command and its group on the help page.
type entry struct {
	group string
	make  func(*shell) *cobra.Command
}

// end turns the outcome of a command into words and an exit code.
func (sh *shell) end(err error) int {
	if err == nil {
		return exitOK
	}
	code := exitCode(err)
	var quiet *silent
	if errors.As(err, &quiet) || code == exitInterrupt {
		return code
	}
	fmt.Fprintf(sh.err, "%s %s\n", sh.paint(bad, "haldane:"), sh.explain(err))
	return code
}
