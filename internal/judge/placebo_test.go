package judge

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// bursty is one second in which the units of 400 requests come in bursts.
func bursty(r *rand.Rand, at float64, burst int64) Batch {
	users := 400 / burst
	n := binomial(r, users, 0.1)
	return Batch{At: at, Share: 0.1,
		Canary: Side{N: n * burst, Bad: burst * binomial(r, n, 0.01)},
		Stable: Side{N: (users - n) * burst, Bad: burst * binomial(r, users-n, 0.01)}}
}

func TestPlaceboSaysWhatItFound(t *testing.T) {
	r := rand.New(rand.NewPCG(31, 1))
	run, placebo := newRun(t, errorsOnly(1), nil), newRun(t, errorsOnly(1), nil)
	if got := run.Placebo(placebo).Finding; got != "Stable was not compared with itself: that takes evidence that tells its single requests apart, or counters of at least two instances." {
		t.Errorf("without data it says %q", got)
	}
	for i := range 600 {
		if err := placebo.Update(0, bursty(r, float64(i), 10)); err != nil {
			t.Fatal(err)
		}
		run.HeedPlacebo(placebo)
		placebo.HeedPlacebo(placebo)
	}
	got := run.Placebo(placebo)
	if !slices.Equal(got.Intervals, []string{"errors"}) || !strings.Contains(got.Finding, "Requests of errors fail in bursts") {
		t.Errorf("it says %+v, want that errors are judged by intervals", got)
	}
	if got.Canary < 20_000 || got.Stable < 200_000 || got.Alarm != placebo.Failed() || got.Alarm != strings.Contains(got.Finding, "a false alarm by errors") {
		t.Errorf("it says %+v, want all the requests, and an alarm only as it was", got)
	}
}

// What the placebo switched is exported and replayed as it was.
func TestReplayCountsIntervalsFromTheirLine(t *testing.T) {
	r := rand.New(rand.NewPCG(32, 1))
	p := errorsOnly(1)
	run := newRun(t, p, nil)
	var file bytes.Buffer
	write := func(l EvidenceLine) {
		if err := WriteEvidence(&file, l); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 100 {
		if i == 50 {
			if !run.CountIntervals(0) || run.CountIntervals(0) {
				t.Error("a metric switches once")
			}
			write(EvidenceLine{T: 49, Metric: "errors", Intervals: true})
		}
		b := bursty(r, float64(i), 10)
		if err := run.Update(0, b); err != nil {
			t.Fatal(err)
		}
		write(LineOf(p.Metrics[0], b))
	}
	again, err := Replay(p, &file, 0, nil)
	if err != nil || again.Report.LogE != run.Report(0).LogE {
		t.Errorf("the replay's evidence is %v (%v), want %v", again.Report.LogE, err, run.Report(0).LogE)
	}
}

func perUnit() Policy {
	p := errorsOnly(0)
	p.Metrics[0].PerUnit, p.Metrics[0].Share = true, 1
	return p
}

// One user whose hundred requests all fail is one unit; as many users are many.
func TestUnitsThatFailOftenCountOnce(t *testing.T) {
	for _, c := range []struct {
		name   string
		firsts int64 // of the first batch
		want   bool
	}{{"one user", 1, false}, {"twenty users", 20, true}} {
		run := newRun(t, perUnit(), []History{{N: 6000, Bad: 6}})
		for i := range 100 {
			b := Batch{At: float64(i) / 10, Share: 0.1, Canary: Side{N: 20, Bad: 20, Units: c.firsts}, Stable: Side{N: 90}}
			if i == 0 {
				b.Canary.Firsts = c.firsts
			}
			if err := run.Update(0, b); err != nil {
				t.Fatal(err)
			}
		}
		if run.Failed() != c.want {
			t.Errorf("%s: failed is %v with evidence %v, want %v", c.name, run.Failed(), run.logM, c.want)
		}
		if run.Proven(0) {
			t.Errorf("%s: proven with two thousand bad answers", c.name)
		}
	}
}

// The chance to fail a good version whose users fail often stays below alpha.
func TestUnitsKeepAlpha(t *testing.T) {
	const runs, users = 400, 300
	failed := 0
	for seed := range uint64(runs) {
		r := rand.New(rand.NewPCG(33, seed))
		run := newRun(t, perUnit(), []History{{N: 6000, Bad: 60}})
		var broken, canary, seen [users]bool
		for u := range users {
			broken[u], canary[u] = r.IntN(20) == 0, r.IntN(5) == 0
		}
		for i := range 200 {
			b := Batch{At: float64(i) / 10, Share: 0.2}
			for range 50 {
				u := r.IntN(users)
				s := &b.Stable
				if canary[u] {
					s = &b.Canary
				}
				s.N++
				if broken[u] {
					s.Bad++
					if s.Units++; !seen[u] {
						s.Firsts++
					}
					seen[u] = true
				}
			}
			if err := run.Update(0, b); err != nil {
				t.Fatal(err)
			}
		}
		if run.Failed() {
			failed++
		}
	}
	if failed > 12 { // alpha 1 %: 4 are expected at most, more than 12 come with a chance below 0.001
		t.Errorf("%d of %d good versions were failed", failed, runs)
	}
}

func TestGuardOfLatency(t *testing.T) {
	p := Policy{Alpha: 0.01, AlphaPromote: 0.05, Horizon: 1800, Metrics: []Metric{
		{Name: "latency", Kind: Latency, Share: 1, Ratio: 1.2, Limit: math.NaN(), Guard: 5}}}
	for _, c := range []struct {
		name   string
		factor float64
		from   int // second
		to     int
		pause  bool
	}{{"nine times as long", 9, 20, 100, true}, {"three times as long", 3, 20, 100, false}, {"a stall of two seconds", 1000, 20, 22, false}} {
		r := rand.New(rand.NewPCG(34, 1))
		run := newRun(t, p, []History{{Bins: amounts(r, 6000, Latency, 0.1)}})
		for i := range 100 {
			f := 0.1
			if i >= c.from && i < c.to {
				f *= c.factor
			}
			b := Batch{At: float64(i), Share: 0.1, Canary: Side{Bins: amounts(r, 10, Latency, f)}, Stable: Side{Bins: amounts(r, 90, Latency, f)}}
			if err := run.Update(0, b); err != nil {
				t.Fatal(err)
			}
			if i == 50 {
				var err error
				if run, err = Restore(p, run.Snapshot()); err != nil {
					t.Fatal(err)
				}
			}
		}
		got := run.Report(0)
		if (got.Pause != "") != c.pause || got.Verdict == Fail {
			t.Errorf("%s: %s, pause %q; want a pause: %v, and no blame", c.name, got.Verdict, got.Pause, c.pause)
		}
	}
}

// A second in which nearly all fails is an incident, not interference.
func TestGuardOutlastsABurst(t *testing.T) {
	p := errorsOnly(0)
	p.Metrics[0].Guard = 5
	run := newRun(t, p, []History{{N: 60_000, Bad: 60}})
	r := rand.New(rand.NewPCG(35, 1))
	for i := range 100 {
		rate := 0.001
		if i == 40 {
			rate = 0.2
		}
		b := Batch{At: float64(i), Share: 0.1, Canary: Side{N: 100, Bad: binomial(r, 100, rate)}, Stable: Side{N: 900, Bad: binomial(r, 900, rate)}}
		if err := run.Update(0, b); err != nil {
			t.Fatal(err)
		}
	}
	if got := run.Report(0); got.Pause != "" || got.Verdict == Fail {
		t.Errorf("%s, pause %q after one bad second", got.Verdict, got.Pause)
	}
}

func TestShareCheckSaysTheNumbers(t *testing.T) {
	p := errorsOnly(0)
	p.Metrics = append(p.Metrics, Metric{Name: "share", Kind: ShareCheck, Pause: true, PerUnit: true, Limit: math.NaN()})
	run := newRun(t, p, nil)
	r := rand.New(rand.NewPCG(36, 1))
	for i := range 100 {
		n := binomial(r, 100, 0.07)
		if err := run.Update(1, Batch{At: float64(i), Share: 0.05, Canary: Side{N: n}, Stable: Side{N: 100 - n}}); err != nil {
			t.Fatal(err)
		}
	}
	got := run.Report(0)
	if got.Verdict == Fail || !strings.Contains(got.Pause, "of 10 000 users") || !strings.Contains(got.Pause, "where 5 % was asked for") {
		t.Errorf("%s, pause %q", got.Verdict, got.Pause)
	}
}

func TestRecord(t *testing.T) {
	for _, c := range []struct {
		record Record
		bad    bool
		words  string
	}{
		{Record{}, false, "No run with a placebo has ended yet."},
		{Record{Runs: 1, Allowed: 0.01}, false, "0 false alarms in 1 run "},
		{Record{Runs: 200, Alarms: 2, Allowed: 2}, false, "2 false alarms in 200 runs that compared stable with itself: 1 %, at most 1 % was stated;"},
		{Record{Runs: 200, Alarms: 20, Allowed: 2}, true, "more than was stated"},
	} {
		if got := c.record.Words(); c.record.Contradicted() != c.bad || !strings.Contains(got, c.words) {
			t.Errorf("%+v: contradicted %v, %q", c.record, c.record.Contradicted(), got)
		}
	}
	if got := (Record{Runs: 1, Alarms: 1, Allowed: 0.5}).Add(Record{Runs: 2, Allowed: 0.02}); got != (Record{Runs: 3, Alarms: 1, Allowed: 0.52}) {
		t.Errorf("sum %+v", got)
	}
}
