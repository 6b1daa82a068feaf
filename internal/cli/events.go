package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/store"
)

func newEvents(sh *shell) *cobra.Command {
	var follow bool
	var limit int
	cmd := &cobra.Command{
		Use:   "events NAME",
		Short: "Show what happened to a release and why",
		Example: `  haldane events hello
  haldane events hello -w            # go on with what happens next
  haldane events hello -w -o json    # one JSON object a line`,
		Args:              oneName,
		ValidArgsFunction: sh.releaseNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := sh.connect()
			if err != nil {
				return err
			}
			events, err := c.Events(cmd.Context(), args[0], 0, limit)
			if err != nil {
				return sh.notFound(cmd.Context(), c, args[0], err)
			}
			if !follow {
				if done, err := sh.object(asList(events)); done {
					return err
				}
				if len(events) == 0 {
					sh.say("Nothing has happened to %s yet.", args[0])
				}
				return sh.events(events)
			}
			return sh.followEvents(cmd.Context(), c, args[0], events)
		},
	}
	cmd.Flags().BoolVarP(&follow, "watch", "w", false, "go on until Ctrl-C")
	cmd.Flags().IntVar(&limit, "limit", 200, "most events to show")
	sh.outputFlag(cmd, "table", "json", "yaml")
	return cmd
}

// events prints events as lines.
func (sh *shell) events(list []store.StoredEvent) error {
	g := &grid{}
	for _, e := range list {
		g.add(sh.eventCells(e)...)
	}
	return g.write(sh.out, sh.screen)
}

func (sh *shell) eventCells(e store.StoredEvent) []string {
	reason := fmt.Sprintf("%-16s", e.Reason)
	if e.Warning {
		reason = sh.screen.paint(warn, reason)
	}
	msg := sh.screen.text(e.Message)
	if e.By != "" && e.By != "haldane" {
		msg += sh.screen.paint(faint, " (by "+sh.screen.text(e.By)+")")
	}
	return []string{sh.screen.paint(faint, e.At.Local().Format(time.TimeOnly)), fmt.Sprintf("%-8s", dash(e.Run)), reason, msg}
}

// followEvents prints events as they come, until ctx ends.
func (sh *shell) followEvents(ctx context.Context, c *client.Client, name string, first []store.StoredEvent) error {
	var last int64
	show := func(list []store.StoredEvent) error {
		for _, e := range list {
			last = max(last, e.ID)
			if sh.output == "json" {
				if err := json.NewEncoder(sh.out).Encode(e); err != nil {
					return err
				}
			}
		}
		if sh.output == "json" || len(list) == 0 {
			return nil
		}
		return sh.events(list)
	}
	if err := show(first); err != nil {
		return err
	}
	err := c.Watch(ctx, name, func(ch client.Change) error {
		if ch.Gone != "" {
			return errGone
		}
		if down := ch.Down; down != nil {
			sh.say("The connection broke (%v); trying again.", down)
		}
		if ch.Release == nil {
			return nil
		}
		list, err := c.Events(ctx, name, last, 0)
		if err != nil {
			return err
		}
		return show(list)
	})
	return detached(ctx, err)
}
