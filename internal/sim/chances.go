package sim

import (
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
)

// Horizon is how long a simulated run may take before it counts as undecided.
const Horizon = 24 * time.Hour

// Result is what a policy does with versions of a known truth.
type Result struct {
	Runs       int    `json:"runs"`
	Promoted   Chance `json:"promoted"`
	RolledBack Chance `json:"rolledBack"`
	Undecided  Chance `json:"undecided"`
	// Waits says what most of the undecided runs were waiting for.
	Waits          string    `json:"waits,omitempty"`
	ToPromotion    Quantiles `json:"secondsToPromotion"` // from the run's start, with the bake
	ToRollback     Quantiles `json:"secondsToRollback"`
	CanaryRequests Quantiles `json:"canaryRequests"` // of a run, before its end
	// Hurt is the number of requests of a run that the canary failed; with
	// shielding users see fewer.
	Hurt  Quantiles `json:"hurt"`
	Truth Truth     `json:"truth"`
	// Assumed says what the simulation took for granted.
	Assumed []string `json:"assumed,omitempty"`
}

// Chance is a share of the runs with its 95 % interval (Wilson).
type Chance struct {
	Count int     `json:"count"`
	Share float64 `json:"share"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// Quantiles of the runs that have the figure; all zero: none has.
type Quantiles struct {
	Runs int     `json:"runs"`
	Mean float64 `json:"mean"`
	P10  float64 `json:"p10"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
}

// Chances runs the release's own plan, the real core and the real judge in
// simulated time, with rate requests a second and versions of the given truth.
// The same seed gives the same result. People, webhooks and windows are taken to
// say yes at once; metrics other than errors, latency and rate are not simulated,
// and an error says so when the plan needs their proof.
func Chances(rel release.Release, t Truth, rate float64, runs int, seed uint64) (Result, error) {
	ends, assumed, err := simulate(rel, t, rate, runs, seed)
	if err != nil {
		return Result{}, err
	}
	return summary(ends, t, assumed), nil
}

// simulate makes the runs.
func simulate(rel release.Release, t Truth, rate float64, runs int, seed uint64) (ends []end, assumed []string, err error) {
	if !(rate > 0) || runs < 1 {
		return nil, nil, fmt.Errorf("simulate %s: %d runs at %v requests a second, expected at least one run and a rate above 0", rel.Name, runs, rate)
	}
	if rel, assumed, err = simulable(rel); err != nil {
		return nil, nil, err
	}
	ends = make([]end, runs)
	err = each(runs, func(i int) error {
		e, err := one(rel, t, rate, newDraws(seed, uint64(i)))
		ends[i] = e
		return err
	})
	return ends, assumed, err
}

// each does something for every run, as many at once as there are processors,
// and returns one of the errors.
func each(runs int, do func(i int) error) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	var failed error
	var once sync.Once
	for range min(runtime.GOMAXPROCS(0), runs) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(runs); i = next.Add(1) - 1 {
				if err := do(int(i)); err != nil {
					once.Do(func() { failed = err })
					return
				}
			}
		})
	}
	wg.Wait()
	return failed
}

// simulable takes out of a release what a simulation can not ask.
func simulable(rel release.Release) (release.Release, []string, error) {
	var assumed []string
	rel.Strategy.Gates = nil
	rel.Strategy.Steps = slices.Clone(rel.Strategy.Steps)
	gates := false
	for i := range rel.Strategy.Steps {
		gates = gates || len(rel.Strategy.Steps[i].Gates) > 0
		rel.Strategy.Steps[i].Gates = nil
	}
	if gates {
		assumed = append(assumed, "people, webhooks and windows say yes at once")
	}
	var left []string
	for _, m := range rel.Analysis.Metrics {
		if simulated(m) {
			continue
		}
		if m.Required {
			return rel, nil, fmt.Errorf("simulate %s: metric %s (kind %s) is required for promotion and can not be simulated; known kinds: errors, latency, rate", rel.Name, m.Name, m.Kind)
		}
		left = append(left, m.Name)
	}
	if len(left) > 0 {
		assumed = append(assumed, "nothing is found by "+strings.Join(left, ", "))
	}
	if len(left) == len(rel.Analysis.Metrics) {
		return rel, nil, fmt.Errorf("simulate %s: none of its metrics can be simulated; known kinds: errors, latency, rate", rel.Name)
	}
	return rel, assumed, nil
}

func simulated(m release.Metric) bool {
	known := m.Kind == release.Errors || m.Kind == release.Latency || m.Kind == release.Rate
	return known && m.Source == release.Source{}
}

// end is what became of one run.
type end struct {
	outcome rollout.Phase // Promoted, RolledBack; "": undecided
	why     string
	took    time.Duration
	canary  int64
	hurt    int64
	left    []time.Duration // when each step was left, from the run's start
	counted []int64         // the canary's requests until then
}

// course is one simulated run under way.
type course struct {
	rel    release.Release
	truth  Truth
	only   release.MetricKind // the one kind that is fed; empty: all
	rate   float64
	draws  *draws
	scale  logScale
	judge  *judge.Run
	kinds  []release.MetricKind // of the fed metrics, "" for those that are not
	at     time.Duration
	state  rollout.State
	split  release.Split
	want   []rollout.Group
	since  map[release.VersionID]time.Duration
	canary int64
	stable int64
	hurt   int64
	newest time.Time
	left   []time.Duration // when each step was left
	counts []int64         // the canary's requests until then
}

var sides = [2]release.Version{{ID: "1-stable", Name: "stable"}, {ID: "2-canary", Name: "canary"}}

// one simulates a run.
func one(rel release.Release, t Truth, rate float64, d *draws) (end, error) {
	c := &course{rel: rel, truth: t, rate: rate, draws: d, scale: timeScale(), since: map[release.VersionID]time.Duration{}}
	c.rel.Version = sides[1]
	c.state.Stable = &sides[0]
	c.split = release.Split{Rest: sides[0].ID, Shares: []release.Share{{Version: sides[0].ID, Weight: release.Full}}}
	c.want = []rollout.Group{{Version: sides[0], Replicas: rel.Replicas}}
	c.since[sides[0].ID] = -t.Start
	if err := c.begin(); err != nil {
		return end{}, err
	}
	for c.at < Horizon {
		if done := c.settle(); done {
			break
		}
		if err := c.pass(); err != nil {
			return end{}, err
		}
	}
	return c.end(), nil
}

// begin makes the judge with what stable did before the run.
func (c *course) begin() error {
	plan := c.rel.Strategy.Compile(c.rel.Analysis, c.rel.Replicas)
	policy := rollout.Policy(c.rel.Analysis, plan)
	n := int64(min(c.rate*c.truth.History.Seconds(), 200_000))
	histories := make([]judge.History, len(policy.Metrics))
	for i, m := range c.rel.Analysis.Metrics {
		kind := release.MetricKind("")
		if simulated(m) && (c.only == "" || c.only == m.Kind) {
			kind = m.Kind
			histories[i] = c.history(m.Kind, n)
		}
		c.kinds = append(c.kinds, kind)
	}
	var err error
	c.judge, err = judge.New(policy, histories)
	return err
}

func (c *course) history(k release.MetricKind, n int64) judge.History {
	switch k {
	case release.Latency:
		return c.latencyHistory(n)
	case release.Errors:
		return judge.History{N: n, Bad: c.draws.binomial(n, c.truth.StableErrors)}
	}
	return judge.History{}
}

// knownSeconds is how many of stable's last seconds are known one by one.
const knownSeconds = 20

func (c *course) latencyHistory(n int64) judge.History {
	draw := func(n int64) []judge.BinCount {
		return c.draws.latencies(c.scale, n, c.truth.StableLatency.Seconds(), c.truth.Spread)
	}
	h, second := judge.History{}, int64(c.rate)
	counts := map[int32]int64{}
	for i := range knownSeconds + 1 {
		bins := draw(min(second, n))
		if i == knownSeconds {
			bins = draw(n)
		} else {
			n -= min(second, n)
			h.Seconds = append(h.Seconds, bins)
		}
		for _, b := range bins {
			counts[b.Bin] += b.Count
		}
	}
	for _, bin := range slices.Sorted(maps.Keys(counts)) {
		h.Bins = append(h.Bins, judge.BinCount{Bin: bin, Count: counts[bin]})
	}
	return h
}

// settle decides until nothing moves, and reports whether the run has ended.
func (c *course) settle() bool {
	for {
		before := c.split
		d := rollout.Decide(c.input())
		c.state, c.split, c.want = d.State, d.Split, d.Fleet
		for _, g := range c.want {
			if _, ok := c.since[g.Version.ID]; !ok {
				c.since[g.Version.ID] = c.at
			}
		}
		r := c.state.Run
		for len(c.left) < min(r.Step, len(r.Plan.Steps)) || len(c.left) < len(r.Plan.Steps) && promoted(r.Phase) {
			c.left, c.counts = append(c.left, c.at), append(c.counts, c.canary)
		}
		if r.Phase.Ended() || r.Phase == rollout.RollingBack || r.Phase == rollout.Finishing || r.Paused != nil {
			return true
		}
		if sameSplit(before, c.split) {
			return false
		}
	}
}

// promoted reports whether a run has left its last step for the better.
func promoted(p rollout.Phase) bool {
	return p == rollout.Baking || p == rollout.Finishing || p == rollout.Promoted
}

func (c *course) now() time.Time { return Epoch.Add(c.at) }

func (c *course) input() rollout.Input {
	in := rollout.Input{Now: c.now(), Release: c.rel, State: c.state, Split: rollout.ObservedSplit{Known: true, Split: c.split}}
	for _, g := range c.want {
		o := rollout.ObservedGroup{Version: g.Version.ID, Total: g.Replicas}
		if c.at-c.since[g.Version.ID] >= c.truth.Start {
			o.Ready = g.Replicas
		}
		in.Fleet = append(in.Fleet, o)
	}
	in.Evidence = c.evidence()
	return in
}

// evidence is the judge's word, without the words that only people read.
func (c *course) evidence() rollout.Evidence {
	r := c.state.Run
	if r == nil || c.newest.IsZero() {
		return rollout.Evidence{Missing: "no request yet"}
	}
	step := rollout.LooseIndex(r.Plan, r.Step)
	rep := judge.Report{Verdict: judge.Inconclusive, Canary: c.canary, Stable: c.stable}
	switch {
	case c.judge.Failed():
		rep = c.judge.Report(step)
	case c.judge.Proven(step):
		rep.Verdict = judge.Pass
	case c.judge.Doubt(step):
		rep.Doubt = "a metric is in doubt"
	}
	return rollout.Evidence{Report: rep, Newest: c.newest}
}

// pass lets a little time go by: a tenth of a second at first, later half a
// percent of what has passed, so that long runs cost no more than short ones.
func (c *course) pass() error {
	dt := min(max(c.at/200, 100*time.Millisecond), 10*time.Second)
	if r := c.state.Run; r.Phase == rollout.Preparing {
		dt = max(dt, c.truth.Start-(c.at-c.since[sides[1].ID]))
	}
	c.at += dt
	w := float64(c.split.Of(sides[1].ID)) / float64(release.Full)
	seconds := dt.Seconds()
	nc, ns := c.draws.poisson(c.rate*seconds*w), c.draws.poisson(c.rate*seconds*(1-w))
	if nc == 0 && ns == 0 {
		return nil
	}
	bad := [2]int64{c.draws.binomial(ns, c.errors(0)), c.draws.binomial(nc, c.errors(1))}
	c.canary, c.stable, c.hurt = c.canary+nc, c.stable+ns, c.hurt+bad[1]
	if nc > 0 {
		c.newest = c.now()
	}
	if w == 0 {
		return nil
	}
	return c.feed(w, [2]int64{ns, nc}, bad)
}

func (c *course) feed(w float64, n, bad [2]int64) error {
	b := judge.Batch{At: c.at.Seconds(), Share: w}
	for i, k := range c.kinds {
		switch k {
		case release.Errors:
			b.Stable, b.Canary = judge.Side{N: n[0], Bad: bad[0]}, judge.Side{N: n[1], Bad: bad[1]}
		case release.Rate:
			b.Stable, b.Canary = judge.Side{N: n[0], Bad: n[0]}, judge.Side{N: n[1], Bad: n[1]}
		case release.Latency:
			b.Stable = judge.Side{Bins: c.draws.latencies(c.scale, n[0], c.median(0), c.truth.Spread)}
			b.Canary = judge.Side{Bins: c.draws.latencies(c.scale, n[1], c.median(1), c.truth.Spread)}
		default:
			continue
		}
		if err := c.judge.Update(i, b); err != nil {
			return fmt.Errorf("simulate %s: %w", c.rel.Name, err)
		}
	}
	return nil
}

// swing is the drift that both versions share now.
func (c *course) swing() float64 {
	return 1 + c.truth.Drift*math.Sin(2*math.Pi*c.at.Hours())
}

func (c *course) errors(side int) float64 {
	p := c.truth.StableErrors
	if side == 1 && c.at >= c.truth.After {
		p = c.truth.CanaryErrors
	}
	return min(p*c.swing(), 1)
}

func (c *course) median(side int) float64 {
	m := c.truth.StableLatency
	if side == 1 && c.at >= c.truth.After {
		m = c.truth.CanaryLatency
	}
	return max(m.Seconds()*c.swing(), 1e-6)
}

func (c *course) end() end {
	e := end{took: c.at, canary: c.canary, hurt: c.hurt, left: c.left, counted: c.counts}
	r := c.state.Run
	switch {
	case r == nil:
	case c.state.Stable.ID == sides[1].ID:
		e.outcome = rollout.Promoted
	case r.Phase == rollout.RollingBack || r.Phase == rollout.RolledBack:
		e.outcome = rollout.RolledBack
	case r.Paused != nil:
		e.why = "paused: " + r.Paused.Reason
	default:
		e.why = r.Why
	}
	return e
}
