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
	if e := rec.Observed.Error; e != "" {
		s += " The last pass met trouble: " + period(strings.ReplaceAll(e, "\n", "; "))
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
	case run.From == nil && rec.State.Stable == nil && run.Phase == rollout.RolledBack:
		return because(run.To.Name+" can not serve as the first version", run.Why) + " It serves as soon as an instance is ready."
	case run.From == nil && rec.State.Stable == nil && (run.Phase == rollout.Preparing || run.Phase == rollout.Progressing):
		return starting(rec, *run)
	}
	to, from := run.To.Name, "the version before"
	if run.From != nil {
		from = run.From.Name
	}
	switch run.Phase {
	case rollout.Preparing:
		return join(fmt.Sprintf("%s is starting: %s.%s", to, instances(rec, run.To.ID), trouble(rec, run.To.ID)), run.Paused)
	case rollout.Progressing:
		return progressing(rec, *run)
	case rollout.Baking:
		return join(fmt.Sprintf("All of the traffic goes to %s; %s is kept ready for an instant way back.", to, from), run.Paused)
	case rollout.Finishing:
		return fmt.Sprintf("All of the traffic goes to %s; instances of %s drain and stop.", to, from)
	case rollout.RollingBack:
		return because("Traffic is taken off "+to, run.Why)
	case rollout.RolledBack:
		return because(to+" was rolled back", run.Why) + " " + serves(rec)
	case rollout.Aborted:
		return because(to+" was aborted", run.Why) + " " + serves(rec)
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
		s += " " + period(upper(look.Report.Reason))
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
			return fmt.Sprintf("%d of %s ready", g.Ready, count(g.Total, "instance", "instances"))
		}
	}
	return "no instance yet"
}

func join(s string, p *rollout.Pause) string {
	if p == nil {
		return s
	}
	return s + " " + because("Paused", p.Reason)
}

// because ends a sentence with its reason, where one is known.
func because(s, why string) string {
	if why = period(why); why == "" {
		return s + "."
	}
	return s + ": " + why
}

// period ends a sentence that others began.
func period(s string) string {
	if s = strings.TrimRight(s, " .\n"); s == "" {
		return ""
	}
	return s + "."
}

// count writes a number with its noun: "1 request", "3 requests".
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
