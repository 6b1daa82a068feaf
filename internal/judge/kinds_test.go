package judge

import (
	"bytes"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// scenario draws batches of one metric, alike for both versions (worse = 0) or
// worse on the canary by a factor.
type scenario struct {
	name    string
	metric  Metric
	batches int
	gap     float64 // seconds between batches
	draw    func(r *rand.Rand, worse, at float64, state *float64) Batch
	found   float64 // share of worse runs that must be found
	worse   float64
	null    float64 // factor at which the canary is just not worse than tolerated; 0: 1
}

func poisson(r *rand.Rand, mean float64) int64 {
	if mean > 30 {
		return int64(max(0, math.Round(mean+math.Sqrt(mean)*r.NormFloat64())))
	}
	n, p, l := int64(-1), 1.0, math.Exp(-mean)
	for ; p > l; n++ {
		p *= r.Float64()
	}
	return n
}

func binomial(r *rand.Rand, n int64, p float64) (k int64) {
	for range n {
		if r.Float64() < p {
			k++
		}
	}
	return k
}

func amounts(r *rand.Rand, n int64, kind Kind, median float64) []BinCount {
	t := tally{}
	for range n {
		t[BinOf(kind, median*math.Exp(0.5*r.NormFloat64()))]++
	}
	var out []BinCount
	for i, c := range t {
		if c > 0 {
			out = append(out, BinCount{Bin: int32(i), Count: c})
		}
	}
	return out
}

// proportions draws a batch in which both rates drift together and bad units
// come in bursts of the given size.
func proportions(share float64, burst int64) func(*rand.Rand, float64, float64, *float64) Batch {
	return func(r *rand.Rand, worse, at float64, _ *float64) Batch {
		n := binomial(r, 200, 0.2)
		rate := 0.02 * (1.5 + math.Sin(at/20))
		b := Batch{At: at, Share: share, Canary: Side{N: n}, Stable: Side{N: 200 - n}}
		b.Canary.Bad = min(n, burst*binomial(r, n/burst, min(1, rate*worse)))
		b.Stable.Bad = min(200-n, burst*binomial(r, (200-n)/burst, rate))
		return b
	}
}

func pairsOf(values []int64, worse float64, r *rand.Rand) []int64 {
	out := make([]int64, len(values))
	for i, v := range values {
		if i == len(values)-1 {
			v = int64(float64(v) * worse)
		}
		out[i] = poisson(r, float64(v))
	}
	return out
}

var scenarios = []scenario{
	{
		name: "proportion in routing mode", metric: Metric{Kind: Proportion, Ratio: 1.5, Difference: 0.01}, batches: 300, gap: 1,
		draw: proportions(0.2, 1), worse: 2, found: 0.99,
	},
	{
		name: "proportion in counts mode", metric: Metric{Kind: Proportion, Ratio: 1.5}, batches: 300, gap: 1,
		draw: proportions(0, 1), worse: 2, found: 0.99,
	},
	{
		name: "proportion with a tolerated ratio", metric: Metric{Kind: Proportion, Ratio: 2, Tolerate: 1.3}, batches: 300, gap: 1,
		draw: proportions(0.2, 1), worse: 3, found: 0.99, null: 1.3,
	},
	{
		name: "proportion in bursts", metric: Metric{Kind: Proportion, Ratio: 1.5, Difference: 0.02, Interval: 1, Clustered: true}, batches: 300, gap: 1,
		draw: proportions(0.2, 5), worse: 4, found: 0.99,
	},
	{
		name: "proportion with a limit", metric: Metric{Kind: Proportion, Limit: 0.05, LimitBelow: true}, batches: 300, gap: 1,
		draw: proportions(0.2, 1), worse: 4, found: 0.99,
	},
	{
		name: "latency", metric: Metric{Kind: Latency, Ratio: 1.2}, batches: 100, gap: 1, worse: 1.3, found: 0.99,
		draw: func(r *rand.Rand, worse, at float64, _ *float64) Batch {
			median := 0.1 * (1.5 + math.Sin(at/20))
			return Batch{At: at, Share: 0.2, Canary: Side{Bins: amounts(r, binomial(r, 100, 0.2), Latency, median*worse)}, Stable: Side{Bins: amounts(r, 80, Latency, median)}}
		},
	},
	{
		name: "latency in coarse buckets", metric: Metric{Kind: Latency, Ratio: 1.2, Quantile: 0.9, Bounds: []float64{0.05, 0.1, 0.25, 0.5, 1}}, batches: 100, gap: 1, worse: 1.6, found: 0.95,
		draw: func(r *rand.Rand, worse, at float64, _ *float64) Batch {
			nc := binomial(r, 100, 0.2)
			b := Batch{At: at, Canary: Side{Bins: amounts(r, nc, Latency, 0.1*worse)}, Stable: Side{Bins: amounts(r, 100-nc, Latency, 0.1)}}
			for _, s := range []*Side{&b.Canary, &b.Stable} {
				s.Bins = inBuckets([]float64{0.05, 0.1, 0.25, 0.5, 1}, s.Bins)
			}
			return b
		},
	},
	{
		name: "amount with a tolerated ratio", metric: Metric{Kind: Amount, Ratio: 1.5, Tolerate: 1.2}, batches: 100, gap: 1, worse: 1.6, found: 0.99, null: 1.2,
		draw: func(r *rand.Rand, worse, at float64, _ *float64) Batch {
			return Batch{At: at, Share: 0.2, Canary: Side{Bins: amounts(r, binomial(r, 100, 0.2), Amount, 300*worse)}, Stable: Side{Bins: amounts(r, 80, Amount, 300)}}
		},
	},
	{
		name: "mean", metric: Metric{Kind: Mean, Ratio: 1.3}, batches: 200, gap: 1, worse: 1.4, found: 0.99,
		draw: func(r *rand.Rand, worse, at float64, _ *float64) Batch {
			nc := binomial(r, 100, 0.2)
			return Batch{At: at, Canary: Side{Bins: amounts(r, nc, Mean, 300*worse)}, Stable: Side{Bins: amounts(r, 100-nc, Mean, 300)}}
		},
	},
	{
		name: "rate", metric: Metric{Kind: Rate, Ratio: 1.5}, batches: 300, gap: 1, worse: 1.6, found: 0.99,
		draw: func(r *rand.Rand, worse, at float64, _ *float64) Batch {
			n := binomial(r, 100, 0.2)
			rate := 0.2 * (1.5 + math.Sin(at/20))
			return Batch{At: at, Share: 0.2, Canary: Side{N: n, Bad: poisson(r, 20*rate*worse)}, Stable: Side{N: 100 - n, Bad: poisson(r, 80*rate)}}
		},
	},
	{
		name: "rate of something good", metric: Metric{Kind: Rate, Ratio: 1.5, Harm: Fewer}, batches: 300, gap: 1, worse: 2, found: 0.99,
		draw: func(r *rand.Rand, worse, at float64, _ *float64) Batch {
			return Batch{At: at, Share: 0.2, Canary: Side{N: 20, Bad: poisson(r, 6/worse)}, Stable: Side{N: 80, Bad: poisson(r, 24)}}
		},
	},
	{
		name: "gauge", metric: Metric{Kind: Gauge, Ratio: 1.2}, batches: 180, gap: 10, worse: 1.6, found: 0.9, null: 1.2,
		draw: func(r *rand.Rand, worse, at float64, state *float64) Batch {
			*state = 0.9**state + 0.03*r.NormFloat64()
			return Batch{At: at, Canary: Side{Value: 100 * worse * (1 + *state)}, Stable: Side{Value: 100 * (1 + 0.01*r.NormFloat64())}}
		},
	},
	{
		name: "gauge with a limit", metric: Metric{Kind: Gauge, Limit: 50, LimitBelow: true}, batches: 180, gap: 10, worse: 1.6, found: 0.9,
		draw: func(r *rand.Rand, worse, at float64, state *float64) Batch {
			*state = 0.9**state + 0.03*r.NormFloat64()
			return Batch{At: at, Canary: Side{Value: 49 * worse * (1 + *state)}, Stable: Side{Value: math.NaN()}}
		},
	},
	{
		name: "category", metric: Metric{Kind: Category}, batches: 200, gap: 1, worse: 2, found: 0.95,
		draw: func(r *rand.Rand, worse, at float64, _ *float64) Batch {
			return Batch{At: at, Share: 0.2, Canary: Side{Classes: pairsOf([]int64{12, 6, 2}, worse, r)}, Stable: Side{Classes: pairsOf([]int64{48, 24, 8}, 1, r)}}
		},
	},
	{
		name: "drift", metric: Metric{Kind: Drift}, batches: 100, gap: 1, worse: 0.7, found: 0.95,
		draw: func(r *rand.Rand, worse, at float64, _ *float64) Batch {
			nc := binomial(r, 100, 0.2)
			return Batch{At: at, Canary: Side{Bins: amounts(r, nc, Drift, 300*worse)}, Stable: Side{Bins: amounts(r, 100-nc, Drift, 300)}}
		},
	},
	{
		name: "agreement", metric: Metric{Kind: Agreement, Difference: 0.05}, batches: 200, gap: 1, worse: 2, found: 0.99,
		draw: func(r *rand.Rand, worse, at float64, _ *float64) Batch {
			differ := binomial(r, 20, 0.2)
			lost := binomial(r, differ, worse/(1+worse))
			return Batch{At: at, Canary: Side{N: 20, Bad: differ - lost}, Stable: Side{N: 20, Bad: lost}}
		},
	},
	{
		name: "share", metric: Metric{Kind: ShareCheck, Pause: true}, batches: 300, gap: 1, worse: 1.1, found: 0.99,
		draw: func(r *rand.Rand, worse, at float64, _ *float64) Batch {
			n := binomial(r, 200, 0.2*worse)
			return Batch{At: at, Share: 0.2, Canary: Side{N: n}, Stable: Side{N: 200 - n}}
		},
	},
}

// inBuckets moves counts to the bin of their bucket's bound.
func inBuckets(bounds []float64, bins []BinCount) []BinCount {
	var out []BinCount
	for i := range len(bounds) + 1 {
		first, last := bucketBins(Latency, bounds, i)
		n := int64(0)
		for _, b := range bins {
			if int(b.Bin) >= first && int(b.Bin) <= last {
				n += b.Count
			}
		}
		if n > 0 {
			out = append(out, BinCount{Bin: int32(last), Count: n})
		}
	}
	return out
}

func (s *scenario) policy() Policy {
	m := s.metric
	m.Name = s.name
	if m.Limit == 0 {
		m.Limit = math.NaN()
	}
	if !m.Pause {
		m.Share = 1
	}
	return Policy{Alpha: 0.05, AlphaPromote: 0.05, Horizon: 1800, Looseness: []float64{2, 1}, Metrics: []Metric{m}}
}

// run plays a scenario and reports whether evidence ever crossed.
func (s *scenario) run(t *testing.T, r *rand.Rand, worse float64) (*Run, bool) {
	run := newRun(t, s.policy(), nil)
	state, crossed := 0.0, false
	bar := run.threshold(run.policy.Metrics[0])
	for i := range s.batches {
		if err := run.Update(0, s.draw(r, worse, float64(i)*s.gap, &state)); err != nil {
			t.Fatal(err)
		}
		crossed = crossed || run.metrics[0].evidence() >= bar
		if crossed && worse != 1 {
			break
		}
	}
	return run, crossed
}

// TestFalseAlarmsStayBelowAlpha plays good versions, with rates that drift, and
// looks after every batch.
func TestFalseAlarmsStayBelowAlpha(t *testing.T) {
	const runs = 100
	for i, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			r, alarms := rand.New(rand.NewPCG(11, uint64(i))), 0
			for range runs {
				if _, crossed := s.run(t, r, max(1, s.null)); crossed {
					alarms++
				}
			}
			// 3 standard errors above 5 % of 100 runs.
			if alarms > 11 {
				t.Errorf("%d of %d good versions were failed, want about 5 at most", alarms, runs)
			}
		})
	}
}

func TestWorseVersionsAreFound(t *testing.T) {
	const runs = 60
	for i, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			r, found := rand.New(rand.NewPCG(12, uint64(i))), 0
			for range runs {
				if _, crossed := s.run(t, r, s.worse); crossed {
					found++
				}
			}
			if float64(found) < s.found*runs-1 {
				t.Errorf("%d of %d worse versions were found, want %v", found, runs, s.found)
			}
		})
	}
}

func TestEveryKindContinuesFromItsSnapshot(t *testing.T) {
	for i, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(13, uint64(i)))
			a, _ := s.run(t, r, 1)
			b, err := Restore(s.policy(), a.Snapshot())
			if err != nil {
				t.Fatal(err)
			}
			state := 0.0
			for j := range 50 {
				batch := s.draw(r, 1.2, float64(s.batches+j)*s.gap, &state)
				if a.Update(0, batch) != nil || b.Update(0, batch) != nil {
					t.Fatal("refused")
				}
			}
			if !bytes.Equal(a.Snapshot(), b.Snapshot()) {
				t.Error("the restored run went another way")
			}
			t.Logf("%d bytes", len(a.Snapshot()))
		})
	}
}

// TestEventsThatAreAllUnitsProveNothing: where only the requests that a version
// got are counted, and not the share that it should have got, any traffic would
// look like the same rate.
func TestEventsThatAreAllUnitsProveNothing(t *testing.T) {
	p := Policy{Alpha: 0.01, AlphaPromote: 0.05, Horizon: 1800, Looseness: []float64{1}, Metrics: []Metric{
		{Name: "throughput", Kind: Rate, Ratio: 1.2, Harm: Fewer, Required: true, Share: 1, Limit: nan()},
	}}
	for _, interval := range []float64{0, 1} {
		p.Metrics[0].Interval, p.Metrics[0].Clustered = interval, interval > 0
		run := newRun(t, p, nil)
		for i := range 400 {
			b := Batch{At: float64(i), Canary: Side{N: 2, Bad: 2}, Stable: Side{N: 98, Bad: 98}} // 2 % where 10 % was asked for
			if err := run.Update(0, b); err != nil {
				t.Fatal(err)
			}
		}
		rep := run.Report(0)
		if m := rep.Metrics[0]; rep.Verdict != Inconclusive || m.LogProof > 1e-9 || m.LogE > 1e-9 || !strings.Contains(m.Reason, "nothing can be said") || !strings.Contains(rep.Reason, "throughput") {
			t.Errorf("clustered %v: %s (%s; %s), proof %v, evidence %v", interval > 0, rep.Verdict, rep.Reason, m.Reason, m.LogProof, m.LogE)
		}
		if err := run.Update(0, Batch{At: 500, Canary: Side{N: 200, Bad: 3}, Stable: Side{N: 9800, Bad: 150}}); err != nil {
			t.Fatal(err)
		}
		if m := run.Report(0).Metrics[0]; strings.Contains(m.Reason, "nothing can be said") {
			t.Errorf("a rate of events to units is compared, and yet: %s", m.Reason)
		}
	}
}
