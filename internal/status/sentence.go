package status

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
)

// Sentence says in plain words what is and what is missing.
func Sentence(rec store.Record) string {
	s := sentence(rec)
	if rec.Observed.Error != "" {
		s += " " + period(rec.Observed.Error)
	}
	return s
}

func sentence(rec store.Record) string {
	run := rec.State.Run
	switch {
	case rec.Deleting:
		return "The release is being deleted: its instances drain and stop."
	case run == nil:
		return "Waiting for the first pass."
	case run.From == nil && rec.State.Stable == nil:
		return starting(rec, *run)
	}
	to := run.To.Name
	switch run.Phase {
	case rollout.Preparing:
		return join(fmt.Sprintf("%s is starting: %s.%s", to, instances(rec, run.To.ID), trouble(rec, run.To.ID)), run.Paused)
	case rollout.Progressing:
		return progressing(rec, *run)
	case rollout.Baking:
		return fmt.Sprintf("All of the traffic goes to %s; %s is kept ready for an instant way back.", to, run.From.Name)
	case rollout.Finishing:
		return fmt.Sprintf("All of the traffic goes to %s; instances of %s drain and stop.", to, run.From.Name)
	case rollout.RollingBack:
		return fmt.Sprintf("Traffic is taken off %s. %s", to, period(run.Why))
	case rollout.RolledBack:
		return fmt.Sprintf("%s was rolled back: %s %s", to, period(run.Why), serves(rec))
	case rollout.Aborted:
		return fmt.Sprintf("%s was aborted: %s %s", to, period(run.Why), serves(rec))
	}
	return serves(rec)
}

func starting(rec store.Record, run rollout.Run) string {
	return fmt.Sprintf("%s is starting as the first version: %s.%s", run.To.Name, instances(rec, run.To.ID), trouble(rec, run.To.ID))
}

// trouble says why instances of a version are not ready.
func trouble(rec store.Record, v release.VersionID) string {
	for _, g := range rec.Observed.Fleet {
		if g.Version == v && g.Error != "" {
			return " " + period(upper(g.Error))
		}
	}
	return ""
}

func progressing(rec store.Record, run rollout.Run) string {
	w := rec.Observed.Split.Of(run.To.ID)
	s := fmt.Sprintf("%s of the traffic goes to %s (step %d of %d).", Percent(w), run.To.Name, run.Step+1, len(run.Plan.Steps))
	if run.Paused != nil {
		return join(s, run.Paused)
	}
	if look := lookOf(rec); look != nil && look.Report.Reason != "" {
		s += " " + period(look.Report.Reason)
	}
	if run.Why != "" && !run.Entered.IsZero() {
		s += " " + period(upper(run.Why))
	}
	return s
}

// upper begins a sentence.
func upper(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[n:]
}

func serves(rec store.Record) string {
	if rec.State.Stable == nil {
		return "Nothing serves."
	}
	return rec.State.Stable.Name + " serves all of the traffic."
}

func instances(rec store.Record, v release.VersionID) string {
	for _, g := range rec.Observed.Fleet {
		if g.Version == v {
			return fmt.Sprintf("%d of %d instances ready", g.Ready, g.Total)
		}
	}
	return "no instance yet"
}

func join(s string, p *rollout.Pause) string {
	if p == nil {
		return s
	}
	return s + " Paused: " + period(p.Reason)
}

func period(s string) string {
	if s == "" || strings.HasSuffix(s, ".") {
		return s
	}
	return s + "."
}
