package sim

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
)

// Expectation is what a release's plan will take and find, before it runs.
type Expectation struct {
	Rate  float64 `json:"perSecond"`
	Truth Truth   `json:"truth"` // of stable; the canary is as good
	// Steps are the steps with a share of the traffic; empty when no simulated run
	// was promoted.
	Steps          []StepAhead `json:"steps"`
	ToPromotion    Quantiles   `json:"secondsToPromotion"`
	CanaryRequests Quantiles   `json:"canaryRequests"`
	Waits          string      `json:"waits,omitempty"`  // why none was promoted
	Slower         *Slower     `json:"slower,omitempty"` // nil: the first step is as small, or errors are not compared
	Assumed        []string    `json:"assumed,omitempty"`
}

// StepAhead is one step. What is found is found with a chance of 90 % by the
// time at which a good version leaves the step (the median); a worse one stays
// longer, so this is the least.
type StepAhead struct {
	Weight  release.Weight `json:"weight"`
	Seconds float64        `json:"seconds"`          // from the run's start until it is left, median
	Canary  float64        `json:"canaryRequests"`   // until then, median
	Errors  *Smallest      `json:"errors,omitempty"` // nil: none is found for sure
	Latency *Smallest      `json:"latency,omitempty"`
}

// Smallest is the smallest regression that is found: a share of failed requests
// or a factor on every latency.
type Smallest struct {
	Value float64 `json:"value"`           // errors: the canary's share; latency: its median in seconds
	Ratio float64 `json:"ratio,omitempty"` // to stable's; 0: stable has none
}

// Slower says what a first step of 1 % would save and cost, for a canary with
// five times stable's errors. Hurt is the mean number of requests that it fails
// until it is rolled back.
type Slower struct {
	CanaryErrors  float64 `json:"canaryErrors"`
	Hurt          float64 `json:"hurt"`
	HurtSlower    float64 `json:"hurtSlower"`
	Found         float64 `json:"secondsToRollback"` // median
	FoundSlower   float64 `json:"secondsToRollbackSlower"`
	Promote       float64 `json:"secondsToPromotion"` // of a good version, median
	PromoteSlower float64 `json:"secondsToPromotionSlower"`
}

// Power is the chance with which a plan's smallest regressions are found.
const Power = 0.9

// slowest is the first step that a plan is compared with.
const slowest = release.Weight(100)

// Expect simulates what to expect of the release's own plan with rate requests
// a second, from what is known of stable. The figures come from so many
// simulated runs; the same seed gives the same ones.
func Expect(rel release.Release, t Truth, rate float64, runs int, seed uint64) (Expectation, error) {
	t.CanaryErrors, t.CanaryLatency = t.StableErrors, t.StableLatency
	out := Expectation{Rate: rate, Truth: t, Steps: []StepAhead{}}
	ends, assumed, err := simulate(rel, t, rate, runs, seed)
	if err != nil {
		return Expectation{}, err
	}
	r := summary(ends, t, assumed)
	out.Assumed, out.ToPromotion, out.CanaryRequests = assumed, r.ToPromotion, r.CanaryRequests
	if r.Promoted.Count == 0 {
		out.Waits = r.Waits
		return out, nil
	}
	rel, _, _ = simulable(rel)
	s := search{rel: rel, truth: t, rate: rate, runs: runs, seed: seed + 1, windows: windowsOf(rel, ends)}
	for _, w := range s.windows {
		out.Steps = append(out.Steps, StepAhead{Weight: w.weight, Seconds: w.to, Canary: w.canary})
	}
	if err := s.fill(out.Steps); err != nil {
		return Expectation{}, err
	}
	out.Slower, err = slower(rel, t, rate, runs, seed)
	return out, err
}

// window is the time that a good version spends in a step.
type window struct {
	weight   release.Weight
	from, to float64 // seconds from the run's start
	canary   float64 // the canary's requests until the end
}

// windowsOf are the medians over the runs that were promoted.
func windowsOf(rel release.Release, ends []end) []window {
	var out []window
	from := 0.0
	for i, step := range rel.Strategy.Compile(rel.Analysis, rel.Replicas).Steps {
		var at, canary []float64
		for _, e := range ends {
			if e.outcome == rollout.Promoted && i < len(e.left) {
				at, canary = append(at, e.left[i].Seconds()), append(canary, float64(e.counted[i]))
			}
		}
		w := window{weight: step.Weight, from: from, to: quantiles(at).P50, canary: quantiles(canary).P50}
		from = w.to
		if step.Weight > 0 && step.Weight < release.Full && w.to > w.from {
			out = append(out, w)
		}
	}
	return out
}

// search looks for the smallest regressions.
type search struct {
	rel     release.Release
	truth   Truth
	rate    float64
	runs    int
	seed    uint64
	windows []window
}

func (s *search) fill(steps []StepAhead) error {
	if s.has(release.Errors) {
		err := s.smallest(release.Errors, errorLadder(s.truth.StableErrors), func(i int, x float64) {
			steps[i].Errors = &Smallest{Value: x}
			if p := s.truth.StableErrors; p > 0 {
				steps[i].Errors.Ratio = x / p
			}
		})
		if err != nil {
			return err
		}
	}
	if !s.has(release.Latency) {
		return nil
	}
	median := s.truth.StableLatency.Seconds()
	return s.smallest(release.Latency, latencyLadder(median), func(i int, x float64) {
		steps[i].Latency = &Smallest{Value: x, Ratio: x / median}
	})
}

// has reports whether a finding of the kind rolls a run back.
func (s *search) has(k release.MetricKind) bool {
	return slices.ContainsFunc(s.rel.Analysis.Metrics, func(m release.Metric) bool {
		return m.Kind == k && simulated(m) && m.Judge == release.JudgedRollBack
	})
}

// errorLadder are shares of errors to try, from a little above stable's.
func errorLadder(p float64) []float64 {
	first := p
	if p == 0 {
		first = 1e-6
	}
	var out []float64
	for x := first * 1.05; x < 1; x = first + (x-first)*1.15 {
		out = append(out, x)
	}
	return append(out, 1)
}

// latencyLadder are medians to try, up to 20 times stable's.
func latencyLadder(median float64) []float64 {
	var out []float64
	for ratio := 1.02; ratio < 20; ratio = 1 + (ratio-1)*1.15 {
		out = append(out, median*ratio)
	}
	return out
}

// smallest finds for each window the first rung of the ladder that is found
// with enough power by its end, and narrows down where between it and the one
// before.
func (s *search) smallest(k release.MetricKind, ladder []float64, say func(i int, x float64)) error {
	tried := map[int][]float64{}
	power := func(rung int) ([]float64, error) {
		if p, ok := tried[rung]; ok || rung < 0 {
			return p, nil
		}
		p, err := s.power(k, ladder[rung], len(s.windows))
		tried[rung] = p
		return p, err
	}
	for i := range s.windows {
		lo, hi := -1, len(ladder) // found by hi, not by lo
		for hi-lo > 1 {
			mid := (lo + hi) / 2
			p, err := power(mid)
			if err != nil {
				return err
			}
			if p[i] >= Power {
				hi = mid
			} else {
				lo = mid
			}
		}
		switch {
		case hi == len(ladder):
		case lo < 0:
			say(i, ladder[0])
		default:
			x, err := s.narrow(k, i, point{ladder[lo], tried[lo][i]}, point{ladder[hi], tried[hi][i]})
			if err != nil {
				return err
			}
			say(i, x)
		}
	}
	return nil
}

// point is a regression with its power.
type point struct{ x, power float64 }

// narrow halves what lies between a regression that is not found with enough
// power and one that is, and interpolates in the rest.
func (s *search) narrow(k release.MetricKind, i int, a, b point) (float64, error) {
	for range 3 {
		mid := (a.x + b.x) / 2
		p, err := s.power(k, mid, i+1)
		if err != nil {
			return 0, err
		}
		if p[i] >= Power {
			b = point{mid, p[i]}
		} else {
			a = point{mid, p[i]}
		}
	}
	if !(b.power > a.power) {
		return b.x, nil
	}
	return a.x + (b.x-a.x)*(Power-a.power)/(b.power-a.power), nil
}

// power is the share of runs with a regression that are failed by the end of
// each of the first windows. All regressions meet the same random numbers' seeds.
func (s *search) power(k release.MetricKind, canary float64, windows int) ([]float64, error) {
	found := make([]int, s.runs) // the window in which a run was failed
	err := each(s.runs, func(i int) error {
		w, err := s.play(k, canary, s.windows[:windows], newDraws(s.seed, uint64(i)))
		found[i] = w
		return err
	})
	out := make([]float64, windows)
	for i := range out {
		for _, w := range found {
			if w <= i {
				out[i] += 1 / float64(s.runs)
			}
		}
	}
	return out, err
}

// looks is how often a window is looked at, at most: as often as the daemon
// looks in short ones; in long ones it costs no power that one could measure.
const looks = 100

// play lets the judge meet one canary and tells in which window it is failed;
// the number of windows: in none.
func (s *search) play(k release.MetricKind, canary float64, windows []window, d *draws) (int, error) {
	t := s.truth
	if k == release.Errors {
		t.CanaryErrors = canary
	} else {
		t.CanaryLatency = seconds(canary)
	}
	c := &course{rel: s.rel, truth: t, rate: s.rate, draws: d, scale: timeScale(), only: k}
	if err := c.begin(); err != nil {
		return 0, err
	}
	for i, w := range windows {
		n := int(min(looks, max(1, math.Ceil((w.to-w.from)/0.1))))
		share, gap := float64(w.weight)/float64(release.Full), (w.to-w.from)/float64(n)
		for j := range n {
			c.at = seconds(w.from + gap*float64(j+1))
			nc, ns := d.poisson(s.rate*gap*share), d.poisson(s.rate*gap*(1-share))
			bad := [2]int64{d.binomial(ns, c.errors(0)), d.binomial(nc, c.errors(1))}
			if err := c.feed(share, [2]int64{ns, nc}, bad); err != nil {
				return 0, fmt.Errorf("expect: %w", err)
			}
			if c.judge.Failed() {
				return i, nil
			}
		}
	}
	return len(windows), nil
}

// slower compares the plan with one that begins with 1 %.
func slower(rel release.Release, t Truth, rate float64, runs int, seed uint64) (*Slower, error) {
	steps := rel.Strategy.Steps
	if len(steps) == 0 || steps[0].Weight <= slowest || t.StableErrors == 0 {
		return nil, nil
	}
	careful := rel
	first := steps[0]
	first.Name, first.Weight, first.Capacity = "", slowest, slowest
	careful.Strategy.Steps = append([]release.Step{first}, steps...)
	worse := t
	worse.CanaryErrors = min(1, 5*t.StableErrors)
	out := Slower{CanaryErrors: worse.CanaryErrors}
	for _, p := range []struct {
		rel                  release.Release
		hurt, found, promote *float64
	}{{rel, &out.Hurt, &out.Found, &out.Promote}, {careful, &out.HurtSlower, &out.FoundSlower, &out.PromoteSlower}} {
		bad, err := Chances(p.rel, worse, rate, runs, seed)
		if err != nil {
			return nil, err
		}
		good, err := Chances(p.rel, t, rate, runs, seed)
		if err != nil {
			return nil, err
		}
		*p.hurt, *p.found, *p.promote = bad.Hurt.Mean, bad.ToRollback.P50, good.ToPromotion.P50
	}
	return &out, nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
