package release

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// golden writes a plan so that it can be read: one line a step.
func golden(p Plan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s bake=%s ready=%s inconclusive=%s", p.Kind, p.Bake, p.ReadyDeadline, p.OnInconclusive)
	if p.KeepBoth {
		b.WriteString(" keepBoth")
	}
	for _, s := range p.Steps {
		fmt.Fprintf(&b, "\n%s weight=%d capacity=%d require=%s loose=%g", s.Name, s.Weight, s.Capacity, s.Require, s.Looseness)
		if s.Mirror > 0 {
			fmt.Fprintf(&b, " mirror=%d", s.Mirror)
		}
		if s.Hold > 0 {
			fmt.Fprintf(&b, " hold=%s", s.Hold)
		}
		if s.MinRequests > 0 {
			fmt.Fprintf(&b, " min=%d", s.MinRequests)
		}
		if s.Deadline > 0 {
			fmt.Fprintf(&b, " deadline=%s", s.Deadline)
		}
		for _, m := range s.Matches {
			fmt.Fprintf(&b, " match=%s", m.Path)
		}
		for _, g := range s.Gates {
			fmt.Fprintf(&b, " gate=%s", g.Name)
		}
	}
	return b.String()
}

func TestCompile(t *testing.T) {
	step := func(name string, w Weight) Step {
		return Step{Name: name, Weight: w, Capacity: w, Hold: time.Minute, MinRequests: 50, Require: NoHarm, Looseness: 2}
	}
	gate := []Gate{{Name: "ok", Kind: GatePerson}}
	preview := &Match{Path: "/preview"}
	tests := []struct {
		name     string
		s        Strategy
		replicas int
		want     string
	}{
		{"canary ends with all of the traffic", Strategy{Kind: Canary, Steps: []Step{step("a", 500), step("b", 5000)}}, 4, `
canary bake=10s ready=1m0s inconclusive=pause
a weight=500 capacity=500 require=noHarm loose=2 hold=1m0s min=50
b weight=5000 capacity=5000 require=noHarm loose=2 hold=1m0s min=50
all weight=10000 capacity=10000 require=none loose=1`},
		{"a last step of 100 % is the user's own", Strategy{Kind: Canary, Steps: []Step{step("a", 500), step("own", Full)}}, 4, `
canary bake=10s ready=1m0s inconclusive=pause
a weight=500 capacity=500 require=noHarm loose=2 hold=1m0s min=50
own weight=10000 capacity=10000 require=noHarm loose=2 hold=1m0s min=50`},
		{"the proof comes before all of the traffic", Strategy{Kind: Canary, Steps: []Step{step("a", 5000), {Name: "own", Weight: Full, Capacity: Full, Require: Proven, Looseness: 1}}}, 4, `
canary bake=10s ready=1m0s inconclusive=pause
a weight=5000 capacity=5000 require=proven loose=1 hold=1m0s min=50
own weight=10000 capacity=10000 require=none loose=1`},
		{"canary without steps goes to all", Strategy{Kind: Canary}, 4, `
canary bake=10s ready=1m0s inconclusive=pause
all weight=10000 capacity=10000 require=none loose=1`},
		{"blue-green", Strategy{Kind: BlueGreen, Preview: preview, Gates: gate, Hold: time.Minute, Require: None}, 4, `
blueGreen bake=10s ready=1m0s inconclusive=pause
preview weight=0 capacity=10000 require=none loose=1 hold=1m0s deadline=1h0m0s match=/preview gate=ok
all weight=10000 capacity=10000 require=none loose=1`},
		{"blue-green with a verdict", Strategy{Kind: BlueGreen, Preview: preview, Require: Proven}, 4, `
blueGreen bake=10s ready=1m0s inconclusive=pause
preview weight=0 capacity=10000 require=proven loose=1 min=30 deadline=1h0m0s match=/preview
all weight=10000 capacity=10000 require=none loose=1`},
		{"A/B by share", Strategy{Kind: AB, Share: 5000, Require: Proven, Hold: time.Hour}, 4, `
ab bake=10s ready=1m0s inconclusive=pause keepBoth
compare weight=5000 capacity=10000 require=proven loose=1 hold=1h0m0s min=30 deadline=1h0m0s
all weight=10000 capacity=10000 require=none loose=1`},
		{"A/B by a small share", Strategy{Kind: AB, Share: 2000, Require: NoHarm}, 4, `
ab bake=10s ready=1m0s inconclusive=pause keepBoth
compare weight=2000 capacity=2500 require=noHarm loose=1 min=30 deadline=1h0m0s
all weight=10000 capacity=10000 require=none loose=1`},
		{"A/B by match needs all of the capacity", Strategy{Kind: AB, Matches: []Match{{Path: "/beta"}}, Require: Proven}, 4, `
ab bake=10s ready=1m0s inconclusive=pause keepBoth
compare weight=0 capacity=10000 require=proven loose=1 min=30 deadline=1h0m0s match=/beta
all weight=10000 capacity=10000 require=none loose=1`},
		{"shadow", Strategy{Kind: Shadow, Share: 1000, Hold: time.Minute, Require: NoHarm, Gates: gate}, 4, `
shadow bake=10s ready=1m0s inconclusive=pause
shadow weight=0 capacity=1000 require=noHarm loose=1 mirror=1000 hold=1m0s min=30 deadline=1h0m0s gate=ok
all weight=10000 capacity=10000 require=none loose=1`},
		{"rolling in whole instances", Strategy{Kind: Rolling, Batches: 2, Hold: time.Minute}, 3, `
rolling bake=10s ready=1m0s inconclusive=pause
batch weight=6666 capacity=6666 require=noHarm loose=1 hold=1m0s min=30 deadline=1h0m0s
batch weight=10000 capacity=10000 require=none loose=1 hold=1m0s deadline=1h0m0s`},
		{"never more batches than instances", Strategy{Kind: Rolling, Batches: 4}, 2, `
rolling bake=10s ready=1m0s inconclusive=pause
batch weight=5000 capacity=5000 require=noHarm loose=1 min=30 deadline=1h0m0s
batch weight=10000 capacity=10000 require=none loose=1 deadline=1h0m0s`},
		{"rolling one instance", Strategy{Kind: Rolling, Batches: 4}, 1, `
rolling bake=10s ready=1m0s inconclusive=pause
batch weight=10000 capacity=10000 require=none loose=1 deadline=1h0m0s`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.s.Bake, tt.s.ReadyDeadline = 10*time.Second, time.Minute
			tt.s.StepDeadline, tt.s.OnInconclusive = time.Hour, PauseRun
			got := golden(tt.s.Compile(Analysis{MinRequests: 30}, tt.replicas))
			if diff := cmp.Diff(strings.TrimSpace(tt.want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestRollingWeightsAreWholeInstances: the weight of every batch needs exactly
// the instances that were replaced.
func TestRollingWeightsAreWholeInstances(t *testing.T) {
	for replicas := 1; replicas <= 60; replicas++ {
		for batches := 1; batches <= 12; batches++ {
			p := Strategy{Kind: Rolling, Batches: batches}.Compile(Analysis{}, replicas)
			before := Weight(0)
			for i, s := range p.Steps {
				if s.Weight <= before {
					t.Fatalf("%d replicas in %d batches: step %d has weight %d after %d", replicas, batches, i, s.Weight, before)
				}
				before = s.Weight
			}
			if before != Full {
				t.Fatalf("%d replicas in %d batches end at %d", replicas, batches, before)
			}
		}
	}
}

func TestCompileLeavesTheStrategyAlone(t *testing.T) {
	steps := make([]Step, 1, 4)
	s := Strategy{Kind: Canary, Steps: steps}
	p := s.Compile(Analysis{}, 1)
	p.Steps[0].Weight = 7
	if steps[0].Weight != 0 || steps[:2][1].Weight != 0 {
		t.Error("Compile shares memory with the strategy")
	}
}
