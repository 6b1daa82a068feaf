package judge

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestTwoArmQuantileOfBinsIsThatOfTheValues: what a report computes from counts
// by bin is the reference's two-arm process of the same values.
func TestTwoArmQuantileOfBinsIsThatOfTheValues(t *testing.T) {
	r := rand.New(rand.NewPCG(71, 1))
	for _, medians := range [][2]float64{{0.1, 0.1}, {0.13, 0.1}, {0.1, 0.2}, {0.3, 0.1}} {
		g := newHistogram(Metric{Kind: Latency, Ratio: 1.2}, errorsOnly(0), History{})
		g.canary.add(amounts(r, 300, Latency, medians[0]))
		g.stable.add(amounts(r, 900, Latency, medians[1]))
		values := func(t *tally) (xs []float64) {
			for i, n := range t {
				for range n {
					xs = append(xs, BinValue(Latency, int32(i)))
				}
			}
			return xs
		}
		for _, q := range []float64{0.5, 0.9, 0.99} {
			got := apart(g.arm(&g.canary, q), g.arm(&g.stable, q))
			want := twoArmQuantile(q, quantileTuned, IntervalAlpha, values(&g.canary), values(&g.stable))
			if math.Abs(got-want) > 1e-6 {
				t.Errorf("p%.0f of medians %v: %.6f nats, the reference has %.6f", 100*q, medians, got, want)
			}
		}
	}
}

// TestForecastsComeTrue plays good versions of every kind that can be proven and
// holds what is forecast half-way to when the proof came.
func TestForecastsComeTrue(t *testing.T) {
	const runs = 30
	for i, s := range scenarios {
		// Not foretold: what cannot be proven, as a margin within a bucket, and a rate
		// that comes near its limit and goes again.
		if s.metric.Ratio == 0 && s.metric.Difference == 0 && s.metric.Limit == 0 || len(s.metric.Bounds) > 0 || s.name == "proportion with a limit" {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			r, off, silent := rand.New(rand.NewPCG(72, uint64(i))), []float64{}, 0
			for range runs {
				run, state, reports, proven := newRun(t, s.policy(), nil), 0.0, []MetricReport{}, 0.0
				for j := 0; proven == 0 && j < 3*s.batches; j++ {
					at := float64(j+1) * s.gap
					if err := run.Update(0, s.draw(r, s.better(), at, &state)); err != nil {
						t.Fatal(err)
					}
					if rep := run.Report(1).Metrics[0]; rep.Verdict == Pass {
						proven = at
					} else {
						reports = append(reports, rep)
					}
				}
				if proven == 0 || len(reports) < 4 {
					continue
				}
				half := len(reports) / 2
				if more := reports[half].MoreSeconds; more != nil {
					off = append(off, (float64(half+1)*s.gap+*more)/proven)
				} else {
					silent++
				}
			}
			if len(off) == 0 {
				t.Fatalf("no forecast came half-way to a proof (%d without a word)", silent)
			}
			slices.Sort(off)
			mid := off[len(off)/2]
			t.Logf("forecast over the truth: median %.2f, from %.2f to %.2f; %d without", mid, off[0], off[len(off)-1], silent)
			if mid < 0.5 || mid > 2 || silent > runs/3 {
				t.Errorf("the median forecast is %.2f times the time it took, and %d of %d are silent; want 0.5 to 2, and few", mid, silent, runs)
			}
		})
	}
}

// better is how a good version of the scenario behaves.
func (s *scenario) better() float64 {
	if s.metric.Kind == Gauge && s.metric.Limit != 0 {
		return 0.5
	}
	return 1
}

func BenchmarkReportLatency(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	run, _ := New(Policy{Alpha: 0.01, AlphaPromote: 0.05, Horizon: 1800, Metrics: []Metric{{Name: "latency", Kind: Latency, Share: 1, Ratio: 1.2, Limit: math.NaN()}}}, nil)
	_ = run.Update(0, Batch{At: 1, Share: 0.1, Canary: Side{Bins: amounts(r, 10000, Latency, 0.1)}, Stable: Side{Bins: amounts(r, 90000, Latency, 0.1)}})
	b.ReportAllocs()
	for range b.N {
		run.Report(0)
	}
}

func BenchmarkReportMean(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	run, _ := New(Policy{Alpha: 0.01, AlphaPromote: 0.05, Horizon: 1800, Metrics: []Metric{{Name: "cost", Kind: Mean, Share: 1, Ratio: 1.2, Limit: math.NaN()}}}, nil)
	_ = run.Update(0, Batch{At: 1, Canary: Side{Bins: amounts(r, 10000, Mean, 0.1)}, Stable: Side{Bins: amounts(r, 90000, Mean, 0.1)}})
	b.ReportAllocs()
	for range b.N {
		run.Report(0)
	}
}

// TestCoarseHistogramSaysSo: a margin that lies within one bucket is never
// proven, and the report says so and what to do; one with a bound in it is.
func TestCoarseHistogramSaysSo(t *testing.T) {
	for _, c := range []struct {
		bounds []float64
		margin float64
		want   string
	}{
		{[]float64{0.1, 0.3, 1.2, 5}, 1.2, "nothing is told apart between 100 ms and 300 ms by the histogram that it comes from"},
		{[]float64{0.1, 0.3, 1.2, 5}, 3.1, ""},
		{[]float64{0.01, 0.02}, 1.2, "nothing is told apart beyond 20 ms by the histogram that it comes from"},
		{[]float64{0.08, 0.09, 0.1, 0.11, 0.13}, 1.2, ""},
		{nil, 1.2, ""},
	} {
		r := rand.New(rand.NewPCG(73, 1))
		run, err := New(Policy{Alpha: 0.01, AlphaPromote: 0.05, Horizon: 1800, Looseness: []float64{1},
			Metrics: []Metric{{Name: "latency", Kind: Latency, Ratio: c.margin, Quantile: 0.9, Share: 1, Limit: math.NaN(), Required: true, Bounds: c.bounds}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 200 {
			b := Batch{At: float64(i), Canary: Side{Bins: amounts(r, 50, Latency, 0.05)}, Stable: Side{Bins: amounts(r, 50, Latency, 0.05)}}
			if len(c.bounds) > 0 {
				b.Canary.Bins, b.Stable.Bins = inBuckets(c.bounds, b.Canary.Bins), inBuckets(c.bounds, b.Stable.Bins)
			}
			if err := run.Update(0, b); err != nil {
				t.Fatal(err)
			}
		}
		rep := run.Report(0)
		m := rep.Metrics[0]
		if m.Coarse != c.want || (m.Verdict == Pass) != (c.want == "") {
			t.Errorf("bounds %v, margin %g: %s, %q, expected %q", c.bounds, c.margin, m.Verdict, m.Coarse, c.want)
		}
		if c.want != "" && (!strings.Contains(m.Reason, c.want) || !strings.Contains(rep.Reason, "give that bounds closer together than the margin")) {
			t.Errorf("the reasons are %q and %q", m.Reason, rep.Reason)
		}
	}
}

// A fault of one request in five leaves the median of the margin as it is, and the
// words tell the percentile that shows it.
func TestTheTellingPercentileIsSaid(t *testing.T) {
	for _, c := range []struct {
		part, factor float64
		said         string
	}{{0.2, 10, "at the 90th percentile;"}, {1, 1.6, ";"}} {
		p := twoMetrics()
		p.Metrics[1].Quantile = 0.5
		w := &world{rnd: rand.New(rand.NewPCG(3, 1)), median: [2]float64{0.1, 0.1}, share: 0.5}
		r := newRun(t, p, history(*w, 3000))
		for i := 0; !r.Failed() && i < 20_000; i++ {
			w.median[1] = 0.1
			if w.rnd.Float64() < c.part {
				w.median[1] = 0.1 * c.factor
			}
			feed(t, r, w, float64(i)/100)
		}
		rep := r.Report(0)
		_, after, _ := strings.Cut(rep.Reason, " ms against ")
		if _, after, _ = strings.Cut(after, " ms"); rep.Verdict != Fail || !strings.HasPrefix(strings.TrimSpace(after), c.said) {
			t.Errorf("%v of the requests %v times as slow: %s", c.part, c.factor, rep.Reason)
		}
	}
}
