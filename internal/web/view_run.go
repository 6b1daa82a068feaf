package web

import (
	"fmt"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/status"
	"github.com/haldane-project/haldane/internal/store"
)

// runView is a run as pages show it, live or over.
type runView struct {
	Run        rollout.Run
	Phase      string
	Stable     string // names of versions
	Canary     string
	Started    stamp
	Took       string
	Why        string
	Steps      []stepView
	Report     *judge.Report
	Evidence   []evidenceRow
	Scale      ratioScale
	Traffic    []*trafficChart // a wide and a narrow drawing
	Worse      []*lineChart    // evidence against the canary over time
	Proof      []*lineChart    // evidence that it is within the margin
	Looks      []lookRow
	Log        []logRow
	Combined   string
	Threshold  string
	Placebo    string   // what was found when stable was compared with itself
	Division   string   // how requests were divided
	Caveats    []string // what could mislead
	Reached    float64  // part of the threshold, 0..100
	Saved      string
	TrafficOff string
}

// stepView is one step of the plan.
type stepView struct {
	Name, Weight, State, Detail string // State: done, now, left, cut
}

// logRow is one decision or wish in the log.
type logRow struct {
	Mark    int // number in the chart; 0: not in it
	At      stamp
	Reason  string
	Message string
	By      string
	Warning bool
}

// lookRow is a reading as a line of the table that says the same as the charts.
type lookRow struct {
	At                             stamp
	Step                           int
	Weight, Seen, Evidence, Canary string
	Verdict                        string
}

// chartData is what the view of a run is made from.
type chartData struct {
	run     rollout.Run
	report  *judge.Report
	looks   []store.Look
	events  []store.StoredEvent
	metrics []release.Metric // as declared now, for the margins
	load    string           // status.Load
	now     time.Time
}

func (s *Server) viewRun(d chartData) runView {
	v := runView{Run: d.run, Phase: string(d.run.Phase), Canary: d.run.To.Name, Report: d.report, Started: s.ago(d.run.Started)}
	if d.run.From != nil {
		v.Stable = d.run.From.Name
	}
	if d.run.Paused != nil && !d.run.Phase.Ended() {
		v.Phase = status.Paused
	}
	v.Why = sentence(d.run.Why, v.Canary, v.Stable)
	v.Took = status.Duration(end(d).Sub(d.run.Started))
	v.Steps = steps(d)
	v.Log = decisionLog(d)
	v.Looks = lookRows(d.looks)
	v.Traffic = []*trafficChart{newTrafficChart(d, wideTraffic), newTrafficChart(d, narrowTraffic)}
	if d.report != nil {
		v.Placebo, v.Division = status.Checks(*d.report)
		v.Caveats = status.Caveats(d.run, *d.report)
		if d.load != "" {
			v.Caveats = append(v.Caveats, d.load)
		}
		v.Combined, v.Threshold = status.Odds(d.report.LogE), status.Odds(d.report.Threshold)
		v.Reached = part(d.report.LogE, d.report.Threshold)
		v.Scale = scaleOf(*d.report, d.metrics)
		v.Evidence = evidenceRows(*d.report, d.metrics, v.Scale)
		v.Worse = []*lineChart{newLineChart(d, worseLines, wideLines), newLineChart(d, worseLines, narrowLines)}
		v.Proof = []*lineChart{newLineChart(d, proofLines, wideLines), newLineChart(d, proofLines, narrowLines)}
	}
	if off := d.run.TrafficOff; !off.IsZero() {
		v.TrafficOff = status.Duration(off.Sub(d.run.Started))
	}
	v.Saved = saved(d)
	return v
}

// end is the last moment that the charts show.
func end(d chartData) time.Time {
	if !d.run.Ended.IsZero() {
		return d.run.Ended
	}
	return d.now
}

func steps(d chartData) []stepView {
	var out []stepView
	for i, st := range d.run.Plan.Steps {
		v := stepView{Name: st.Name, Weight: status.Percent(st.Weight), State: "left", Detail: stepDetail(st)}
		switch {
		case d.run.Phase == rollout.Promoted || d.run.Phase == rollout.Finishing || d.run.Phase == rollout.Baking:
			v.State = "done"
		case d.run.Phase == rollout.Preparing:
		case i < d.run.Step:
			v.State = "done"
		case i == d.run.Step && d.run.Phase == rollout.Progressing:
			v.State = "now"
		case i == d.run.Step:
			v.State = "cut"
		}
		out = append(out, v)
	}
	return out
}

func stepDetail(st release.Step) string {
	s := ""
	add := func(t string) {
		if s != "" {
			s += ", "
		}
		s += t
	}
	if st.Mirror > 0 {
		add("mirror " + status.Percent(st.Mirror))
	}
	if st.Hold > 0 {
		add("at least " + status.Duration(st.Hold))
	}
	if st.MinRequests > 0 {
		add(count(st.MinRequests) + " requests")
	}
	switch st.Require {
	case release.NoHarm:
		add("nothing worse")
	case release.Proven:
		add("proven within the margin")
	}
	for _, g := range st.Gates {
		add(string(g.Kind) + " gate")
	}
	return s
}

// decisionLog is the events of the run, newest first, numbered as in the chart.
func decisionLog(d chartData) []logRow {
	var out []logRow
	mark, v, from := 0, d.run, ""
	if v.From != nil {
		from = v.From.Name
	}
	for _, e := range d.events {
		if e.Run != d.run.ID {
			continue
		}
		mark++
		out = append(out, logRow{Mark: mark, At: clock(e.At), Reason: e.Reason, Message: sentence(e.Message, v.To.Name, from), By: e.By, Warning: e.Warning})
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}

const maxLookRows = 60

// lookRows thins the looks evenly to a table that can be read.
func lookRows(looks []store.Look) []lookRow {
	var out []lookRow
	for _, l := range thin(looks, maxLookRows) {
		out = append(out, lookRow{At: clock(l.At), Step: l.Step + 1, Weight: status.Percent(l.Weight),
			Seen: status.Share(l.Seen), Evidence: status.Odds(l.Report.LogE), Canary: count(l.Report.Canary), Verdict: string(l.Report.Verdict)})
	}
	return out
}

// thin keeps at most n elements: the first, the last and evenly between.
func thin[T any](xs []T, n int) []T {
	if len(xs) <= n {
		return xs
	}
	out := make([]T, 0, n)
	for i := range n {
		out = append(out, xs[i*(len(xs)-1)/(n-1)])
	}
	return out
}

// saved says, after a rollback, how many requests did not fail because the
// canary was taken off: the difference of the failure rates times the requests
// that it would have had at full traffic since.
func saved(d chartData) string {
	if d.run.Phase != rollout.RolledBack || d.report == nil {
		return ""
	}
	for _, m := range d.report.Metrics {
		if m.Kind != judge.Proportion || m.Canary.Value == nil || m.Stable.Value == nil || *m.Canary.Value <= *m.Stable.Value {
			continue
		}
		per := (*m.Canary.Value - *m.Stable.Value) * 1e6
		return fmt.Sprintf("With all of the traffic, %s would have failed about %s more of every million requests than %s.",
			d.run.To.Name, count(int64(per)), d.run.From.Name)
	}
	return ""
}
