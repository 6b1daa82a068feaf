package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/app"
	"github.com/haldane-project/haldane/internal/manifest"
)

func newCheck(sh *shell) *cobra.Command {
	var file string
	var o app.CheckOptions
	cmd := &cobra.Command{
		Use:     "check [NAME...]",
		Aliases: []string{"doctor"},
		Short:   "Say whether all that releases need is there, and what to do where it is not",
		Long: `Looks at a cluster (with --kube), or at a daemon, and at its releases: one line for
each thing that a release needs, ok, warn or fail, with what to do. Nothing is
changed. The exit code is 1 where anything fails.

In a cluster: the API server's version, Haldane's definitions and admission
policy, a working controller and its rights, the routers, and of each Release its
spec, Deployment, Service and routes, whether a changed template would be held,
and its sources of evidence, which are asked for each metric. What is reached
inside of the cluster only is best checked in the controller's pod.

Of a daemon: that it answers, its version, and of each release the manifest, the
instances and the port.`,
		Example: `  haldane check --kube -n shop             # a namespace and all of its Releases
  haldane check --kube -n shop hello       # one of them
  haldane check --kube -n shop -f new.yaml # one that is not there yet
  haldane check                            # the daemon and its releases
  haldane check -o json | jq '.items[] | select(.state != "ok")'`,
		ValidArgsFunction: sh.releaseNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if file != "" && len(args) > 0 {
				return usageError(errors.New("either the names of releases or -f FILE: a file's release is not there yet"))
			}
			o.Names = args
			list, err := sh.check(cmd.Context(), file, o)
			if err != nil {
				return err
			}
			return sh.findings(list)
		},
	}
	manifestFlag(cmd, &file)
	cmd.Flags().StringVar(&o.Account, "account", "", "service account of the controller, NAMESPACE/NAME (default: the one that the admission policy names)")
	sh.outputFlag(cmd, "table", "json", "yaml")
	return cmd
}

// check asks the cluster or the daemon.
func (sh *shell) check(ctx context.Context, file string, o app.CheckOptions) ([]app.Finding, error) {
	objs, err := sh.notThereYet(file)
	if err != nil {
		return nil, err
	}
	if sh.onCluster() {
		if len(objs) > 1 {
			return nil, usageError(fmt.Errorf("%s has %d releases: check one at a time", file, len(objs)))
		}
		if len(objs) == 1 {
			o.Release = &objs[0]
		}
		return app.CheckCluster(ctx, sh.cluster, sh.allNamespaces, o)
	}
	c, err := sh.connect()
	if err != nil {
		return nil, err
	}
	return app.CheckDaemon(ctx, c, o.Names, objs), nil
}

// notThereYet reads the releases of a file; empty: there is none.
func (sh *shell) notThereYet(file string) ([]v1alpha1.Release, error) {
	if file == "" {
		return nil, nil
	}
	m, err := sh.readManifest(file)
	if err != nil {
		return nil, err
	}
	objs, err := manifest.Decode(m.shown, m.bytes, manifest.WithDir(filepath.Dir(m.path)))
	if err != nil {
		return nil, &coded{exitBadInput, err}
	}
	return objs, nil
}

// findings prints them, and fails where one does.
func (sh *shell) findings(list []app.Finding) error {
	done, err := sh.object(asList(list))
	if err != nil {
		return err
	}
	g := &grid{head: []string{"", "OF", "CHECK", "FOUND"}}
	failed := 0
	for _, f := range list {
		found := f.Found
		if f.Remedy != "" {
			found += ": " + f.Remedy
		}
		g.add(sh.screen.paint(findingInk(f.State), f.State), f.About, f.Check, sh.screen.text(found))
		if f.State == app.FindingFail {
			failed++
		}
	}
	if !done {
		if err := g.write(sh.out, sh.screen); err != nil {
			return err
		}
	}
	if failed > 0 {
		sh.say("%d of %d checks failed.", failed, len(list))
		return &silent{exitError}
	}
	return nil
}

// findingInk is the colour of a state.
func findingInk(state string) ink {
	switch state {
	case app.FindingOK:
		return good
	case app.FindingWarn:
		return warn
	}
	return bad
}
