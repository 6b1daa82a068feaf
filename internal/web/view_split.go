package web

import (
	"fmt"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/status"
	"github.com/haldane-project/haldane/internal/store"
)

// splitBar is the assignment of traffic as one bar: stable from the left, the
// canary from the right, others between.
type splitBar struct {
	Parts []splitPart
	Label string // the whole in words
}

type splitPart struct {
	Name, Role, Percent string
	X, Width            float64 // of 100
}

func splitOf(rec store.Record) splitBar {
	var b splitBar
	run := rec.State.Run
	add := func(v release.Version, role string) {
		w := rec.Observed.Split.Of(v.ID)
		if w == 0 && role != "canary" {
			return
		}
		b.Parts = append(b.Parts, splitPart{Name: v.Name, Role: role, Percent: status.Percent(w), Width: float64(w) / 100})
	}
	known := versions(rec)
	canary := canaryOf(run)
	for _, v := range known {
		if rec.State.Stable != nil && v.ID == rec.State.Stable.ID {
			add(v, "stable")
		}
	}
	for _, v := range known {
		if (rec.State.Stable == nil || v.ID != rec.State.Stable.ID) && v.ID != canary {
			add(v, "other")
		}
	}
	for _, v := range known {
		if v.ID == canary && (rec.State.Stable == nil || v.ID != rec.State.Stable.ID) {
			add(v, "canary")
		}
	}
	x := 0.0
	for i := range b.Parts {
		p := &b.Parts[i]
		p.X = x
		x += p.Width
		if b.Label != "" {
			b.Label += ", "
		}
		b.Label += fmt.Sprintf("%s %s", p.Percent, p.Name)
	}
	if b.Label == "" {
		b.Label = "no traffic"
	}
	return b
}

// canaryOf is the version that a run under way tries.
func canaryOf(run *rollout.Run) release.VersionID {
	if run == nil || run.Phase.Ended() {
		return ""
	}
	return run.To.ID
}

func stepOf(run rollout.Run) string {
	return fmt.Sprintf("%d of %d", min(run.Step+1, len(run.Plan.Steps)), len(run.Plan.Steps))
}
