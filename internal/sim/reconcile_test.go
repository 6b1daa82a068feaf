package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/reconcile"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
	"github.com/haldane-project/haldane/internal/traffic"
	"github.com/haldane-project/haldane/internal/workload"
)

// house is a world with the real pass and the real judge on it. The controller
// is killed before and after any act: a port panics, and a new one is made.
type house struct {
	t *testing.T
	w *World
	store.Store
	rec      store.Record
	rc       *reconcile.Reconciler
	log      map[string][]portion // evidence by run, as a provider would keep it
	seen     map[release.VersionID]int64
	answered map[int64]int
	acts     int  // so far
	killAt   int  // the act at which the controller is killed; 0: by chance
	loses    bool // the store keeps the judge without the cursor
	broken   []string
	ends     []string // runs that ended, with how
}

// portion is one batch of evidence.
type portion struct{ batch judge.Batch }

type killed struct{}

func newHouse(t *testing.T, seed uint64) *house {
	h := &house{t: t, w: NewWorld(seed), log: map[string][]portion{}, seen: map[release.VersionID]int64{}, answered: map[int64]int{}}
	h.w.Release.Analysis = release.Analysis{
		FalseRollback: 0.01, FalsePromotion: 0.05,
		Metrics: []release.Metric{{Name: "errors", Kind: release.Errors, Required: true, Share: 1, Margin: release.Margin{Difference: 0.05}, Judge: release.JudgedRollBack}},
	}
	h.w.Metrics.rate += 5 // the judge needs more requests than the laws do
	h.rec = store.Record{Name: "hello", UID: "1", Revision: 1}
	h.w.Fleet.OnApply = func(g []rollout.Group) { h.fleetTold(g) }
	h.restart()
	return h
}

func (h *house) restart() {
	h.rc = reconcile.New(reconcile.Ports{
		Store: h, Router: dying{h.w.Router, h}, Runtime: starting{h.w.Fleet, h}, Metrics: provider{h}, Now: h.w.Now,
		Parse: func(store.Record) (release.Release, error) { return h.w.Release, nil },
	})
}

// mayDie kills the controller by chance, or at the act that was chosen.
func (h *house) mayDie() {
	h.acts++
	if h.acts == h.killAt || h.w.chance(h.w.Faults.Killed) {
		panic(killed{})
	}
}

func (h *house) breaks(format string, args ...any) {
	if len(h.broken) < 10 {
		h.broken = append(h.broken, fmt.Sprintf(format, args...))
	}
}

func (h *house) pass() (gone bool) {
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(killed); !ok {
				panic(p)
			}
			h.restart()
		}
	}()
	_, gone, _ = h.rc.Pass(context.Background(), "hello") // errors are those of the world
	return gone
}

func (h *house) step() bool {
	before := h.w.Now()
	h.w.Step()
	h.serve(before)
	gone := false
	for range 2 {
		gone = gone || h.pass()
	}
	return gone
}

// serve keeps what the versions of the current run answered in a step.
func (h *house) serve(time.Time) {
	r := h.rec.State.Run
	if r == nil || r.From == nil || r.Phase.Ended() {
		return
	}
	side := func(v release.VersionID) judge.Side {
		n := h.w.Metrics.seen[v] - h.seen[v]
		h.seen[v] += n
		bad := n / 100
		if h.w.Metrics.fates[v].failAt > 0 {
			bad = n / 2
		}
		return judge.Side{N: n, Bad: bad}
	}
	at := max(0, h.w.elapsed.Seconds())
	h.log[r.ID] = append(h.log[r.ID], portion{judge.Batch{At: at, Canary: side(r.To.ID), Stable: side(r.From.ID)}})
}

func (h *house) Get(context.Context, string) (store.Record, error) {
	rec := h.rec
	rec.Deleting, rec.Generation = h.w.Deleted, h.w.Release.Generation
	return rec, nil
}

func (h *house) Intents(context.Context, string) ([]rollout.Intent, error) {
	return slices.Clone(h.w.Intents), nil
}

// Save may lose a write, or only its answer.
func (h *house) Save(_ context.Context, s store.Save) (int64, error) {
	h.mayDie()
	if s.Revision != h.rec.Revision {
		return 0, store.ErrConflict
	}
	fails := h.w.chance(h.w.Faults.StoreFails)
	if fails && h.w.rng.IntN(2) == 0 {
		return 0, errDown
	}
	before := h.rec.State.Run
	h.rec.State, h.rec.Judge, h.rec.Observed = s.State, s.Judge, s.Observed
	if !h.loses {
		h.rec.Cursor = s.Cursor
	}
	h.rec.Revision++
	for _, a := range s.Consumed {
		if h.answered[a.ID]++; h.answered[a.ID] > 1 {
			h.breaks("law 7: intent %d was answered %d times", a.ID, h.answered[a.ID])
		}
		h.w.Intents = slices.DeleteFunc(h.w.Intents, func(i rollout.Intent) bool { return i.ID == a.ID })
	}
	if r := s.State.Run; r != nil && r.Phase.Ended() && (before == nil || before.ID != r.ID || !before.Phase.Ended()) {
		h.ends = append(h.ends, fmt.Sprintf("%s %s %s", r.To.Name, r.Phase, r.Cause))
	}
	h.checkEvidence()
	h.mayDie()
	if fails {
		return 0, errDown
	}
	return h.rec.Revision, nil
}

// checkEvidence: what the saved judge has counted is what the provider gave up
// to the saved cursor, each request once (law 7).
func (h *house) checkEvidence() {
	var saved struct {
		Run   string `json:"run"`
		State []byte `json:"state"`
	}
	r := h.rec.State.Run
	if len(h.rec.Judge) == 0 || r == nil || json.Unmarshal(h.rec.Judge, &saved) != nil || saved.Run != r.ID {
		return
	}
	j, err := judge.Restore(rollout.Policy(r.Analysis, r.Plan), saved.State)
	if err != nil {
		h.breaks("law 7: the saved judge of %s can not be read: %v", r.ID, err)
		return
	}
	upTo, _ := strconv.Atoi(string(h.rec.Cursor))
	var canary int64
	for _, p := range h.log[r.ID][:upTo] {
		canary += p.batch.Canary.N
	}
	if got := j.Report(0).Canary; got != canary {
		h.breaks("law 7: the judge of %s counted %d canary requests, there were %d", r.ID, got, canary)
	}
}

func (h *house) Watch(context.Context) <-chan string { return nil }

// dying is the router of a controller that may be killed.
type dying struct {
	*Router
	h *house
}

func (d dying) Apply(ctx context.Context, t traffic.Target) error {
	d.h.mayDie()
	d.h.routerTold(t.Split)
	return d.Router.Apply(ctx, t)
}

func (d dying) Remove(ctx context.Context, rel release.Release) error {
	d.h.mayDie()
	return d.Router.Remove(ctx, rel)
}

// starting is the runtime of a controller that may be killed.
type starting struct {
	*Fleet
	h *house
}

func (s starting) Apply(ctx context.Context, rel release.Release, want []rollout.Group) error {
	s.h.mayDie()
	return s.Fleet.Apply(ctx, rel, want)
}

var _ workload.Runtime = starting{}

func (h *house) routerTold(s release.Split) {
	if why := whole(s); why != "" {
		h.breaks("law 1: %v %s", s.Shares, why)
	}
	r := h.rec.State.Run
	if r != nil && r.From != nil && r.Phase == rollout.RollingBack && s.Salt == r.ID && s.Of(r.To.ID) > 0 {
		h.breaks("law 3: run %s is saved as rolling back and %s gets %d", r.ID, r.To.ID, s.Of(r.To.ID))
	}
	served := 0
	for _, v := range h.w.versions {
		if _, most := h.w.Router.Share(v.ID); most > 0 || s.Of(v.ID) > 0 {
			served++
		}
	}
	if served > 2 {
		h.breaks("law 8: three versions have traffic at once: %v over %v", s.Shares, h.w.Router.Splits())
	}
}

func (h *house) fleetTold(want []rollout.Group) {
	tr := trial{w: h.w}
	tr.in.Release.Replicas = h.w.Release.Replicas
	tr.fleetTold(want)
	h.broken = append(h.broken, tr.broken...)
}

// provider gives the log of a run, from the cursor on.
type provider struct{ h *house }

type reader struct {
	h   *house
	run string
	at  int
}

func (p provider) Open(_ context.Context, s metric.Subject, cursor []byte) (metric.Reader, error) {
	if p.h.w.Metrics.Silent() {
		return nil, errDown
	}
	at, _ := strconv.Atoi(string(cursor))
	return &reader{p.h, s.Run, at}, nil
}

func (provider) Check(context.Context, release.Release, []release.Metric) error { return nil }

func (r *reader) History(context.Context) ([]judge.History, error) { return nil, nil }
func (r *reader) Wake() <-chan struct{}                            { return nil }
func (r *reader) Close() error                                     { return nil }

func (r *reader) Read(context.Context) (metric.Reading, error) {
	out := metric.Reading{Cursor: []byte(strconv.Itoa(r.at))}
	if r.h.w.Metrics.Silent() {
		out.Missing = "the provider does not answer"
		return out, nil
	}
	for _, p := range r.h.log[r.run][r.at:] {
		out.Samples = append(out.Samples, metric.Sample{Batch: p.batch})
		if p.batch.Canary.N > 0 {
			out.Newest = r.h.w.Now()
		}
	}
	r.at = len(r.h.log[r.run])
	out.Cursor = []byte(strconv.Itoa(r.at))
	return out, nil
}

// TestPassInWorlds runs the real pass with the real judge in seeded worlds,
// killed between any two acts.
func TestPassInWorlds(t *testing.T) {
	n := 250
	if testing.Short() || racing {
		n = 25
	}
	promoted, back := 0, 0
	for seed := range uint64(n) {
		h := newHouse(t, seed)
		for range 40 {
			h.step()
		}
		h.w.Calm()
		gone := false
		for i := 0; i < 120 && !gone; i++ {
			gone = h.step()
		}
		if h.w.Deleted && !gone {
			h.breaks("law 7: the deleted release is not gone")
		}
		if len(h.w.Intents) > 0 {
			h.breaks("law 7: %d intents were never answered", len(h.w.Intents))
		}
		if len(h.broken) > 0 {
			t.Fatalf("world %d:\n%s", seed, strings.Join(h.broken, "\n"))
		}
		for _, e := range h.ends {
			if strings.Contains(e, "PlanComplete") {
				promoted++
			} else if strings.Contains(e, "VerdictFail") {
				back++
			}
		}
	}
	t.Logf("%d promotions and %d rollbacks by verdict in %d worlds", promoted, back, n)
	if promoted < n/4 || back == 0 && n > 100 {
		t.Errorf("%d promotions and %d rollbacks by verdict: the worlds try too little", promoted, back)
	}
}

// TestLostCursorIsNoticed: the law on evidence can fail.
func TestLostCursorIsNoticed(t *testing.T) {
	for seed := range uint64(50) {
		h := newHouse(t, seed)
		h.loses = true
		for range 60 {
			h.step()
		}
		if len(h.broken) > 0 {
			return
		}
	}
	t.Error("a judge that is saved without its cursor was not noticed")
}

// TestKilledAtEveryAct: a run ends the same when the controller is killed at any
// one of its acts, once for each (law 7).
func TestKilledAtEveryAct(t *testing.T) {
	for _, bad := range []bool{false, true} {
		want, acts := aRun(t, bad, 0)
		if len(want) != 2 {
			t.Fatalf("bad %v: runs %v, expected the first version's and one more", bad, want)
		}
		every := 1
		if testing.Short() || racing {
			every = 10
		}
		for at := 1; at <= acts; at += every {
			if got, _ := aRun(t, bad, at); !slices.Equal(got, want) {
				t.Errorf("bad %v, killed at act %d of %d: %v, expected %v", bad, at, acts, got, want)
			}
		}
		t.Logf("%v: killed at each of %d acts", want, acts)
	}
}

// aRun is a run of a second version in a calm world.
func aRun(t *testing.T, bad bool, killAt int) (ends []string, acts int) {
	t.Helper()
	h := newHouse(t, 3)
	h.w.Calm()
	h.killAt = killAt
	h.w.Faults = Faults{Nodes: 1}
	s := policyRelease().Strategy
	h.w.Release.Strategy, h.w.Release.Replicas = s, 2
	h.w.Metrics.rate = 200
	f := fate{}
	if bad {
		f.failAt = 1
	}
	h.w.Metrics.fates["v2"] = f
	h.w.Metrics.fates["v1"] = fate{}
	for i := 0; i < 400 && (len(h.ends) < 2 || len(h.rec.State.Leaving) > 0); i++ {
		if i == 10 {
			h.w.Release.Version, h.w.Release.Generation = h.w.versions[1], 2
		}
		h.step()
	}
	if len(h.broken) > 0 {
		t.Errorf("killed at %d: %s", killAt, strings.Join(h.broken, "\n"))
	}
	return h.ends, h.acts
}
