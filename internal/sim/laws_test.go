package sim

import (
	"context"
	"flag"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/traffic"
)

var (
	worlds = flag.Int("worlds", 20_000, "seeded worlds that the laws are tried on")
	seed   = flag.Uint64("seed", 0, "replay this one world and print its passes")
)

// TestMain lets worlds be forgotten in larger heaps: there are many, and they are small.
func TestMain(m *testing.M) {
	flag.Parse()
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}

type decide func(rollout.Input) rollout.Decision

// trial is one world with a controller on it and the laws as witnesses.
type trial struct {
	w      *World
	decide decide
	log    *strings.Builder // nil: no log
	broken []string         // laws that were broken, "law 2: ..."

	state    rollout.State // as saved
	fleet    []rollout.ObservedGroup
	in       rollout.Input
	d        rollout.Decision
	alive    bool
	acted    int             // writes of this pass so far
	taken    map[string]bool // runs whose traffic was taken off for good
	vouched  map[string]bool // run/step that a person promoted past
	answered map[int64]int   // how often each intent was answered
}

func newTrial(seed uint64, f decide) *trial {
	t := &trial{w: NewWorld(seed), decide: f, taken: map[string]bool{}, vouched: map[string]bool{}, answered: map[int64]int{}}
	t.w.Router.OnApply = t.routerTold
	t.w.Fleet.OnApply = t.fleetTold
	return t
}

func (t *trial) breaks(law int, format string, args ...any) {
	if len(t.broken) < 20 {
		t.broken = append(t.broken, fmt.Sprintf("law %d: ", law)+fmt.Sprintf(format, args...))
	}
}

// run lets a world go wrong for a while, and then come to rest.
func (t *trial) run() {
	for range 60 {
		t.step()
	}
	t.w.Calm()
	quiet := t.w.Elapsed()
	for i := 0; t.w.Elapsed()-quiet < 2*time.Minute && (i < 400 || t.moving() && i < 600); i++ {
		before := t.state
		t.step()
		if t.moving() || !reflect.DeepEqual(before, t.state) {
			quiet = t.w.Elapsed()
		}
	}
	t.atRest()
}

// moving reports whether something must still come to an end by itself.
func (t *trial) moving() bool {
	r := t.state.Run
	return t.w.Deleted && !t.d.Gone || r == nil || r.Phase == rollout.RollingBack || r.Phase == rollout.Finishing || len(t.state.Leaving) > 0
}

func (t *trial) step() {
	t.w.Step()
	t.checkWorld()
	for range 2 { // a pass that moved something is followed by another
		t.pass()
	}
}

// pass observes, decides and acts in the order of internal/reconcile; the
// controller may be killed before every act.
func (t *trial) pass() {
	t.alive, t.acted = true, 0
	t.observe()
	t.d = t.decide(t.in)
	t.checkDecision()
	before := t.state
	moved := !t.in.Split.Known || !sameSplit(t.in.Split.Split, t.d.Split)
	early := moved && takesAway(t.in.Split.Split, t.d.Split)
	if early {
		t.act(t.route)
	}
	saved := false
	t.act(func() { saved = t.save() })
	if !early && (saved || !rises(before, t.in.Split.Split, t.d.Split)) {
		t.act(t.route)
	}
	if saved || reflect.DeepEqual(before, t.d.State) {
		t.act(func() { _ = t.w.Fleet.Apply(context.Background(), t.w.Release, t.d.Fleet) })
	}
	if t.log != nil {
		t.print()
	}
}

func (t *trial) act(f func()) {
	if t.alive && t.w.chance(t.w.Faults.Killed) {
		t.alive, t.fleet = false, nil
	}
	if t.alive {
		f()
		t.acted++
	}
}

func (t *trial) route() {
	if len(t.d.Split.Shares) == 0 && t.w.Deleted {
		_ = t.w.Router.Remove(context.Background(), t.w.Release)
		return
	}
	_ = t.w.Router.Apply(context.Background(), traffic.Target{Release: t.w.Release, Split: t.d.Split})
}

// save writes the state and answers intents, or fails; a failed write may have
// been done.
func (t *trial) save() bool {
	fails := t.w.chance(t.w.Faults.StoreFails)
	if fails && t.w.rng.IntN(2) == 0 {
		return false
	}
	t.state = t.d.State
	for _, a := range t.d.Consumed {
		t.answered[a.ID]++
		t.w.Intents = slices.DeleteFunc(t.w.Intents, func(i rollout.Intent) bool { return i.ID == a.ID })
	}
	if r := t.d.State.Run; r != nil && r.Phase == rollout.RollingBack && r.Outcome != rollout.Superseded {
		t.taken[r.ID] = true
	}
	return !fails
}

func (t *trial) observe() {
	w := t.w
	t.in = rollout.Input{Now: w.Now(), Release: w.Release, State: t.state, Deleted: w.Deleted, Intents: slices.Clone(w.Intents)}
	if o, err := w.Router.Observe(context.Background(), w.Release); err == nil {
		t.in.Split = o
	}
	f, err := w.Fleet.Observe(context.Background(), w.Release)
	if err != nil {
		t.in.FleetStale = true
	} else {
		t.fleet = f.Groups
	}
	t.in.Fleet = t.fleet
	t.in.Evidence = w.Metrics.Evidence(t.state.Run)
}

// takesAway and rises are those of internal/reconcile.
func takesAway(now, want release.Split) bool {
	for _, s := range now.Shares {
		if s.Version != want.Rest && want.Of(s.Version) < s.Weight {
			return true
		}
	}
	return now.Mirror != nil && want.Mirror == nil || len(want.Matched) < len(now.Matched)
}

func rises(s rollout.State, now, want release.Split) bool {
	for _, x := range want.Shares {
		if s.Stable != nil && x.Version == s.Stable.ID {
			continue
		}
		if x.Weight > now.Of(x.Version) {
			return true
		}
	}
	return false
}

func (t *trial) checkWorld() {
	for _, s := range t.w.Router.Splits() {
		if why := whole(s); why != "" {
			t.breaks(1, "a node of the router has %v: %s", s.Shares, why)
		}
	}
}

// whole says what is wrong with a split; no shares at all are whole.
func whole(s release.Split) string {
	sum := release.Weight(0)
	for i, x := range s.Shares {
		sum += x.Weight
		if x.Weight < 0 || i > 0 && s.Shares[i-1].Version >= x.Version {
			return "not sorted or negative"
		}
	}
	if len(s.Shares) > 0 && sum != release.Full {
		return fmt.Sprintf("sums to %d", sum)
	}
	return ""
}

func open(r *rollout.Run) bool {
	return r != nil && (r.Phase == rollout.Preparing || r.Phase == rollout.Progressing || r.Phase == rollout.Baking)
}

// checkDecision holds the laws against one decision.
func (t *trial) checkDecision() {
	t.checkSplit()
	t.checkRise()
	t.checkIntents()
	t.checkAgain()
	t.checkRestPoint()
}

func (t *trial) checkSplit() {
	if why := whole(t.d.Split); why != "" {
		t.breaks(1, "the wanted split %v %s", t.d.Split.Shares, why)
	}
	if len(t.d.Split.Shares) == 0 && t.d.State.Stable != nil && !t.in.Deleted {
		t.breaks(1, "nothing serves, though %s could", t.d.State.Stable.ID)
	}
	r := t.in.State.Run
	if open(r) && r.From != nil && !r.Extra && t.in.Evidence.Report.Verdict == judge.Fail && !t.in.Deleted && t.d.Split.Of(r.To.ID) > 0 {
		t.breaks(3, "%s failed and still has %d", r.To.ID, t.d.Split.Of(r.To.ID))
	}
	if run := t.d.State.Run; run != nil && t.taken[run.ID] && !t.in.Deleted {
		if t.d.Split.Of(run.To.ID) > 0 {
			t.breaks(3, "run %s was taken off and its share is wanted again", run.ID)
		}
	}
}

// checkRise: a step is left upwards on fresh evidence of its own, or on a
// person's word (laws 2 and 5), and not while the run is paused (law 9).
func (t *trial) checkRise() {
	was, is := t.in.State.Run, t.d.State.Run
	for _, e := range t.d.Events {
		if e.Reason == "Approved" && e.By != "" && is != nil {
			t.vouched[fmt.Sprint(is.ID, t.stepBefore())] = true
		}
	}
	if was == nil || is == nil || was.ID != is.ID || was.Phase != rollout.Progressing || is.Phase != rollout.Progressing || is.Step <= was.Step {
		return
	}
	from, to := was.Plan.Steps[was.Step], is.Plan.Steps[is.Step]
	if to.Weight <= from.Weight {
		return
	}
	if was.Paused != nil && t.in.Intents == nil {
		t.breaks(9, "the share rose in a pause")
	}
	if t.vouched[fmt.Sprint(is.ID, was.Step)] || is.SkipAll {
		return
	}
	if from.Weight == 0 && from.Require == release.None || was.Extra {
		return
	}
	e := t.in.Evidence
	switch {
	case e.Missing != "" || e.Newest.IsZero() || e.Report.Canary == 0:
		t.breaks(5, "step %d was left without data", was.Step)
	case e.Report.Verdict == judge.Fail:
		t.breaks(2, "step %d was left on a failing verdict", was.Step)
	case t.in.Now.Sub(e.Newest).Abs() > 2*time.Minute:
		t.breaks(2, "step %d was left on evidence %s old", was.Step, t.in.Now.Sub(e.Newest))
	case from.Require == release.Proven && e.Report.Verdict != judge.Pass:
		t.breaks(5, "step %d asks for proof and was left on %s", was.Step, e.Report.Verdict)
	}
}

func (t *trial) stepBefore() int {
	if r := t.in.State.Run; r != nil {
		return r.Step
	}
	return 0
}

func (t *trial) checkIntents() {
	answered := map[int64]bool{}
	for _, a := range t.d.Consumed {
		if answered[a.ID] || a.Message == "" {
			t.breaks(9, "intent %d was answered twice or without a word", a.ID)
		}
		answered[a.ID] = true
	}
	for _, i := range t.in.Intents {
		if !answered[i.ID] {
			t.breaks(9, "intent %d (%s) got no answer", i.ID, i.Verb)
		}
		r := t.in.State.Run
		if i.Verb != rollout.AskAbort || !open(r) || t.in.Deleted || i.Run != "" {
			continue
		}
		if t.d.Split.Of(r.To.ID) > 0 {
			t.breaks(9, "abort was asked in %s and %s has %d", r.Phase, r.To.ID, t.d.Split.Of(r.To.ID))
		}
	}
	for id, n := range t.answered {
		if n > 1 {
			t.breaks(7, "intent %d was answered %d times", id, n)
		}
	}
}

// checkAgain: the same input gives the same decision, and deciding again on the
// same observations changes nothing and tells nothing.
func (t *trial) checkAgain() {
	if t.w.rng.IntN(6) != 0 {
		return
	}
	if d := t.decide(t.in); !reflect.DeepEqual(d, t.d) {
		t.breaks(6, "the same input gave another decision")
	}
	in := t.in
	in.State, in.Intents = t.d.State, nil
	if a, b := t.in.State.Run, t.d.State.Run; a == nil || b == nil || a.ID != b.ID {
		in.Evidence = rollout.Evidence{}
	}
	d := t.decide(in)
	if len(d.Events)+len(d.Consumed) > 0 || !reflect.DeepEqual(d.State, t.d.State) || !reflect.DeepEqual(d.Split, t.d.Split) || !reflect.DeepEqual(d.Fleet, t.d.Fleet) {
		t.breaks(6, "deciding again changed something: %s", cmp.Diff(t.d, d))
	}
}

// checkRestPoint: without a run there is nothing but what the user wrote (law 10).
func (t *trial) checkRestPoint() {
	s := t.d.State
	if t.in.Deleted || s.Stable == nil || s.Run == nil || !s.Run.Phase.Ended() || len(s.Leaving) > 0 {
		return
	}
	sp := t.d.Split
	if len(sp.Shares) != 1 || sp.Of(s.Stable.ID) != release.Full || sp.Rest != s.Stable.ID || sp.Mirror != nil || len(sp.Matched) > 0 {
		t.breaks(10, "at rest the split is %+v", sp)
	}
	if len(t.d.Fleet) != 1 || t.d.Fleet[0].Version.ID != s.Stable.ID || t.d.Fleet[0].Replicas != t.in.Release.Replicas {
		t.breaks(10, "at rest the instances are %v", t.d.Fleet)
	}
}

// routerTold holds the laws against what is in force and what shall be.
func (t *trial) routerTold(s release.Split) {
	if t.acted > 0 && takesAway(t.in.Split.Split, s) && t.in.Split.Known && !rises(t.state, t.in.Split.Split, s) {
		t.breaks(3, "taking traffic off was not the first act")
	}
	stable := t.d.State.Stable
	for _, x := range s.Shares {
		if stable != nil && x.Version == stable.ID || x.Weight == 0 {
			continue
		}
		t.checkShareRise(x)
		for _, o := range t.w.versions {
			if _, most := t.w.Router.Share(o.ID); most > 0 && o.ID != x.Version && stable != nil && o.ID != stable.ID {
				t.breaks(8, "%s gets a share while %s, a third version, still has %d", x.Version, o.ID, most)
			}
		}
	}
}

// checkShareRise: what raises a share at any node has the capacity for it.
func (t *trial) checkShareRise(x release.Share) {
	r := t.d.State.Run
	least, _ := t.w.Router.Share(x.Version)
	if x.Weight <= least || r == nil || r.From == nil {
		return
	}
	if !t.in.Split.Known && !r.Entered.IsZero() {
		return // it was in force, and the router can not be asked
	}
	need := (int(x.Weight)*t.in.Release.Replicas + int(release.Full) - 1) / int(release.Full)
	ready := 0
	for _, g := range t.in.Fleet {
		if g.Version == x.Version {
			ready = g.Ready
		}
	}
	if t.in.FleetStale || ready < need {
		t.breaks(2, "%s rises to %d with %d of %d instances ready (stale: %v)", x.Version, x.Weight, ready, need, t.in.FleetStale)
	}
	if r.Paused != nil && r.Phase == rollout.Preparing {
		t.breaks(9, "%s rises in a pause", x.Version)
	}
}

// fleetTold: instances are not taken from a version that has traffic (law 4).
func (t *trial) fleetTold(want []rollout.Group) {
	for _, v := range t.w.versions {
		n := 0
		if i := slices.IndexFunc(want, func(g rollout.Group) bool { return g.Version.ID == v.ID }); i >= 0 {
			n = want[i].Replicas
		}
		_, most := t.w.Router.Share(v.ID)
		need := (int(most)*t.in.Release.Replicas + int(release.Full) - 1) / int(release.Full)
		if most > 0 && n < t.w.Fleet.Wanted(v.ID) && n < need {
			t.breaks(4, "%s has %d of the traffic, needs %d instances and is left with %d", v.ID, most, need, n)
		}
	}
}

// atRest: when nothing goes wrong any more, every world comes to an end that
// does not depend on what went wrong (law 7): no write is missing, and the run
// has ended or waits for something that it names.
func (t *trial) atRest() {
	r := t.state.Run
	if len(t.w.Intents) > 0 {
		t.breaks(7, "%d intents were never answered", len(t.w.Intents))
	}
	if t.w.Deleted {
		if !t.d.Gone {
			t.breaks(7, "the deleted release is not gone: leaving %v, split %v", t.state.Leaving, t.in.Split)
		}
		return
	}
	if r == nil {
		t.breaks(7, "no run ever began")
		return
	}
	if !reflect.DeepEqual(t.in.Split.Split.Shares, t.d.Split.Shares) && len(t.in.Split.Split.Shares)+len(t.d.Split.Shares) > 0 {
		t.breaks(7, "the split in force is %v, wanted is %v", t.in.Split.Split.Shares, t.d.Split.Shares)
	}
	if !r.Phase.Ended() && r.Why == "" {
		t.breaks(7, "run %s waits in %s and does not say for what", r.ID, r.Phase)
	}
	if r.Phase == rollout.RollingBack || r.Phase == rollout.Finishing {
		t.breaks(7, "run %s is still %s: %s", r.ID, r.Phase, r.Why)
	}
	if len(t.state.Leaving) > 0 {
		t.breaks(7, "%v never left", t.state.Leaving)
	}
}

// broken tries a decide function on worlds and returns the first that breaks a
// law of the list (0: any).
func broken(n int, f decide, law int) (seed uint64, what []string) {
	var next atomic.Uint64
	var mu sync.Mutex
	var wg sync.WaitGroup
	prefix := fmt.Sprintf("law %d:", law)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for s := next.Add(1); s <= uint64(n); s = next.Add(1) {
				t := newTrial(s, f)
				t.run()
				if len(t.broken) == 0 || law > 0 && !slices.ContainsFunc(t.broken, func(b string) bool { return strings.HasPrefix(b, prefix) }) {
					continue
				}
				mu.Lock()
				if what == nil || s < seed {
					seed, what = s, t.broken
				}
				mu.Unlock()
				next.Store(uint64(n))
			}
		})
	}
	wg.Wait()
	return seed, what
}

// TestLaws tries the ten laws on seeded worlds. A failure names its seed;
// `go test ./internal/sim -run TestLaws -seed N -v` replays it.
func TestLaws(t *testing.T) {
	if *seed != 0 {
		tr := newTrial(*seed, rollout.Decide)
		tr.log = &strings.Builder{}
		tr.run()
		t.Log(tr.log.String())
		for _, b := range tr.broken {
			t.Error(b)
		}
		return
	}
	n := *worlds
	if testing.Short() || racing {
		n /= 40
	}
	if s, what := broken(n, rollout.Decide, 0); what != nil {
		t.Errorf("world %d breaks\n%s", s, strings.Join(what, "\n"))
	}
}
