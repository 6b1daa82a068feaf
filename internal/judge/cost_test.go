package judge

import (
	"math"
	"math/rand/v2"
	"testing"
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

// A metric's state is small enough to be saved with every look: along a ramp of
// five steps in routing mode, and in counts mode with shares that vary.
func TestStateIsSmall(t *testing.T) {
	ramp := func(i int) Batch {
		share := []float64{0.01, 0.05, 0.1, 0.25, 0.5}[i/2000]
		n := int64(1000 * share)
		return Batch{At: float64(i), Share: share, Canary: Side{N: n, Bad: 1}, Stable: Side{N: 1000 - n, Bad: 9}}
	}
	counts := func(i int) Batch {
		return Batch{At: float64(i), Canary: Side{N: int64(100 + i%20), Bad: 1}, Stable: Side{N: 900, Bad: 9}}
	}
	for name, batch := range map[string]func(int) Batch{"ramp": ramp, "counts": counts} {
		run := newRun(t, errorsOnly(0), []History{{N: 60000, Bad: 600}})
		for i := range 10000 {
			if err := run.Update(0, batch(i)); err != nil {
				t.Fatal(err)
			}
		}
		n := stateBytes(t, errorsOnly(0), run)
		t.Logf("%s: %d bytes after ten million requests", name, n)
		if n > 200 {
			t.Errorf("%s: the state of a metric takes %d bytes, want at most 200", name, n)
		}
	}
}

func benchmarkUpdate(b *testing.B, p Policy, h History, gap float64, batch Batch) {
	run := newRun(b, p, []History{h})
	b.ReportAllocs()
	for i := range b.N {
		batch.At = float64(i) * gap
		_ = run.Update(0, batch)
	}
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
