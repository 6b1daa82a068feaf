package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/haldane-project/haldane/api/v1alpha1"
)

func newGet(sh *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "get [NAME]",
		Aliases: []string{"ls", "list"},
		Short:   "List releases, or show one in a line",
		Example: `  haldane get                  # all releases
  haldane get hello -o wide    # with the run, its evidence and the sentence
  haldane get hello -o yaml    # the whole object, as the API gives it`,
		Args:              atMostOneName,
		ValidArgsFunction: sh.releaseNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := sh.connect()
			if err != nil {
				return err
			}
			if len(args) == 1 {
				r, err := c.Get(cmd.Context(), args[0])
				if err != nil {
					return sh.notFound(cmd.Context(), c, args[0], err)
				}
				if done, err := sh.object(r); done {
					return err
				}
				return sh.releases([]v1alpha1.Release{r})
			}
			list, err := c.List(cmd.Context())
			if err != nil {
				return err
			}
			if done, err := sh.object(asList(list)); done {
				return err
			}
			if len(list) == 0 {
				sh.say("There is no release yet: `%s apply -f release.yaml` makes one, `%s demo` shows what happens.", self, self)
				return nil
			}
			return sh.releases(list)
		},
	}
	sh.outputFlag(cmd, "table", "wide", "json", "yaml", "name")
	return cmd
}

// releases prints a line for each release.
func (sh *shell) releases(list []v1alpha1.Release) error {
	if sh.output == "name" {
		for _, r := range list {
			fmt.Fprintln(sh.out, r.Name)
		}
		return nil
	}
	wide := sh.output == "wide"
	g := &grid{head: []string{"NAME", "PHASE", "WEIGHT", "STEP", "VERDICT", "STABLE", "CANARY", "AGE"}}
	if wide {
		g.head = append(g.head, "RUN", "AGAINST CANARY", "MESSAGE")
	}
	now := time.Now()
	for _, r := range list {
		st := r.Status
		row := []string{
			r.Name, sh.screen.paint(phaseInk(st.Phase), dash(st.Phase)), dash(st.Weight), dash(st.Step),
			sh.screen.paint(verdictInk(st.Verdict), dash(st.Verdict)),
			dash(versionName(st.Stable)), dash(versionName(st.Canary)), age(r.CreationTimestamp.Time, now),
		}
		if wide {
			run, evidence := "-", "-"
			if st.Run != nil {
				run, evidence = st.Run.Name, dash(st.Run.Evidence)
			}
			row = append(row, run, evidence, sh.screen.text(st.Message))
		}
		g.add(row...)
	}
	return g.write(sh.out, sh.screen)
}

func versionName(v *v1alpha1.VersionStatus) string {
	if v == nil {
		return ""
	}
	return v.Name
}
