package web

import (
	"fmt"
	"math"
	"time"

	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/status"
	"github.com/haldane-project/haldane/internal/store"
)

// staleAfter is when figures of a run under way are called old.
const staleAfter = time.Minute

// health lists what must be right for the figures of a run to mean something.
func (s *Server) health(rec store.Record) []healthRow {
	out := []healthRow{passHealth(rec)}
	run := rec.State.Run
	if run == nil || run.Phase != rollout.Progressing {
		return out
	}
	if rec.Look == nil || rec.Look.Run != run.ID {
		return append(out, healthRow{"Evidence", "wait", "none yet"})
	}
	return append(out, s.evidenceHealth(*run, *rec.Look), shareHealth(*rec.Look))
}

func passHealth(rec store.Record) healthRow {
	if rec.Observed.Error != "" {
		return healthRow{"Controller", "bad", rec.Observed.Error}
	}
	if rec.Observed.At.IsZero() {
		return healthRow{"Controller", "wait", "has not looked at this release yet"}
	}
	return healthRow{"Controller", "good", "everything is as it should be"}
}

func (s *Server) evidenceHealth(run rollout.Run, l store.Look) healthRow {
	newest := run.Started.Add(time.Duration(l.Report.At * float64(time.Second)))
	age := s.o.Now().Sub(newest)
	text := fmt.Sprintf("%s requests of %s and %s of stable judged", count(l.Report.Canary), run.To.Name, count(l.Report.Stable))
	if age > staleAfter {
		return healthRow{"Evidence", "wait", fmt.Sprintf("%s; nothing new for %s", text, coarse(age))}
	}
	return healthRow{"Evidence", "good", text}
}

// shareHealth compares the canary's observed share with the wanted one. A
// difference counts when it is beyond chance (four standard deviations of the
// requests of a look are unknown here, so a tenth of the weight and one point)
// and large enough to matter.
func shareHealth(l store.Look) healthRow {
	want := float64(l.Weight) / 100
	seen := 100 * l.Seen
	text := fmt.Sprintf("wanted %s, seen %s", status.Percent(l.Weight), status.Share(l.Seen))
	if math.Abs(want-seen) > 1+want/10 {
		return healthRow{"Share of traffic", "wait", text}
	}
	return healthRow{"Share of traffic", "good", text}
}
