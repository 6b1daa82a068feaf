package judge

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"
	"time"
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

// TestSizeOfState holds the sizes that docs/judge.md states. They follow from
// what was counted, so that they do not vary.
func TestSizeOfState(t *testing.T) {
	share := func(i int, steps ...float64) float64 { return steps[i*len(steps)/stateBatches] }
	errors := func(steps ...float64) func(int) Batch {
		return func(i int) Batch {
			w := share(i, steps...)
			n := int64(1000 * w)
			return Batch{At: lookTime(i), Share: w, Canary: Side{N: n, Bad: 1}, Stable: Side{N: 1000 - n, Bad: 9}}
		}
	}
	counted := func(i int) Batch {
		return Batch{At: lookTime(i), Canary: Side{N: int64(100 + i%20), Bad: 1}, Stable: Side{N: 900, Bad: 9}}
	}
	r := rand.New(rand.NewPCG(1, 1))
	slow := func(i int) Batch {
		w := share(i, 0.05, 0.1, 0.5)
		n := int64(1000 * w)
		return Batch{At: lookTime(i), Share: w, Canary: Side{Bins: amounts(r, n, Latency, 0.1)}, Stable: Side{Bins: amounts(r, 1000-n, Latency, 0.1)}}
	}
	three, users, bursts := byDefault(), byDefault(), byDefault()
	three.Looseness = []float64{1, 2, 3}
	users.Metrics[0].Interval, users.Metrics[0].PerUnit = 0, true
	bursts.Metrics[0].Clustered = true
	latency := latencyOnly()
	latency.Metrics[0].Guard, latency.Metrics[0].Required, latency.Metrics[0].Tolerate = 5, true, 1.2
	h := []History{{N: 60000, Bad: 600}}
	for _, c := range []struct {
		name    string
		policy  Policy
		history []History
		batch   func(int) Batch
		want    int
	}{
		{"errors by default, three steps", byDefault(), h, errors(0.05, 0.1, 0.5), 192},
		{"errors by default, five steps", byDefault(), h, errors(0.01, 0.05, 0.1, 0.25, 0.5), 208},
		{"three loosenesses, five steps", three, h, errors(0.01, 0.05, 0.1, 0.25, 0.5), 208},
		{"users", users, h, errors(0.05, 0.1, 0.5), 143},
		{"judged by intervals", bursts, h, errors(0.05, 0.1, 0.5), 237},
		{"counts mode", byDefault(), h, counted, 214},
		{"latency by default, three steps", latency, []History{{Bins: amounts(r, 60000, Latency, 0.1)}}, slow, 3803},
	} {
		run := newRun(t, c.policy, c.history)
		for i := range stateBatches {
			if err := run.Update(0, c.batch(i)); err != nil {
				t.Fatal(err)
			}
		}
		n := stateBytes(t, c.policy, run)
		t.Logf("%s: %d bytes after six million requests", c.name, n)
		if n > c.want {
			t.Errorf("%s: the state takes %d bytes, want at most %d", c.name, n, c.want)
		}
		if again, err := Restore(c.policy, run.Snapshot()); err != nil || !bytes.Equal(again.Snapshot(), run.Snapshot()) {
			t.Errorf("%s: the state changes when it is restored (%v)", c.name, err)
		}
	}
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

// BenchmarkUpdateLatencyBatch is 100 ms of 1,000 requests/s in routing mode.
func BenchmarkUpdateLatencyBatch(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	h := History{Bins: amounts(r, 60000, Latency, 0.1)}
	benchmarkUpdate(b, latencyOnly(), h, 0.1,
		Batch{Share: 0.1, Canary: Side{Bins: amounts(r, 10, Latency, 0.1)}, Stable: Side{Bins: amounts(r, 90, Latency, 0.1)}})
}
