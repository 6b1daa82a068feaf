package sim

import (
	"fmt"
	"time"
)

// print writes one pass to the log of a replayed world.
func (t *trial) print() {
	r := t.d.State.Run
	fmt.Fprintf(t.log, "%8s %s", t.w.elapsed.Round(time.Millisecond), t.w.Now().Format("15:04:05"))
	if !t.alive {
		fmt.Fprintf(t.log, " KILLED")
	}
	if r != nil {
		fmt.Fprintf(t.log, " %s>%s %s step %d/%d paused=%v why=%q", r.ID, r.To.ID, r.Phase, r.Step+1, len(r.Plan.Steps), r.Paused != nil, r.Why)
	}
	fmt.Fprintf(t.log, "\n   observed %v pending=%v known=%v nodes=", t.in.Split.Split.Shares, t.in.Split.Pending, t.in.Split.Known)
	for _, s := range t.w.Router.Splits() {
		fmt.Fprintf(t.log, "%v ", s.Shares)
	}
	fmt.Fprintf(t.log, "fleet %v stale=%v\n   wanted %v fleet", t.in.Fleet, t.in.FleetStale, t.d.Split.Shares)
	for _, g := range t.d.Fleet {
		fmt.Fprintf(t.log, " %s:%d", g.Version.ID, g.Replicas)
	}
	fmt.Fprintf(t.log, "\n   evidence %s %d newest %s missing %q; leaving %v; intents %v\n", t.in.Evidence.Report.Verdict, t.in.Evidence.Report.Canary, t.in.Evidence.Newest.Format("15:04:05"), t.in.Evidence.Missing, t.d.State.Leaving, t.in.Intents)
	for _, e := range t.d.Events {
		fmt.Fprintf(t.log, "   %s: %s\n", e.Reason, e.Message)
	}
	for _, b := range t.broken {
		fmt.Fprintf(t.log, "   BROKEN %s\n", b)
	}
	t.broken = append([]string(nil), t.broken...)
}
