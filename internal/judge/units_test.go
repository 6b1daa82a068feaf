package judge

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func errorsOnly(interval float64) Policy {
	return Policy{Alpha: 0.01, AlphaPromote: 0.05, Horizon: 1800, Looseness: []float64{1}, Metrics: []Metric{
		{Name: "errors", Kind: Proportion, Share: 0.5, Ratio: 1.5, Limit: math.NaN(), Interval: interval},
	}}
}

func TestPlaceboFindsBursts(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 1))
	bursts, single := 0, 0
	const runs = 40
	for range runs {
		for _, burst := range []int64{1, 10} {
			placebo, run := newRun(t, errorsOnly(1), nil), newRun(t, errorsOnly(1), nil)
			for i := range 600 {
				users := 400 / burst
				n := binomial(r, users, 0.1)
				b := Batch{At: float64(i), Share: 0.1, Canary: Side{N: n * burst}, Stable: Side{N: (users - n) * burst}}
				b.Canary.Bad = burst * binomial(r, n, 0.01)
				b.Stable.Bad = burst * binomial(r, users-n, 0.01)
				if err := placebo.Update(0, b); err != nil {
					t.Fatal(err)
				}
				if slices.Equal(run.HeedPlacebo(placebo), []string{"errors"}) {
					if burst == 10 {
						bursts++
					} else {
						single++
					}
				}
			}
		}
	}
	if bursts < runs*9/10 {
		t.Errorf("bursts of ten were noticed in %d of %d runs, want nearly all", bursts, runs)
	}
	if single > 6 {
		t.Errorf("independent units were taken for bursts in %d of %d runs, want at most 1 in 20", single, runs)
	}
}

// What no metric has of alpha is kept: it counts as 1 for ever, so that a run
// without evidence stays where it began.
func TestAlphaThatNoMetricHasIsKept(t *testing.T) {
	p := errorsOnly(0)
	p.Metrics[0].Share = 0.6
	run := newRun(t, p, nil)
	if got := math.Exp(run.LogE()); math.Abs(got-1) > 1e-9 {
		t.Errorf("the combined e-value without evidence is %v, want 1", got)
	}
	for i := range 200 {
		if err := run.Update(0, Batch{At: float64(i), Share: 0.1, Canary: Side{N: 100}, Stable: Side{N: 900, Bad: 90}}); err != nil {
			t.Fatal(err)
		}
	}
	if got := math.Exp(run.LogE()); got < 0.4 || got > 0.5 {
		t.Errorf("the combined e-value of a canary that is far better is %v, want the 0.4 that no metric has and little more", got)
	}
	if _, err := Restore(errorsOnly(0), run.Snapshot()); err == nil {
		t.Error("a snapshot was restored under another policy")
	}
}

func TestUnitsAreFirstOnce(t *testing.T) {
	u := NewUnits(2)
	got := []bool{u.First(7), u.First(7), u.First(8), u.First(9), u.First(0), u.First(0)}
	if want := []bool{true, false, true, false, true, true}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestGuardSeesWhatComparisonsCannot(t *testing.T) {
	p := errorsOnly(0)
	p.Metrics[0].Guard = 5
	run := newRun(t, p, []History{{N: 100_000, Bad: 100}})
	r := rand.New(rand.NewPCG(22, 1))
	for i := range 100 {
		b := Batch{At: float64(i), Share: 0.1, Canary: Side{N: 100, Bad: binomial(r, 100, 0.03)}, Stable: Side{N: 900, Bad: binomial(r, 900, 0.03)}}
		if err := run.Update(0, b); err != nil {
			t.Fatal(err)
		}
	}
	got := run.Report(0)
	if got.Verdict == Fail || got.Pause == "" {
		t.Errorf("verdict %s, pause %q; want a pause and no blame when both versions are 30 times worse than before", got.Verdict, got.Pause)
	}
	if again, err := Restore(p, run.Snapshot()); err != nil || again.Report(0).Pause != got.Pause {
		t.Errorf("the guard was lost in a snapshot: %v", err)
	}
}

// Splitting a batch changes nothing but what the learner knows when it bets.
func TestSplittingABatchKeepsTheEvidence(t *testing.T) {
	p := errorsOnly(0)
	h := []History{{N: 1 << 30, Bad: 1 << 23}} // the learner knows the rate
	whole, parts := newRun(t, p, h), newRun(t, p, h)
	r := rand.New(rand.NewPCG(23, 1))
	for i := range 50 {
		b := Batch{At: float64(i), Share: 0.1, Canary: Side{N: 50}, Stable: Side{N: 450}}
		for _, s := range []*Side{&b.Canary, &b.Stable} {
			for range s.N {
				bad := binomial(r, 1, 0.01)
				s.Bad += bad
				one := Batch{At: b.At, Share: 0.1}
				side := &one.Canary
				if s == &b.Stable {
					side = &one.Stable
				}
				side.N, side.Bad = 1, bad
				if err := parts.Update(0, one); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := whole.Update(0, b); err != nil {
			t.Fatal(err)
		}
	}
	a, b := whole.metrics[0].evidence(), parts.metrics[0].evidence()
	if math.Abs(a-b) > 0.02 {
		t.Errorf("evidence is %v in batches and %v unit by unit", a, b)
	}
}

func TestImpossibleBatchesAreRefused(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	good := Batch{At: 10, Share: 0.1, Canary: Side{N: 10, Bad: 1}, Stable: Side{N: 90}}
	for name, change := range map[string]func(*Batch){
		"time going back":     func(b *Batch) { b.At = 5 },
		"time NaN":            func(b *Batch) { b.At = nan },
		"time infinite":       func(b *Batch) { b.At = inf },
		"share NaN":           func(b *Batch) { b.Share = nan },
		"share above 1":       func(b *Batch) { b.Share = 1.5 },
		"negative share":      func(b *Batch) { b.Share = -0.1 },
		"negative units":      func(b *Batch) { b.Canary.N = -1 },
		"more bad than units": func(b *Batch) { b.Stable.Bad = 91 },
		"too many units":      func(b *Batch) { b.Stable.N = math.MaxInt64 },
	} {
		run := newRun(t, errorsOnly(0), nil)
		if err := run.Update(0, good); err != nil {
			t.Fatal(err)
		}
		before := run.Snapshot()
		b := good
		b.At = 11
		change(&b)
		if err := run.Update(0, b); err == nil {
			t.Errorf("%s: taken, want an error", name)
		}
		if string(before) != string(run.Snapshot()) {
			t.Errorf("%s: a refused batch changed the state", name)
		}
	}
	run := newRun(t, errorsOnly(0), nil)
	if run.Update(1, good) == nil || run.Update(-1, good) == nil {
		t.Error("a metric that does not exist was updated")
	}
}

// A version without traffic, a share of 1 or a billion units in a batch are
// possible: none of them is a pass, none breaks the numbers.
func TestExtremeBatchesStayInconclusive(t *testing.T) {
	for name, b := range map[string]Batch{
		"no canary":        {Stable: Side{N: 1000, Bad: 10}},
		"no stable":        {Canary: Side{N: 1000, Bad: 10}},
		"share 1":          {Share: 1, Canary: Side{N: 1000, Bad: 900}},
		"nothing":          {},
		"a billion, alike": {Share: 0.5, Canary: Side{N: 1e9}, Stable: Side{N: 1e9}},
	} {
		p := errorsOnly(1)
		p.Metrics[0].Required, p.Metrics[0].Guard = true, 5
		run := newRun(t, p, []History{{N: 1000, Bad: 1}})
		for i := range 5 {
			b.At = float64(i)
			if err := run.Update(0, b); err != nil {
				t.Fatal(err)
			}
		}
		got := run.Report(0)
		if got.Verdict != Inconclusive || got.Reason == "" {
			t.Errorf("%s: %s (%s), want Inconclusive with a reason", name, got.Verdict, got.Reason)
		}
		if math.IsNaN(got.LogE) || math.IsInf(got.LogE, 0) {
			t.Errorf("%s: evidence is %v", name, got.LogE)
		}
	}
}

func FuzzUpdate(f *testing.F) {
	f.Add(uint8(0), 1.0, 0.1, int64(10), int64(1), int64(90), int64(2), int32(500), 3.5)
	f.Add(uint8(4), 1e9, 0.0, int64(1)<<40, int64(0), int64(1), int64(1), int32(0), -1.0)
	f.Fuzz(func(t *testing.T, which uint8, at, share float64, nc, ec, ns, es int64, bin int32, value float64) {
		s := scenarios[int(which)%len(scenarios)]
		run := newRun(t, s.policy(), nil)
		b := Batch{At: at, Share: share, Canary: Side{N: nc, Bad: ec, Value: value, Bins: []BinCount{{bin, nc}}, Classes: []int64{nc, ec}}}
		b.Stable = Side{N: ns, Bad: es, Value: 1 + value/3, Bins: []BinCount{{Bin: bin / 2, Count: ns}}, Classes: []int64{ns, es}}
		for range 3 {
			if run.Update(0, b) != nil {
				return
			}
		}
		got := run.Report(0)
		if own := run.metricReport(0, 0); math.IsNaN(got.LogE) || math.IsNaN(own.LogE) || math.IsNaN(own.LogProof) {
			t.Fatalf("evidence is not a number: %+v", got)
		}
		checkIntervals(t, run.metricReport(0, 0))
		again, err := Restore(s.policy(), run.Snapshot())
		if err != nil {
			t.Fatal(err)
		}
		if string(again.Snapshot()) != string(run.Snapshot()) {
			t.Fatal("a snapshot changes when it is restored")
		}
	})
}

// FuzzRestore finds more with -fuzzminimizetime 1x: to minimise what is
// interesting takes a minute each time.
// checkIntervals demands that what people read can be written as JSON and that
// no interval's ends are crossed.
func checkIntervals(t *testing.T, m MetricReport) {
	if _, err := json.Marshal(m); err != nil {
		t.Fatalf("%+v cannot be written: %v", m, err)
	}
	ends := [][2]*float64{{m.Canary.Low, m.Canary.High}, {m.Stable.Low, m.Stable.High}}
	for _, i := range []*Interval{m.Ratio, m.Diff} {
		if i != nil {
			ends = append(ends, [2]*float64{i.Low, i.High})
		}
	}
	for _, e := range ends {
		if e[0] != nil && e[1] != nil && *e[0] > *e[1]*(1+1e-9)+1e-300 && *e[0] > *e[1]+1e-9*math.Abs(*e[0]) {
			t.Fatalf("an interval from %v to %v: %+v", *e[0], *e[1], m)
		}
	}
	if m.MoreSeconds != nil && *m.MoreSeconds < 0 || m.MoreRequests != nil && *m.MoreRequests < 0 {
		t.Fatalf("a forecast is negative: %+v", m)
	}
}

func FuzzRestore(f *testing.F) {
	for i, s := range scenarios {
		run, _ := New(s.policy(), nil)
		state := 0.0
		for j := range 20 {
			_ = run.Update(0, s.draw(rand.New(rand.NewPCG(1, uint64(j))), 1, float64(j), &state))
		}
		f.Add(uint8(i), run.Snapshot())
	}
	f.Fuzz(func(_ *testing.T, which uint8, snapshot []byte) {
		if run, err := Restore(scenarios[int(which)%len(scenarios)].policy(), snapshot); err == nil {
			run.Report(0)
		}
	})
}
