package judge

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// latencyOnly judges latency with a margin.
func latencyOnly() Policy {
	return Policy{Alpha: 0.01, AlphaPromote: 0.05, Horizon: 1800, Metrics: []Metric{
		{Name: "latency", Kind: Latency, Share: 1, Ratio: 1.2, Limit: math.NaN()},
	}}
}

// stateBytes is what one metric of a run adds to its snapshot.
func stateBytes(t testing.TB, p Policy, run *Run) int {
	t.Helper()
	without := len(newRun(t, p, nil).Snapshot()) - len(newRun(t, p, nil).metrics[0].save(nil))
	return len(run.Snapshot()) - without
}

// byDefault judges errors as a release does that says nothing else: one looseness,
// both margins, the guard, and intervals beside requests.
func byDefault() Policy {
	p := errorsOnly(0)
	p.Looseness = []float64{1}
	m := &p.Metrics[0]
	m.Ratio, m.Difference, m.Required, m.Guard, m.Interval = 1.5, 0.005, true, 5, 1
	return p
}

var update = flag.Bool("update", false, "write the table of sizes in docs/judge.md anew")

// mostState is what a metric may take, of those that keep no distribution.
const mostState = 200

// kept is a metric whose state is measured.
type kept struct {
	name         string
	policy       Policy
	history      History
	batch        func(i int) Batch
	distribution bool // of values: its histograms grow with what came
}

// TestSizeOfState holds the sizes that docs/judge.md states, of every kind, after
// half an hour of 1,000 requests/s (levels and pairs: 20 pairs a second). They
// follow from what was counted, so that they do not vary. No update allocates.
func TestSizeOfState(t *testing.T) {
	table := "| metric | bytes |\n|---|---|\n"
	for _, c := range keptMetrics() {
		run := newRun(t, c.policy, []History{c.history})
		i := 0
		step := func() {
			if err := run.Update(0, c.batch(i)); err != nil {
				t.Fatal(err)
			}
			i++
		}
		for i < stateBatches-100 {
			step()
		}
		batches := make([]Batch, 0, 200)
		for j := range cap(batches) { // drawn before, since drawing allocates
			batches = append(batches, c.batch(i+j))
		}
		c.batch, i = func(j int) Batch { return batches[j] }, 0
		for i < 100 {
			if n := testing.AllocsPerRun(1, step); n != 0 {
				t.Errorf("%s: %v allocations for an update, want 0", c.name, n)
			}
		}
		if run.Failed() && !c.distribution { // of these few batches are drawn again and again
			t.Errorf("%s: versions that are alike failed", c.name)
		}
		n := stateBytes(t, c.policy, run)
		table += fmt.Sprintf("| %s | %d |\n", c.name, n)
		if n > mostState && !c.distribution {
			t.Errorf("%s: the state takes %d bytes, want at most %d", c.name, n, mostState)
		}
		if again, err := Restore(c.policy, run.Snapshot()); err != nil || !bytes.Equal(again.Snapshot(), run.Snapshot()) {
			t.Errorf("%s: the state changes when it is restored (%v)", c.name, err)
		}
	}
	documented(t, table)
}

// documented holds the table in docs/judge.md, or with -update writes it.
func documented(t *testing.T, table string) {
	t.Helper()
	const file, begin, end = "../../docs/judge.md", "<!-- sizes -->\n", "<!-- end of sizes -->"
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok1 := strings.Cut(string(page), begin)
	was, tail, ok2 := strings.Cut(rest, end)
	switch {
	case !ok1 || !ok2:
		t.Fatalf("%s lacks the marks %q and %q", file, begin, end)
	case *update:
		if err := os.WriteFile(file, []byte(head+begin+table+end+tail), 0o600); err != nil {
			t.Fatal(err)
		}
	case was != table:
		t.Errorf("the table of sizes in %s is not what was measured; write it with: go test ./internal/judge -run TestSizeOfState -update\n%s", file, cmp.Diff(was, table))
	}
}

// ramp is a thousand units a batch, 1 % of them bad, along steps in the routing
// mode, or in the counts mode.
func ramp(counted bool, steps ...float64) func(int) Batch {
	return func(i int) Batch {
		w := steps[min(i, stateBatches-1)*len(steps)/stateBatches]
		n := int64(1000 * w)
		part := func(n int64) int64 { return (int64(i)+1)*n/100 - int64(i)*n/100 } // 1 %
		b := Batch{At: lookTime(i), Share: w, Canary: Side{N: n, Bad: part(n)}, Stable: Side{N: 1000 - n, Bad: part(1000 - n)}}
		if counted {
			b.Share, b.Canary.N = 0, max(1, n+int64(i%21)-10)
		}
		return b
	}
}

// proportionsKept are the ways in which a share of errors is judged.
func proportionsKept() []kept {
	h := History{N: 60000, Bad: 600}
	three, users, bursts, limit := byDefault(), byDefault(), byDefault(), byDefault()
	three.Looseness = []float64{3, 2, 1}
	users.Looseness, bursts.Looseness, limit.Looseness = three.Looseness, three.Looseness, three.Looseness
	users.Metrics[0].Interval, users.Metrics[0].PerUnit = 0, true
	bursts.Metrics[0].Clustered = true
	limit.Metrics[0].Limit, limit.Metrics[0].LimitBelow = 0.05, true
	byUser := func(i int) Batch {
		b := ramp(false, 0.05, 0.1, 0.5)(i)
		b.Canary.Units, b.Canary.Firsts, b.Stable.Units, b.Stable.Firsts = b.Canary.Bad, b.Canary.Bad, b.Stable.Bad, b.Stable.Bad
		return b
	}
	return []kept{
		{name: "errors as a manifest has it by default: ratio and difference, guard, bets by intervals beside those by requests, three steps", policy: three, history: h, batch: ramp(false, 0.05, 0.1, 0.5)},
		{name: "the same along five steps", policy: three, history: h, batch: ramp(false, 0.01, 0.05, 0.1, 0.25, 0.5)},
		{name: "the same, counted by users, three steps", policy: users, history: h, batch: byUser},
		{name: "the same, judged by intervals because requests fail in bursts, three steps", policy: bursts, history: h, batch: ramp(false, 0.05, 0.1, 0.5)},
		{name: "the same in the counts mode, one step", policy: three, history: h, batch: ramp(true, 0.1)},
		{name: "the same in the counts mode, three steps", policy: three, history: h, batch: ramp(true, 0.05, 0.1, 0.5)},
		{name: "the same in the counts mode, judged by intervals, three steps", policy: bursts, history: h, batch: ramp(true, 0.05, 0.1, 0.5)},
		{name: "errors with a limit too, three steps", policy: limit, history: h, batch: ramp(false, 0.05, 0.1, 0.5)},
	}
}

// distributionsKept are those that learn a distribution.
func distributionsKept() []kept {
	r := rand.New(rand.NewPCG(1, 1))
	slow := func(k Kind) func(int) Batch {
		draw, drawn := ramp(false, 0.05, 0.1, 0.5), map[int64][][]BinCount{}
		bins := func(i int, n int64) []BinCount {
			if drawn[n] == nil {
				for range 31 {
					drawn[n] = append(drawn[n], amounts(r, n, k, 0.1))
				}
			}
			return drawn[n][i%31]
		}
		return func(i int) Batch {
			b := draw(i)
			b.Canary.Bins, b.Stable.Bins = bins(i, b.Canary.N), bins(i, b.Stable.N)
			return b
		}
	}
	out := []kept{}
	for _, k := range []Kind{Latency, Amount, Mean} {
		p := latencyOnly()
		p.Looseness = []float64{3, 2, 1}
		m := &p.Metrics[0]
		m.Name, m.Kind, m.Required = string(k), k, true
		name := string(k) + " as a manifest has it by default, distribution included"
		if k == Mean {
			name = "mean with a margin, distribution included"
		} else {
			m.Guard, m.Tolerate = 5, 1.2
		}
		out = append(out, kept{name: name, policy: p, history: History{Bins: amounts(r, 60000, k, 0.1)}, batch: slow(k), distribution: true})
	}
	return out
}

// keptMetrics are metrics of every kind.
func keptMetrics() []kept {
	out := append(proportionsKept(), distributionsKept()...)
	names := map[string]string{
		"rate": "rate of events with a margin", "gauge": "gauge with a margin, distribution included",
		"gauge with a limit": "gauge with a limit, distribution included", "category": "category of three classes",
		"drift": "drift", "agreement": "agreement (pairs)", "share": "share of traffic",
	}
	for _, s := range scenarios {
		if names[s.name] == "" {
			continue
		}
		r, state := rand.New(rand.NewPCG(6, 5)), 0.0
		p := s.policy()
		p.Looseness = []float64{3, 2, 1}
		out = append(out, kept{
			name: names[s.name], policy: p, history: History{N: 60000, Bad: 600}, distribution: s.metric.Kind == Gauge,
			batch: func(i int) Batch {
				b := s.draw(r, 1, lookTime(i), &state)
				b.At = lookTime(i)
				return b
			},
		})
	}
	return out
}

// stateBatches are half an hour of 1,000 requests each 300 ms.
const stateBatches = 6000

// lookTime is when a batch ends, as a wall clock tells it.
func lookTime(i int) float64 { return (time.Duration(i) * 300_100_007).Seconds() }

func benchmarkUpdate(b *testing.B, p Policy, h History, gap float64, batch Batch) {
	run := newRun(b, p, []History{h})
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		batch.At = float64(i) * gap
		_ = run.Update(0, batch)
	}
	b.StopTimer()
	b.ReportMetric(float64(stateBytes(b, p, run)), "state-bytes")
}

// BenchmarkUpdateEveryKind is a batch of the metrics whose sizes are stated.
func BenchmarkUpdateEveryKind(b *testing.B) {
	for _, c := range keptMetrics() {
		b.Run(c.name, func(b *testing.B) {
			run, last := newRun(b, c.policy, []History{c.history}), 0.0
			batches := make([]Batch, 1000)
			for i := range batches {
				batches[i] = c.batch(i * stateBatches / len(batches))
			}
			gap := batches[1].At / (stateBatches / float64(len(batches)))
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				x := batches[i%len(batches)]
				last += gap
				x.At = last
				_ = run.Update(0, x)
			}
		})
	}
}

func BenchmarkUpdateErrorsOneRequest(b *testing.B) {
	benchmarkUpdate(b, errorsOnly(0), History{N: 60000, Bad: 600}, 0.001, Batch{Share: 0.1, Stable: Side{N: 1}})
}

// BenchmarkUpdateErrorsBatch is 100 ms of 1,000 requests/s in counts mode.
func BenchmarkUpdateErrorsBatch(b *testing.B) {
	benchmarkUpdate(b, errorsOnly(0), History{N: 60000, Bad: 600}, 0.1,
		Batch{Canary: Side{N: 10, Bad: 1}, Stable: Side{N: 90, Bad: 1}})
}

func BenchmarkUpdateLatencyOneRequest(b *testing.B) {
	h := History{Bins: amounts(rand.New(rand.NewPCG(1, 1)), 60000, Latency, 0.1)}
	benchmarkUpdate(b, latencyOnly(), h, 0.001, Batch{Share: 0.1, Stable: Side{Bins: []BinCount{{Bin: 580, Count: 1}}}})
}

// BenchmarkUpdateMeanBatch is the same of a mean with a margin.
func BenchmarkUpdateMeanBatch(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	p := latencyOnly()
	p.Metrics[0].Kind = Mean
	benchmarkUpdate(b, p, History{Bins: amounts(r, 60000, Mean, 300)}, 0.1,
		Batch{Share: 0.1, Canary: Side{Bins: amounts(r, 10, Mean, 300)}, Stable: Side{Bins: amounts(r, 90, Mean, 300)}})
}

// BenchmarkUpdateLatencyBatch is 100 ms of 1,000 requests/s in routing mode.
func BenchmarkUpdateLatencyBatch(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	h := History{Bins: amounts(r, 60000, Latency, 0.1)}
	benchmarkUpdate(b, latencyOnly(), h, 0.1,
		Batch{Share: 0.1, Canary: Side{Bins: amounts(r, 10, Latency, 0.1)}, Stable: Side{Bins: amounts(r, 90, Latency, 0.1)}})
}
