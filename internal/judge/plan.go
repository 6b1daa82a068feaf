package judge

import (
	"errors"
	"fmt"
	"math"
)

// PlanStep is one step of a ramp to be planned.
type PlanStep struct {
	Share       float64 // of the canary
	Hold        float64 // shortest time in seconds
	MinRequests int64   // canary requests
	Looseness   float64 // of the proof that ends the step; 0: no proof is needed
}

// PlanInput is what a release meets: its proportion metric and its traffic.
type PlanInput struct {
	Metric       Metric  // a proportion with its margins and share of alpha
	Alpha        float64 // of the whole run
	AlphaPromote float64
	StableRate   float64 // stable's share of bad units
	PerSecond    float64 // units of both versions
	Steps        []PlanStep
}

// PlannedStep is what to expect of a step.
type PlannedStep struct {
	Share   float64 `json:"share"`
	Seconds float64 `json:"seconds"` // expected, when the canary is as good as stable
	Canary  float64 `json:"canaryRequests"`
	Why     string  `json:"why"` // what the step waits for
	// Smallest is the ratio of the smallest regression that is found with 90 %
	// chance by the end of the step; nil: none.
	Smallest *float64 `json:"smallestRatio,omitempty"`
	// FiveTimes is the bad answers that users get before a canary with five times
	// stable's rate is found, if all of the run had this share.
	FiveTimes float64 `json:"badAnswersOfFiveTimes"`
}

// Planned is what to expect of a run.
type Planned struct {
	Steps   []PlannedStep `json:"steps"`
	Seconds float64       `json:"seconds"` // expected until the last step ends
	// Never is why a proof will not come, nil seconds then; empty: it will.
	Never string `json:"never,omitempty"`
	// SlowerSaves is the bad answers that a first step of 1 % would save when the
	// canary has five times stable's rate, and SlowerCosts the seconds it would
	// be found later.
	SlowerSaves float64 `json:"slowerSaves"`
	SlowerCosts float64 `json:"slowerCosts"`
}

// searchCost is the mean requests to a finding over the limit, and priorCost
// the nats that the mixture and its restarts cost (judge study).
const (
	searchCost = 1.35
	priorCost  = 1.6
)

// Plan answers before a release: how long each step will take and what it finds.
// The times are approximations of the study's means, not guarantees.
func Plan(in PlanInput) (Planned, error) {
	if err := in.check(); err != nil {
		return Planned{}, err
	}
	out := Planned{}
	info := 0.0 // evidence that the steps so far gather, as units by share
	type part struct{ units, share float64 }
	var past []part
	for _, s := range in.Steps {
		p := PlannedStep{Share: s.Share}
		p.Seconds, p.Why = s.Hold, "hold"
		if t := float64(s.MinRequests) / (s.Share * in.PerSecond); t > p.Seconds {
			p.Seconds, p.Why = t, "requests"
		}
		if s.Looseness > 0 && s.Share < 1 {
			t, ok := in.proofSeconds(s, info)
			if !ok {
				out.Never = fmt.Sprintf("At a rate of %s bad units the ratio margin cannot be proven; a difference margin can.", percent(in.StableRate))
			} else if t > p.Seconds {
				p.Seconds, p.Why = t, "proof"
			}
			info += p.Seconds * in.PerSecond * in.proofRate(s.Share, s.Looseness)
		}
		p.Canary = p.Seconds * in.PerSecond * s.Share
		past = append(past, part{p.Seconds * in.PerSecond, s.Share})
		p.Smallest = in.smallest(func(pc float64) float64 {
			sum := 0.0
			for _, x := range past {
				if x.share < 1 {
					sum += x.units * LimitOf(in.StableRate, pc, x.share, in.Alpha).PerUnit
				}
			}
			return sum
		})
		p.FiveTimes = in.hurt(s.Share)
		out.Seconds += p.Seconds
		out.Steps = append(out.Steps, p)
	}
	in.slower(&out)
	return out, nil
}

func (in PlanInput) check() error {
	switch {
	case in.Metric.Kind != Proportion:
		return fmt.Errorf("judge: a plan is made for a proportion, %q is a %s", in.Metric.Name, in.Metric.Kind)
	case !(in.StableRate >= 0 && in.StableRate < 1):
		return fmt.Errorf("judge: stable's rate is %v, expected 0 to 1", in.StableRate)
	case !(in.PerSecond > 0) || math.IsInf(in.PerSecond, 0):
		return fmt.Errorf("judge: the traffic is %v requests a second, expected more than 0", in.PerSecond)
	case !(in.Alpha > 0 && in.Alpha < 1) || !(in.AlphaPromote > 0 && in.AlphaPromote < 1):
		return errors.New("judge: alpha and alphaPromote must be between 0 and 1")
	case len(in.Steps) == 0:
		return errors.New("judge: there is no step to plan")
	}
	for i, s := range in.Steps {
		if !(s.Share > 0 && s.Share <= 1) || !(s.Hold >= 0) || s.MinRequests < 0 || s.Looseness != 0 && !(s.Looseness >= 1) {
			return fmt.Errorf("judge: step %d has share %v, hold %v s, %d requests and looseness %v; expected a share in (0, 1], none below 0 and a looseness of at least 1",
				i+1, s.Share, s.Hold, s.MinRequests, s.Looseness)
		}
	}
	return nil
}

// proofRate is the nats a unit that a step's proof gains.
func (in PlanInput) proofRate(share, looseness float64) float64 {
	rate := 0.0
	if in.Metric.Ratio > 0 {
		rate = ratioProofRate(in.StableRate, 1+(in.Metric.Ratio-1)*looseness, share)
	}
	if in.Metric.Difference > 0 {
		rate = max(rate, diffProofRate(in.StableRate, min(1, in.Metric.Difference*looseness), share))
	}
	return rate
}

// proofSeconds is the time until a step's proof, after what was gathered before
// at tighter or equal margins; ok is false where it never comes.
func (in PlanInput) proofSeconds(s PlanStep, gathered float64) (seconds float64, ok bool) {
	rate := in.proofRate(s.Share, s.Looseness)
	if rate <= 0 {
		return 0, false
	}
	missing := math.Log(1/in.AlphaPromote)*mixtureCost - gathered
	return max(0, missing) / rate / in.PerSecond, true
}

// smallest is the ratio found with 90 % chance when info(pc) nats are gathered:
// a log likelihood ratio with mean m has a variance near 2m.
func (in PlanInput) smallest(info func(pc float64) float64) *float64 {
	if in.StableRate == 0 {
		return nil
	}
	const z = 1.2815515655446004
	share := in.Metric.Share
	if share == 0 {
		share = 1
	}
	need := math.Log(1/(in.Alpha*share)) + priorCost
	f := func(ratio float64) float64 {
		m := info(min(1, ratio*in.StableRate))
		return m - z*math.Sqrt(2*m) - need
	}
	top := 1 / in.StableRate
	if f(top) < 0 {
		return nil
	}
	return finite(bisect(f, 1, top))
}

// hurt is the bad answers of a canary with five times stable's rate until it is
// found.
func (in PlanInput) hurt(share float64) float64 {
	if in.StableRate == 0 || share >= 1 {
		return 0
	}
	pc := min(1, 5*in.StableRate)
	return searchCost * LimitOf(in.StableRate, pc, share, in.Alpha).Canary * pc
}

func (in PlanInput) slower(out *Planned) {
	first := in.Steps[0].Share
	if in.StableRate == 0 || first <= 0.01 || first >= 1 {
		return
	}
	out.SlowerSaves = in.hurt(first) - in.hurt(0.01)
	seconds := func(w float64) float64 {
		return searchCost * LimitOf(in.StableRate, min(1, 5*in.StableRate), w, in.Alpha).Units / in.PerSecond
	}
	out.SlowerCosts = seconds(0.01) - seconds(first)
}
