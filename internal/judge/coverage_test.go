package judge

import (
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"
)

// covered is a stationary stream whose true figures are known: every interval of
// every look is held to them.
type covered struct {
	name   string
	metric Metric
	gap    float64
	draw   func(r *rand.Rand, at float64, state *[2]float64) Batch
	// truth gives the true figures for a report: of the canary, of stable.
	truth func(m MetricReport) (canary, stable float64)
	// quantile is the true quantile of the versions; nil: there are none.
	quantile func(q float64) (canary, stable float64)
}

func fixed(canary, stable float64) func(MetricReport) (float64, float64) {
	return func(MetricReport) (float64, float64) { return canary, stable }
}

// lognormal is the quantile of exp(0.5 N) times a median.
func lognormal(median, q float64) float64 {
	return median * math.Exp(0.5*distuv.UnitNormal.Quantile(q))
}

// cutMean is the mean of what the bins hold of a log-normal amount, cut at top.
func cutMean(k Kind, median, top float64) float64 {
	sum, before := 0.0, 0.0
	for i := range scaleBins {
		p := distuv.UnitNormal.CDF(math.Log(binTop(k, i)/median) / 0.5)
		sum += (p - before) * min(top, BinValue(k, int32(i)))
		before = p
	}
	return sum
}

// level walks an AR(1) process around a level.
func level1(r *rand.Rand, state *float64, level float64) float64 {
	*state = 0.9**state + 0.03*level*r.NormFloat64()
	return level + *state
}

var coverings = []covered{
	{
		name: "proportion", metric: Metric{Kind: Proportion, Ratio: 1.5}, gap: 1, truth: fixed(0.03, 0.02),
		draw: func(r *rand.Rand, at float64, _ *[2]float64) Batch {
			n := binomial(r, 200, 0.2)
			return Batch{At: at, Share: 0.2, Canary: Side{N: n, Bad: binomial(r, n, 0.03)}, Stable: Side{N: 200 - n, Bad: binomial(r, 200-n, 0.02)}}
		},
	},
	{
		name: "rate", metric: Metric{Kind: Rate, Ratio: 1.5}, gap: 1, truth: fixed(0.3, 0.2),
		draw: func(r *rand.Rand, at float64, _ *[2]float64) Batch {
			n := binomial(r, 100, 0.2)
			return Batch{At: at, Share: 0.2, Canary: Side{N: n, Bad: poisson(r, 0.3*float64(n))}, Stable: Side{N: 100 - n, Bad: poisson(r, 0.2*float64(100-n))}}
		},
	},
	{
		name: "latency", metric: Metric{Kind: Latency, Ratio: 1.2, Quantile: 0.9}, gap: 1,
		truth:    fixed(lognormal(0.13, 0.9), lognormal(0.1, 0.9)),
		quantile: func(q float64) (float64, float64) { return lognormal(0.13, q), lognormal(0.1, q) },
		draw: func(r *rand.Rand, at float64, _ *[2]float64) Batch {
			return Batch{At: at, Share: 0.2, Canary: Side{Bins: amounts(r, 20, Latency, 0.13)}, Stable: Side{Bins: amounts(r, 80, Latency, 0.1)}}
		},
	},
	{
		name: "latency in coarse buckets", metric: Metric{Kind: Latency, Ratio: 1.2, Quantile: 0.5, Bounds: []float64{0.05, 0.1, 0.25, 0.5, 1}}, gap: 1,
		truth:    fixed(0.13, 0.09),
		quantile: func(q float64) (float64, float64) { return lognormal(0.13, q), lognormal(0.09, q) },
		draw: func(r *rand.Rand, at float64, _ *[2]float64) Batch {
			bounds := []float64{0.05, 0.1, 0.25, 0.5, 1}
			return Batch{At: at, Canary: Side{Bins: inBuckets(bounds, amounts(r, 20, Latency, 0.13))}, Stable: Side{Bins: inBuckets(bounds, amounts(r, 80, Latency, 0.09))}}
		},
	},
	{
		name: "amount", metric: Metric{Kind: Amount, Ratio: 1.2}, gap: 1, truth: fixed(300, 280),
		quantile: func(q float64) (float64, float64) { return lognormal(300, q), lognormal(280, q) },
		draw: func(r *rand.Rand, at float64, _ *[2]float64) Batch {
			return Batch{At: at, Share: 0.2, Canary: Side{Bins: amounts(r, 20, Amount, 300)}, Stable: Side{Bins: amounts(r, 80, Amount, 280)}}
		},
	},
	{
		name: "mean", metric: Metric{Kind: Mean, Ratio: 1.3}, gap: 1,
		truth: func(m MetricReport) (float64, float64) {
			if m.Cut == nil {
				return math.NaN(), math.NaN()
			}
			return cutMean(Mean, 330, *m.Cut), cutMean(Mean, 300, *m.Cut)
		},
		draw: func(r *rand.Rand, at float64, _ *[2]float64) Batch {
			return Batch{At: at, Canary: Side{Bins: amounts(r, 20, Mean, 330)}, Stable: Side{Bins: amounts(r, 80, Mean, 300)}}
		},
	},
	{
		name: "gauge", metric: Metric{Kind: Gauge, Ratio: 1.2}, gap: 10, truth: fixed(120, 100),
		draw: func(r *rand.Rand, at float64, state *[2]float64) Batch {
			return Batch{At: at, Canary: Side{Value: level1(r, &state[0], 120)}, Stable: Side{Value: level1(r, &state[1], 100)}}
		},
	},
	{
		name: "gauge around zero", metric: Metric{Kind: Gauge, Difference: 5}, gap: 10, truth: fixed(-1, 1),
		draw: func(r *rand.Rand, at float64, state *[2]float64) Batch {
			return Batch{At: at, Canary: Side{Value: level1(r, &state[0], 10) - 11}, Stable: Side{Value: level1(r, &state[1], 10) - 9}}
		},
	},
	{
		name: "agreement", metric: Metric{Kind: Agreement, Difference: 0.05}, gap: 1, truth: fixed(0.08, 0.12), // won
		draw: func(r *rand.Rand, at float64, _ *[2]float64) Batch {
			differ := binomial(r, 20, 0.2)
			won := binomial(r, differ, 0.4)
			return Batch{At: at, Canary: Side{N: 20, Bad: won}, Stable: Side{N: 20, Bad: differ - won}}
		},
	},
	{
		name: "category", metric: Metric{Kind: Category}, gap: 1,
		truth: func(m MetricReport) (float64, float64) {
			if m.Class == nil {
				return math.NaN(), math.NaN()
			}
			return []float64{0.55, 0.3, 0.15}[*m.Class], []float64{0.6, 0.3, 0.1}[*m.Class]
		},
		draw: func(r *rand.Rand, at float64, _ *[2]float64) Batch {
			return Batch{At: at, Share: 0.2, Canary: Side{Classes: draw3(r, 20, 0.55, 0.3)}, Stable: Side{Classes: draw3(r, 80, 0.6, 0.3)}}
		},
	},
	{
		name: "share", metric: Metric{Kind: ShareCheck, Pause: true}, gap: 1, truth: fixed(math.NaN(), math.NaN()),
		draw: func(r *rand.Rand, at float64, _ *[2]float64) Batch {
			n := binomial(r, 200, 0.2)
			return Batch{At: at, Share: 0.2, Canary: Side{N: n}, Stable: Side{N: 200 - n}}
		},
	},
}

func draw3(r *rand.Rand, n int64, first, second float64) []int64 {
	a := binomial(r, n, first)
	b := binomial(r, n-a, second/(1-first))
	return []int64{a, b, n - a - b}
}

// misses counts, by name of the interval, those that do not hold the truth.
type misses map[string]bool

func (ms misses) hold(what string, low, high *float64, truth float64) {
	if math.IsNaN(truth) {
		return
	}
	const rounding = 1e-9
	if low != nil && truth < *low-rounding*math.Abs(*low) || high != nil && truth > *high+rounding*math.Abs(*high) {
		ms[what] = true
	}
}

func (ms misses) interval(what string, i *Interval, truth float64) {
	if i != nil {
		ms.hold(what, i.Low, i.High, truth)
	}
}

func (c *covered) look(m MetricReport, ms misses) {
	canary, stable := c.truth(m)
	ms.hold("canary", m.Canary.Low, m.Canary.High, canary)
	ms.hold("stable", m.Stable.Low, m.Stable.High, stable)
	ratio, diff := canary/stable, canary-stable
	switch m.Kind {
	case ShareCheck:
		ratio = 1
	case Agreement:
		diff = -diff // how much more often the canary loses
	}
	ms.interval("ratio", m.Ratio, ratio)
	ms.interval("difference", m.Diff, diff)
	if c.quantile == nil {
		return
	}
	for i, q := range m.Quantiles {
		a, b := c.quantile(q.Q)
		ms.interval("ratio of a quantile", q.Ratio, a/b)
		ms.interval("difference of a quantile", q.Diff, a-b)
		if n := len(m.Canary.Quantiles); n > 0 {
			ms.hold("quantile of the canary", m.Canary.Quantiles[i].Low, m.Canary.Quantiles[i].High, a)
			ms.hold("quantile of stable", m.Stable.Quantiles[i].Low, m.Stable.Quantiles[i].High, b)
		}
	}
}

// TestIntervalsHoldAtEveryLook counts streams in which an interval ever missed
// the truth, looking after every batch at first and at every tenth later. An
// interval may miss in 5 % of the streams; quantiles have three of a kind.
func TestIntervalsHoldAtEveryLook(t *testing.T) {
	runs, batches := 100, 150
	if os.Getenv("HALDANE_LONG") != "" {
		runs, batches = 1000, 1000
	}
	for i, c := range coverings {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, missed, last := rand.New(rand.NewPCG(51, uint64(i))), map[string]int{}, MetricReport{}
			for range runs {
				ms := misses{}
				last = c.stream(t, r, batches, ms)
				for what := range ms {
					missed[what]++
				}
			}
			for what, n := range missed {
				allowed := IntervalAlpha
				if len(what) > len("difference") {
					allowed *= 3
				}
				if most := allowed*float64(runs) + 3.3*math.Sqrt(allowed*(1-allowed)*float64(runs)); float64(n) > most {
					t.Errorf("%s missed the truth in %d of %d streams, want at most %.0f", what, n, runs, most)
				}
			}
			t.Logf("missed %v of %d; at the end the canary is %s", missed, runs, shownInterval(last))
			c.tight(t, last)
		})
	}
}

// tight demands that an interval says something at the end.
func (c *covered) tight(t *testing.T, m MetricReport) {
	i := m.Diff
	if m.Kind == ShareCheck {
		i = m.Ratio
	}
	if i == nil || i.Value == nil || i.Low == nil || i.High == nil || !(*i.Low < *i.Value && *i.Value < *i.High) {
		t.Errorf("the interval is %s, want one with two ends around its value", shownInterval(m))
	}
}

func shownInterval(m MetricReport) string {
	at := func(x *float64) string {
		if x == nil {
			return "open"
		}
		return short(*x)
	}
	out := at(m.Canary.Value) + " [" + at(m.Canary.Low) + ", " + at(m.Canary.High) + "]"
	for _, i := range []*Interval{m.Ratio, m.Diff} {
		if i != nil {
			out += " " + at(i.Value) + " [" + at(i.Low) + ", " + at(i.High) + "]"
		}
	}
	return out
}

func (c *covered) stream(t *testing.T, r *rand.Rand, batches int, ms misses) MetricReport {
	s := scenario{name: c.name, metric: c.metric}
	run, last, state := newRun(t, s.policy(), nil), MetricReport{}, [2]float64{}
	for i := range batches {
		if err := run.Update(0, c.draw(r, float64(i+1)*c.gap, &state)); err != nil {
			t.Fatal(err)
		}
		if i < 10 || i%10 == 9 {
			last = run.metricReport(0, 0)
			c.look(last, ms)
		}
	}
	return last
}
