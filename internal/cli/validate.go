package cli

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/haldane-project/haldane/internal/manifest"
)

func newValidate(sh *shell) *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use:     "validate -f FILE",
		Aliases: []string{"lint"},
		Short:   "Check manifests without a daemon: every problem at once, with its place",
		Example: `  haldane validate -f release.yaml
  haldane validate -f a.yaml -f b.yaml -o json`,
		Args: noNames,
		RunE: func(*cobra.Command, []string) error {
			if len(files) == 0 {
				return usageError(errors.New("which manifest? Give one with -f release.yaml, or -f - for standard input"))
			}
			var all manifest.Errors
			for _, file := range files {
				problems, err := sh.validate(file)
				if err != nil {
					return err
				}
				all = append(all, problems...)
			}
			if sh.output == "json" {
				if _, err := sh.object(asList([]manifest.Problem(all))); err != nil {
					return err
				}
			}
			if len(all) == 0 {
				return nil
			}
			if sh.output == "json" {
				return &silent{exitBadInput}
			}
			return &coded{exitBadInput, all}
		},
	}
	cmd.Flags().StringSliceVarP(&files, "file", "f", nil, "the manifest, or - for standard input; may be repeated")
	must(cmd.MarkFlagFilename("file", "yaml", "yml", "json"))
	sh.outputFlag(cmd, "table", "json")
	return cmd
}

// validate checks one file, and says that it is good.
func (sh *shell) validate(file string) (manifest.Errors, error) {
	m, err := sh.readManifest(file)
	if err != nil {
		return nil, err
	}
	objs, err := manifest.Decode(m.shown, m.bytes, manifest.WithDir(filepath.Dir(m.path)))
	var problems manifest.Errors
	switch {
	case errors.As(err, &problems):
		return problems, nil
	case err != nil:
		return nil, &coded{exitBadInput, err}
	}
	if sh.output == "json" {
		return nil, nil
	}
	for _, obj := range objs {
		fmt.Fprintf(sh.out, "%s: release %s is valid.\n", m.shown, obj.Name)
	}
	return nil, nil
}
