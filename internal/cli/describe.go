package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/store"
)

func newDescribe(sh *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "describe NAME",
		Aliases: []string{"status", "show"},
		Short:   "Show a release in full: the sentence, the split, the evidence, the events",
		Example: `  haldane describe hello
  haldane describe hello -o json`,
		Args:              oneName,
		ValidArgsFunction: sh.releaseNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := sh.connect()
			if err != nil {
				return err
			}
			sc, err := sh.gather(cmd.Context(), c, args[0])
			if err != nil {
				return sh.notFound(cmd.Context(), c, args[0], err)
			}
			if done, err := sh.object(sc.rel); done {
				return err
			}
			return sh.describe(sc)
		},
	}
	sh.outputFlag(cmd, "table", "json", "yaml")
	return cmd
}

const newestLooks, newestEvents = 12, 10

// gather asks for all that a scene shows.
func (sh *shell) gather(ctx context.Context, c *client.Client, name string) (scene, error) {
	sc := scene{now: time.Now()}
	var err error
	if sc.rel, err = c.Get(ctx, name); err != nil {
		return sc, err
	}
	if sc.events, err = c.Events(ctx, name, 0, 1000); err != nil {
		return sc, err
	}
	if sc.rel.Status.Run == nil {
		return sc, nil
	}
	looks, err := c.Looks(ctx, sc.rel.Status.Run.Name, newestLooks)
	if err != nil {
		return sc, err
	}
	sc.look = newest(looks)
	return sc, nil
}

// newest returns the last look; nil: there is none.
func newest(looks []store.Look) *store.Look {
	if len(looks) == 0 {
		return nil
	}
	return &looks[len(looks)-1]
}

func (sh *shell) describe(sc scene) error {
	s := sh.screen
	out := sc.head(s)
	if m := sc.metrics(s); len(m) > 0 {
		out = append(append(out, ""), m...)
	}
	out = append(out, "")
	for _, line := range out {
		fmt.Fprintln(sh.out, line)
	}
	if err := sh.versionsOf(sc.rel); err != nil {
		return err
	}
	if l := sc.log(s, newestEvents); len(l) > 0 {
		fmt.Fprintln(sh.out)
		for _, line := range l {
			fmt.Fprintln(sh.out, line)
		}
	}
	sh.next(sc.rel)
	return nil
}

func (sh *shell) versionsOf(r v1alpha1.Release) error {
	g := &grid{head: []string{"  VERSION", "ROLE", "ID", "WEIGHT", "READY", ""}}
	for _, v := range []struct {
		role string
		ink  ink
		v    *v1alpha1.VersionStatus
	}{{"stable", stable, r.Status.Stable}, {"canary", canary, r.Status.Canary}} {
		if v.v == nil || v.role == "canary" && r.Status.Stable != nil && v.v.ID == r.Status.Stable.ID {
			continue
		}
		g.add("  "+sh.screen.paint(v.ink, sh.screen.text(v.v.Name)), v.role, v.v.ID, dash(v.v.Weight),
			fmt.Sprintf("%d of %d", v.v.Ready, v.v.Instances), sh.screen.text(v.v.Error))
	}
	if len(g.rows) == 0 {
		return nil
	}
	return g.write(sh.out, sh.screen)
}

// next says what can be typed now.
func (sh *shell) next(r v1alpha1.Release) {
	var can []string
	if r.Status.Canary != nil {
		can = append(can, "watch")
	}
	for _, verb := range []string{"pause", "resume", "promote", "abort", "retry", "rollback"} {
		if slices.Contains(r.Status.Allowed, verb) {
			can = append(can, verb)
		}
	}
	if len(can) == 0 {
		return
	}
	line := "next:"
	for i, verb := range can {
		if i > 0 {
			line += " " + sh.talk.glyph("·", "|")
		}
		line += fmt.Sprintf(" %s %s %s", self, verb, r.Name)
	}
	sh.say("\n%s", sh.paint(faint, line))
}
