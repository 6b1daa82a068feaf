package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/manifest"
)

func newApply(sh *shell) *cobra.Command {
	var file string
	var dryRun bool
	var w waiting
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Create or change a release; a changed workload starts a run",
		Example: `  haldane apply -f release.yaml
  haldane apply -f release.yaml --dry-run          # what would happen, in words
  haldane apply -f release.yaml --wait --timeout 30m
  sed 's/v1/v2/' release.yaml | haldane apply -f -`,
		Args: noNames,
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := sh.readManifest(file)
			if err != nil {
				return err
			}
			c, err := sh.connect()
			if err != nil {
				return err
			}
			for _, m := range m.documents() {
				a, err := c.Apply(cmd.Context(), m.name, m.bytes, client.ApplyOptions{DryRun: dryRun, File: m.path})
				if err != nil {
					return m.refused(err)
				}
				if err := sh.applied(cmd.Context(), c, a, dryRun, w); err != nil {
					return err
				}
			}
			return nil
		},
	}
	manifestFlag(cmd, &file)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would happen and keep nothing")
	w.flags(cmd)
	sh.outputFlag(cmd, "table", "json", "yaml", "name")
	return cmd
}

// applied tells what an apply did, and waits for the run's end where that is wanted.
func (sh *shell) applied(ctx context.Context, c *client.Client, a client.Applied, dryRun bool, w waiting) error {
	name := a.Release.Name
	if dryRun {
		if done, err := sh.object(a); done {
			return err
		}
		for _, s := range a.Plan {
			fmt.Fprintln(sh.out, sh.screen.text(s))
		}
		return nil
	}
	done, err := sh.object(a.Release)
	switch {
	case err != nil:
		return err
	case done:
	case sh.output == "name":
		fmt.Fprintln(sh.out, name)
	case a.Created:
		sh.say("%s: created.", name)
	case a.Changed:
		sh.say("%s: changed.", name)
	default:
		sh.say("%s: nothing changed.", name)
	}
	if !w.on {
		if !done && a.Changed {
			sh.say("  `%s watch %s` follows it", self, name)
		}
		return nil
	}
	w.generation = a.Release.Generation
	return sh.waitFor(ctx, c, name, w)
}

// manifest is a file with a release, as far as the command line looks into it.
type manifestFile struct {
	name  string // of the release
	path  string // absolute; for standard input a name in the working directory
	shown string // as the person called it
	bytes []byte
}

// documents splits a file of several releases; one by itself goes as it is.
func (m manifestFile) documents() []manifestFile {
	objs, err := manifest.Decode(m.shown, m.bytes, manifest.WithDir(filepath.Dir(m.path)))
	if err != nil || len(objs) < 2 {
		return []manifestFile{m} // the daemon says what is wrong
	}
	var out []manifestFile
	for _, obj := range objs {
		b, err := manifest.Canonical(obj)
		if err != nil {
			return []manifestFile{m}
		}
		out = append(out, manifestFile{name: obj.Name, path: m.path, shown: m.shown, bytes: b})
	}
	return out
}

// refused shows the places in the file, where this program sees the same problems as the daemon.
func (m manifestFile) refused(err error) error {
	if !client.IsInvalid(err) {
		return err
	}
	var problems manifest.Errors
	if _, _, local := manifest.Parse(m.shown, m.bytes, manifest.WithDir(filepath.Dir(m.path))); errors.As(local, &problems) {
		return &coded{exitBadInput, problems}
	}
	return err
}

const maxManifest = 1 << 20

// readManifest reads a file, or standard input for "-".
func (sh *shell) readManifest(file string) (manifestFile, error) {
	if file == "" {
		return manifestFile{}, usageError(errors.New("which manifest? Give one with -f release.yaml, or -f - for standard input"))
	}
	in, shown, err := sh.openInput(file)
	if err != nil {
		return manifestFile{}, err
	}
	defer in.Close()
	b, err := io.ReadAll(io.LimitReader(in, maxManifest+1))
	if err != nil {
		return manifestFile{}, fmt.Errorf("read the manifest from %s: %w", shown, err)
	}
	if len(b) > maxManifest {
		return manifestFile{}, &coded{exitBadInput, fmt.Errorf("%s is larger than a manifest may be (1 MiB)", shown)}
	}
	if file == "-" {
		file = "stdin.yaml"
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return manifestFile{}, fmt.Errorf("find the folder of %s: %w", file, err)
	}
	var head struct {
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
	}
	if err := yaml.Unmarshal(b, &head); err != nil {
		return manifestFile{}, &coded{exitBadInput, fmt.Errorf("%s is not YAML: %w", shown, err)}
	}
	if head.Metadata.Name == "" {
		return manifestFile{}, &coded{exitBadInput, fmt.Errorf("%s names no release: expected metadata: {name: ...}", shown)}
	}
	return manifestFile{name: head.Metadata.Name, path: path, shown: shown, bytes: b}, nil
}
