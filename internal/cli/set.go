package cli

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/client"
)

func newSet(sh *shell) *cobra.Command {
	var dryRun bool
	var w waiting
	cmd := &cobra.Command{
		Use:   "set NAME KEY=VALUE...",
		Short: "Change a release without its file: a new version, a variable",
		Long: `Changes the manifest as it was last applied; a changed workload starts a run.

Keys:
  version=NAME         name of the version (starts a run even when nothing else changed)
  env.NAME=VALUE       an environment variable of the processes; env.NAME- takes it away
  replicas=N           number of instances
  command=WORDS        program and arguments, split at spaces
  addresses=A,B        instances that run elsewhere`,
		Example: `  haldane set hello version=v2 env.GREETING=Hi
  haldane set hello replicas=4
  haldane set hello env.DEBUG- --wait`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) >= 2 {
				return nil
			}
			return usageError(fmt.Errorf("%s needs the name of a release and what to set, such as `%s hello version=v2`", cmd.CommandPath(), cmd.CommandPath()))
		},
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
			for _, kv := range args[1:] {
				if err := setKey(&r.Spec, kv); err != nil {
					return usageError(err)
				}
			}
			body, err := manifestOf(r)
			if err != nil {
				return err
			}
			a, err := c.Apply(cmd.Context(), r.Name, body, client.ApplyOptions{DryRun: dryRun})
			if err != nil {
				return err
			}
			return sh.applied(cmd.Context(), c, a, dryRun, w)
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would happen and keep nothing")
	w.flags(cmd)
	sh.outputFlag(cmd, "table", "json", "yaml", "name")
	return cmd
}

// manifestOf is the release as a person would write it: no status, nothing that the daemon added.
func manifestOf(r v1alpha1.Release) ([]byte, error) {
	b, err := json.Marshal(struct {
		metav1.TypeMeta `json:",inline"`
		Metadata        map[string]any       `json:"metadata"`
		Spec            v1alpha1.ReleaseSpec `json:"spec"`
	}{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Release"},
		Metadata: metadataOf(r),
		Spec:     r.Spec,
	})
	if err != nil {
		return nil, fmt.Errorf("write the manifest of %s: %w", r.Name, err)
	}
	return b, nil
}

func metadataOf(r v1alpha1.Release) map[string]any {
	m := map[string]any{"name": r.Name}
	if len(r.Labels) > 0 {
		m["labels"] = r.Labels
	}
	if len(r.Annotations) > 0 {
		m["annotations"] = r.Annotations
	}
	return m
}

var settable = []string{"version", "env.NAME", "replicas", "command", "addresses"}

// setKey applies one KEY=VALUE (or env.NAME-) to a spec.
func setKey(spec *v1alpha1.ReleaseSpec, kv string) error {
	key, value, ok := strings.Cut(kv, "=")
	if !ok {
		name, found := strings.CutPrefix(strings.TrimSuffix(kv, "-"), "env.")
		if !found || !strings.HasSuffix(kv, "-") {
			return fmt.Errorf("%q is not KEY=VALUE, such as version=v2", kv)
		}
		return unsetEnv(spec, name)
	}
	if name, found := strings.CutPrefix(key, "env."); found {
		return setEnv(spec, name, value)
	}
	switch key {
	case "version":
		spec.Version = value
		return nil
	case "addresses":
		if spec.Workload.Endpoints == nil {
			return fmt.Errorf("addresses are for a workload of endpoints; this release has none")
		}
		spec.Workload.Endpoints.Addresses = strings.Split(value, ",")
		return nil
	case "replicas", "command":
		p, err := process(spec, key)
		if err != nil {
			return err
		}
		if key == "command" {
			p.Command = strings.Fields(value)
			return nil
		}
		n, err := strconv.ParseInt(value, 10, 32)
		if err != nil {
			return fmt.Errorf("replicas is %q, expected a number", value)
		}
		p.Replicas = new(int32(n))
		return nil
	}
	return fmt.Errorf("there is no key %q%s", key, known("keys", settable, key))
}

func process(spec *v1alpha1.ReleaseSpec, key string) (*v1alpha1.ProcessSpec, error) {
	if spec.Workload.Process == nil {
		return nil, fmt.Errorf("%s is for a workload of processes; this release has none", key)
	}
	return spec.Workload.Process, nil
}

func setEnv(spec *v1alpha1.ReleaseSpec, name, value string) error {
	p, err := process(spec, "env."+name)
	if err != nil {
		return err
	}
	if name == "" {
		return fmt.Errorf("env. needs a variable's name, such as env.GREETING=Hi")
	}
	if p.Env == nil {
		p.Env = map[string]string{}
	}
	p.Env[name] = value
	return nil
}

func unsetEnv(spec *v1alpha1.ReleaseSpec, name string) error {
	p, err := process(spec, "env."+name)
	if err != nil {
		return err
	}
	if _, ok := p.Env[name]; !ok {
		return fmt.Errorf("the variable %s is not set in this release", name)
	}
	delete(p.Env, name)
	return nil
}
