package rollout

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
)

var update = flag.Bool("update", false, "write the decisions into testdata/*.txt")

// TestScripts runs testdata/*.txt. A block is lines that change what is
// observed, then ----, then the decision on it. The lines:
//
//	spec VERSION [key=value ...]   what the user declares (see (*world).spec)
//	tick DURATION                  time passes (negative: the clock is set back)
//	apply                          split and instances become what was wanted
//	split apply|unknown|pending|VERSION=PERCENT...
//	fleet stale | fleet VERSION=READY[/TOTAL] [error=TEXT|blocked=TEXT]
//	inflight VERSION=N
//	evidence [VERDICT] [canary=N] [stable=N] [missing=TEXT] [pause=TEXT] [doubt=TEXT] [reason=TEXT]
//	intent VERB [by=] [run=] [version=] [reason=]
//	gate NAME yes|no [reason]
//	delete
//
// Underscores in values stand for spaces.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) { runScript(t, f) })
	}
}

func runScript(t *testing.T, file string) {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld()
	var out strings.Builder
	for i, block := range strings.Split(strings.TrimRight(string(b), "\n"), "\n\n") {
		input, want, _ := strings.Cut(block, "\n----")
		commands := 0
		for _, line := range strings.Split(input, "\n") {
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			commands++
			if err := w.command(line); err != nil {
				t.Fatalf("%s, block %d, %q: %v", file, i+1, line, err)
			}
		}
		if i > 0 {
			out.WriteString("\n")
		}
		out.WriteString(input + "\n")
		if commands == 0 {
			continue
		}
		got := w.decide(t)
		out.WriteString("----\n" + got)
		if want = strings.TrimPrefix(want, "\n") + "\n"; !*update && want != got {
			t.Errorf("%s, block %d:\n%s\n%s", file, i+1, input, cmp.Diff(want, got))
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// world is what the scripts observe.
type world struct {
	in      Input
	last    Decision
	intents int64
}

var noon = time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC) // a Monday

func newWorld() *world {
	w := &world{in: Input{Now: noon}}
	w.in.Split.Known = true
	w.in.Release = release.Release{Name: "hello", Replicas: 2}
	return w
}

func ver(name string) release.Version {
	return release.Version{ID: release.VersionID(name), Name: name}
}

func (w *world) command(line string) error {
	f := strings.Fields(line)
	verb, args := f[0], f[1:]
	switch verb {
	case "spec":
		return w.spec(args)
	case "tick":
		d, err := time.ParseDuration(args[0])
		w.in.Now = w.in.Now.Add(d)
		return err
	case "apply":
		w.applySplit()
		w.applyFleet()
	case "split":
		return w.split(args)
	case "fleet":
		return w.fleet(args)
	case "inflight":
		v, n, _ := strings.Cut(args[0], "=")
		count, err := strconv.ParseInt(n, 10, 64)
		w.in.Split.InFlight = []InFlight{{Version: release.VersionID(v), Count: count}}
		return err
	case "evidence":
		return w.evidence(args)
	case "intent":
		return w.intent(args)
	case "gate":
		w.in.Gates = []GateAnswer{{Gate: args[0], Yes: args[1] == "yes", Reason: strings.Join(args[2:], " ")}}
	case "delete":
		w.in.Deleted = true
	default:
		return fmt.Errorf("unknown command")
	}
	return nil
}

func (w *world) applySplit() {
	inFlight := w.in.Split.InFlight
	w.in.Split = ObservedSplit{Known: true, Split: w.last.Split, InFlight: inFlight}
}

func (w *world) applyFleet() {
	w.in.Fleet, w.in.FleetStale = nil, false
	for _, g := range w.last.Fleet {
		w.in.Fleet = append(w.in.Fleet, ObservedGroup{Version: g.Version.ID, Ready: g.Replicas, Total: g.Replicas})
	}
}

func (w *world) split(args []string) error {
	switch args[0] {
	case "apply":
		w.applySplit()
	case "unknown":
		w.in.Split.Known = false
	case "pending":
		w.in.Split.Pending = true
	default:
		s := release.Split{}
		for _, a := range args {
			v, p, _ := strings.Cut(a, "=")
			s.Shares = append(s.Shares, release.Share{Version: release.VersionID(v), Weight: weight(p)})
			s.Rest = release.VersionID(v)
		}
		w.in.Split = ObservedSplit{Known: true, Split: s}
	}
	return nil
}

func weight(s string) release.Weight {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		panic(err)
	}
	return release.Weight(f * 100)
}

func (w *world) fleet(args []string) error {
	if args[0] == "stale" {
		w.in.FleetStale = true
		return nil
	}
	w.in.FleetStale = false
	v, counts, _ := strings.Cut(args[0], "=")
	r, tot, ok := strings.Cut(counts, "/")
	if !ok {
		tot = r
	}
	g := ObservedGroup{Version: release.VersionID(v)}
	var err error
	if g.Ready, err = strconv.Atoi(r); err != nil {
		return err
	}
	if g.Total, err = strconv.Atoi(tot); err != nil {
		return err
	}
	for _, a := range args[1:] {
		k, text := value(a)
		g.Error, g.Blocked = text, k == "blocked"
	}
	w.in.Fleet = slices.DeleteFunc(w.in.Fleet, func(o ObservedGroup) bool { return o.Version == g.Version })
	if g.Total > 0 || g.Error != "" {
		w.in.Fleet = append(w.in.Fleet, g)
	}
	slices.SortFunc(w.in.Fleet, func(a, b ObservedGroup) int { return strings.Compare(string(a.Version), string(b.Version)) })
	return nil
}

func value(arg string) (key, text string) {
	k, v, _ := strings.Cut(arg, "=")
	return k, strings.ReplaceAll(v, "_", " ")
}

func (w *world) evidence(args []string) error {
	e := Evidence{Newest: w.in.Now, Report: w.in.Evidence.Report}
	e.Report.Verdict, e.Report.Pause, e.Report.Doubt, e.Report.Reason = judge.Inconclusive, "", "", ""
	for _, a := range args {
		k, v := value(a)
		n, _ := strconv.ParseInt(v, 10, 64)
		switch k {
		case "canary":
			e.Report.Canary = n
		case "stable":
			e.Report.Stable = n
		case "missing":
			e.Missing, e.Newest = v, w.in.Evidence.Newest
		case "pause":
			e.Report.Pause = v
		case "doubt":
			e.Report.Doubt = v
		case "reason":
			e.Report.Reason = v
		case "within": // the multiple of its margins within which every metric is proven to be
			if run := w.in.State.Run; run != nil && loose(run.Plan.Steps[run.Step]) >= float64(n) {
				e.Report.Verdict = judge.Pass
			}
		default:
			e.Report.Verdict = judge.Verdict(a)
		}
	}
	w.in.Evidence = e
	return nil
}

func (w *world) intent(args []string) error {
	w.intents++
	i := Intent{ID: w.intents, Verb: Verb(args[0]), By: "ann", At: w.in.Now}
	for _, a := range args[1:] {
		k, v := value(a)
		switch k {
		case "by":
			i.By = v
		case "run":
			i.Run = v
		case "version":
			i.Version = release.VersionID(v)
		case "reason":
			i.Reason = v
		}
	}
	w.in.Intents = append(w.in.Intents, i)
	return nil
}

// spec reads what the user declares. Keys: replicas, strategy, steps, share,
// batches, hold, min, require, bake, ready, deadline, on, gates (of every step,
// KIND:NAME or window:FROM-TO), loose (looseness by step).
func (w *world) spec(args []string) error {
	rel := &w.in.Release
	rel.Version = ver(args[0])
	if len(args) == 1 {
		return nil
	}
	st := release.Step{Require: release.None, Looseness: 1}
	s := release.Strategy{Kind: release.Canary, OnInconclusive: release.PauseRun, ReadyDeadline: 2 * time.Minute, Require: release.None}
	a := release.Analysis{}
	var steps, loose []string
	for _, arg := range args[1:] {
		k, v := value(arg)
		dur, _ := time.ParseDuration(v)
		n, _ := strconv.Atoi(v)
		switch k {
		case "replicas":
			rel.Replicas = n
		case "strategy":
			s.Kind = release.StrategyKind(v)
		case "steps":
			steps = strings.Split(v, ",")
		case "loose":
			loose = strings.Split(v, ",")
		case "share":
			s.Share = weight(v)
		case "batches":
			s.Batches = n
		case "hold":
			st.Hold, s.Hold = dur, dur
		case "min":
			st.MinRequests, a.MinRequests = int64(n), int64(n)
		case "require":
			st.Require, s.Require = release.Requirement(v), release.Requirement(v)
		case "bake":
			s.Bake = dur
		case "ready":
			s.ReadyDeadline = dur
		case "window":
			s.RollbackWindow = dur
		case "deadline":
			st.Deadline, s.StepDeadline = dur, dur
		case "on":
			s.OnInconclusive = release.OnInconclusive(v)
		case "gates":
			s.Gates = gates(v)
			st.Gates = s.Gates
		default:
			return fmt.Errorf("unknown key %s", k)
		}
	}
	for i, p := range steps {
		st.Weight = weight(p)
		st.Capacity = st.Weight
		if i < len(loose) {
			st.Looseness, _ = strconv.ParseFloat(loose[i], 64)
		}
		s.Steps = append(s.Steps, st)
	}
	rel.Strategy, rel.Analysis = s, a
	return nil
}

func gates(v string) []release.Gate {
	var out []release.Gate
	for _, g := range strings.Split(v, ",") {
		kind, name, _ := strings.Cut(g, ":")
		gate := release.Gate{Name: name, Kind: release.GateKind(kind)}
		if gate.Kind == release.GateWindow {
			from, to, _ := strings.Cut(name, "-")
			gate.Name, gate.Window = "hours", &release.Window{From: from, To: to}
		}
		out = append(out, gate)
	}
	return out
}

// decide makes a decision, checks what holds for every one, and prints it.
func (w *world) decide(t *testing.T) string {
	before := cloneState(w.in.State)
	d := Decide(w.in)
	if diff := cmp.Diff(before, w.in.State); diff != "" {
		t.Errorf("Decide changed its input: %s", diff)
	}
	w.last = d
	again := w.in
	again.State = d.State
	again.Intents = nil
	if runOf(w.in.State) != runOf(d.State) {
		again.Evidence = Evidence{}
	}
	if stepOf(w.in.State) != stepOf(d.State) {
		again.Gates = nil
	}
	d2 := Decide(again)
	if !reflect.DeepEqual(d2.State, d.State) || !reflect.DeepEqual(d2.Split, d.Split) || !reflect.DeepEqual(d2.Fleet, d.Fleet) || len(d2.Events)+len(d2.Consumed) > 0 {
		t.Errorf("deciding again on the same observations changes something:\n%s", cmp.Diff(d, d2))
	}
	w.in = again
	return show(w.in.Now, d)
}

func runOf(s State) string {
	if s.Run == nil {
		return ""
	}
	return s.Run.ID
}

func stepOf(s State) string {
	if s.Run == nil {
		return ""
	}
	return fmt.Sprint(s.Run.ID, s.Run.Phase, s.Run.Step)
}

func show(now time.Time, d Decision) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	stable := "none"
	if d.State.Stable != nil {
		stable = d.State.Stable.Name
	}
	head := fmt.Sprintf("%s stable %s", now.Format("15:04:05"), stable)
	if d.State.Rejected != "" {
		head += fmt.Sprintf(", rejected %s", d.State.Rejected)
	}
	line("%s", head)
	if r := d.State.Run; r != nil {
		s := fmt.Sprintf("run %s to %s: %s, step %d of %d", r.ID, r.To.Name, r.Phase, r.Step+1, len(r.Plan.Steps))
		if r.Paused != nil {
			s += ", paused"
		}
		if r.Cause != "" {
			s += ", " + string(r.Cause)
		}
		line("%s\n  %s", s, r.Why)
	}
	line("split %s", showSplit(d.Split))
	var fleet []string
	for _, g := range d.Fleet {
		fleet = append(fleet, fmt.Sprintf("%s:%d", g.Version.Name, g.Replicas))
	}
	line("fleet %s", strings.Join(fleet, " "))
	for _, a := range d.Consumed {
		line("answer %d done=%v: %s", a.ID, a.Done, a.Message)
	}
	for _, e := range d.Events {
		by := ""
		if e.By != "" {
			by = " by " + e.By
		}
		line("event %s%s: %s", e.Reason, by, e.Message)
	}
	for _, g := range d.Ask {
		line("ask %s", g.Name)
	}
	if d.Judge {
		line("judge")
	}
	if !d.Wake.IsZero() {
		line("wake %s", d.Wake.Format("15:04:05"))
	}
	if d.Gone {
		line("gone")
	}
	return b.String()
}

func showSplit(s release.Split) string {
	if len(s.Shares) == 0 {
		return "nothing"
	}
	var out []string
	for _, x := range s.Shares {
		out = append(out, fmt.Sprintf("%s=%s", x.Version, percent(x.Weight)))
	}
	out = append(out, "rest "+string(s.Rest))
	for _, m := range s.Matched {
		out = append(out, "match "+string(m.Version))
	}
	if s.Mirror != nil {
		out = append(out, fmt.Sprintf("mirror %s=%s", s.Mirror.Version, percent(s.Mirror.Share)))
	}
	return strings.Join(out, ", ")
}
