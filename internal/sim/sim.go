// Package sim is a seeded world: a router that acts late, in parts or not at
// all, instances that start slowly, flap and crash, metrics that fall silent, a
// store that loses writes, clocks that jump and people who change their minds.
// It stands behind the ports, so that the pass can run on it; the laws of
// release are properties over many of its worlds (laws_test.go). Chances
// (chances.go) is the other half: what a policy would do with a version of known
// errors and latency, for `haldane simulate`.
//
// A world is a function of its seed: the same seed gives the same world. It
// must not know any adapter, and it never reads a clock of its own.
//
// Read this file first, then router.go and fleet.go.
package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
)

// Epoch is when every world begins.
var Epoch = time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)

// Faults are the chances of a world, each for one try or one step.
type Faults struct {
	RouterDown float64 // the router can not be asked or told for a while
	RouterLost float64 // it is told, acts, and its answer is lost
	RouterLate float64 // it acts later
	Nodes      int     // of the router, each acting at its own time
	RuntimeOut float64 // the runtime can not be asked or told for a while
	Crash      float64 // an instance crashes in a step
	Reboot     float64 // every instance is lost, and the router forgets
	Silence    float64 // metrics are silent for a while
	StoreFails float64 // a write is lost, or only its answer
	Killed     float64 // the controller is killed between two acts
	Jump       float64 // the clock jumps
	Person     float64 // somebody asks for something
	Spec       float64 // the spec changes
	Delete     float64
}

// randomFaults draws a world's temper: one in four is calm.
func randomFaults(r *rand.Rand) Faults {
	if r.IntN(4) == 0 {
		return Faults{Nodes: 1, Person: 0.02, Spec: 0.02}
	}
	some := func(most float64) float64 {
		if r.IntN(2) == 0 {
			return 0
		}
		return r.Float64() * most
	}
	return Faults{
		RouterDown: some(0.1), RouterLost: some(0.1), RouterLate: some(1), Nodes: 1 + r.IntN(3),
		RuntimeOut: some(0.1), Crash: some(0.1), Reboot: some(0.03), Silence: some(0.1),
		StoreFails: some(0.2), Killed: some(0.1), Jump: some(0.05),
		Person: some(0.15), Spec: some(0.1), Delete: some(0.005),
	}
}

// World is everything that a pass can observe and change.
type World struct {
	Seed    uint64
	Faults  Faults
	Release release.Release // what the user declares now
	Deleted bool
	Intents []rollout.Intent // unanswered
	Asked   int64            // intents so far
	Router  *Router
	Fleet   *Fleet
	Metrics *Metrics

	rng      *rand.Rand
	elapsed  time.Duration // real time since the beginning
	skew     time.Duration // of the controller's clock
	versions []release.Version
	calm     bool // faults are over
}

// NewWorld makes the world of a seed.
func NewWorld(seed uint64) *World {
	r := rand.New(rand.NewPCG(seed, 0x68616c64616e65))
	w := &World{Seed: seed, Faults: randomFaults(r), rng: r}
	for i := range 4 {
		name := fmt.Sprintf("v%d", i+1)
		w.versions = append(w.versions, release.Version{ID: release.VersionID(name), Name: name})
	}
	w.Release = release.Release{Name: "hello", Generation: 1, Version: w.versions[0], Replicas: 1 + r.IntN(5)}
	w.Release.Strategy, w.Release.Analysis = randomStrategy(r)
	w.Router = newRouter(w)
	w.Fleet = newFleet(w)
	w.Metrics = newMetrics(w)
	return w
}

// Now is the controller's clock.
func (w *World) Now() time.Time { return Epoch.Add(w.elapsed + w.skew) }

// Elapsed is the time that really passed.
func (w *World) Elapsed() time.Duration { return w.elapsed }

// Calm ends all faults: what was broken is mended, and nobody asks for anything.
func (w *World) Calm() {
	w.calm = true
	w.Faults = Faults{Nodes: w.Faults.Nodes}
	w.Router.downUntil, w.Fleet.outUntil, w.Metrics.silentUntil = 0, 0, 0
	for i := range w.Fleet.traits {
		w.Fleet.traits[i].never = false
	}
}

func (w *World) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

// span is a time between the bounds, short ones more often.
func (w *World) span(low, high time.Duration) time.Duration {
	x := w.rng.Float64()
	return low + time.Duration(x*x*x*float64(high-low))
}

// Step lets time pass and things happen.
func (w *World) Step() {
	dt := w.span(time.Millisecond, 40*time.Second)
	w.elapsed += dt
	if w.chance(w.Faults.Jump) {
		w.skew += time.Duration((w.rng.Float64() - 0.5) * float64(2*time.Hour))
	}
	w.Router.step()
	w.Fleet.step()
	w.Metrics.step(dt)
	if w.chance(w.Faults.Reboot) {
		w.Reboot()
	}
	if w.chance(w.Faults.Person) {
		w.person()
	}
	if w.chance(w.Faults.Spec) {
		w.changeSpec()
	}
	if w.chance(w.Faults.Delete) {
		w.Deleted = true
	}
}

// Reboot loses every instance and the router's table.
func (w *World) Reboot() {
	w.Router.forget()
	w.Fleet.lose()
}

func (w *World) changeSpec() {
	w.Release.Generation++
	w.Release.Version = w.versions[w.rng.IntN(len(w.versions))]
	if w.rng.IntN(8) == 0 {
		w.Release.Replicas = 1 + w.rng.IntN(5)
	}
	if w.rng.IntN(4) == 0 {
		w.Release.Strategy, w.Release.Analysis = randomStrategy(w.rng)
	}
}

var verbs = []rollout.Verb{
	rollout.AskPause, rollout.AskResume, rollout.AskResume, rollout.AskPromote, rollout.AskPromote,
	rollout.AskPromoteFull, rollout.AskAbort, rollout.AskRetry, rollout.AskRetry, rollout.AskRollback,
}

func (w *World) person() {
	for range 1 + w.rng.IntN(3)/2 {
		w.Ask(rollout.Intent{Verb: verbs[w.rng.IntN(len(verbs))], By: "ann"})
	}
}

// Ask records what a person wants.
func (w *World) Ask(i rollout.Intent) {
	w.Asked++
	i.ID, i.At = w.Asked, w.Now()
	w.Intents = append(w.Intents, i)
}

// randomStrategy draws a strategy of every kind, short enough to end in a world.
func randomStrategy(r *rand.Rand) (release.Strategy, release.Analysis) {
	hold := []time.Duration{0, 0, 5 * time.Second, time.Minute}[r.IntN(4)]
	req := []release.Requirement{release.None, release.NoHarm, release.Proven}[r.IntN(3)]
	s := release.Strategy{
		Hold: hold, Require: req, Batches: 1 + r.IntN(4), Share: release.Weight(500 * (1 + r.IntN(12))),
		Bake: hold, StepDeadline: []time.Duration{0, 3 * time.Minute, time.Hour}[r.IntN(3)],
		OnInconclusive: release.PauseRun, ReadyDeadline: []time.Duration{time.Minute, 10 * time.Minute}[r.IntN(2)],
	}
	if r.IntN(2) == 0 {
		s.OnInconclusive = release.RollBackRun
	}
	var gates []release.Gate
	if r.IntN(6) == 0 {
		gates = []release.Gate{{Name: "owner", Kind: release.GatePerson}}
	}
	a := release.Analysis{MinRequests: int64(r.IntN(3) * 20)}
	switch r.IntN(8) {
	case 0:
		s.Kind, s.Gates = release.BlueGreen, gates
	case 1:
		s.Kind, s.Matches = release.AB, nil
		if r.IntN(2) == 0 {
			s.Share, s.Matches = 0, []release.Match{{Path: "/beta"}}
		}
	case 2:
		s.Kind = release.Rolling
	case 3:
		s.Kind, s.Gates = release.Shadow, gates
	default:
		s.Kind = release.Canary
		for weight := r.IntN(3000); weight <= 10_000 && len(s.Steps) < 4; weight += 1 + r.IntN(6000) {
			s.Steps = append(s.Steps, release.Step{
				Weight: release.Weight(weight), Capacity: release.Weight(weight), Hold: hold, Gates: gates,
				MinRequests: a.MinRequests, Require: req, Looseness: 1, Deadline: s.StepDeadline,
			})
		}
	}
	return s, a
}
