package judge

import (
	"bytes"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// twoMetrics is the policy of the examples: errors and latency.
func twoMetrics() Policy {
	return Policy{
		Alpha: 0.01, AlphaPromote: 0.05, Horizon: 1800, Looseness: []float64{4, 2, 1},
		Metrics: []Metric{
			{Name: "errors", Kind: Proportion, Share: 0.5, Required: true, Ratio: 1.5, Difference: 0.005, Limit: math.NaN()},
			{Name: "latency", Kind: Latency, Share: 0.3, Required: true, Ratio: 1.2, Quantile: 0.99, Limit: math.NaN()},
		},
	}
}

// world makes requests: one version's error rate and lognormal latency.
type world struct {
	rnd    *rand.Rand
	bad    [2]float64 // stable, canary
	median [2]float64
	share  float64
}

// request is one unit: its version, outcome and latency bin.
func (w *world) request() (canary, bad bool, bin int32) {
	v := 0
	if w.rnd.Float64() < w.share {
		v = 1
	}
	return v == 1, w.rnd.Float64() < w.bad[v], BinOf(Latency, w.median[v]*math.Exp(0.5*w.rnd.NormFloat64()))
}

func history(w world, n int) []History {
	errors, latency := History{N: int64(n)}, tally{}
	w.share = 0
	for range n {
		_, bad, bin := w.request()
		if bad {
			errors.Bad++
		}
		latency[bin]++
	}
	h := History{}
	for i, c := range latency {
		if c > 0 {
			h.Bins = append(h.Bins, BinCount{Bin: int32(i), Count: c})
		}
	}
	return []History{errors, h}
}

// feed gives the judge one request in routing mode.
func feed(t testing.TB, r *Run, w *world, at float64) (canary bool) {
	t.Helper()
	c, bad, bin := w.request()
	e, l := Batch{At: at, Share: w.share}, Batch{At: at, Share: w.share}
	se, sl := &e.Stable, &l.Stable
	if c {
		se, sl = &e.Canary, &l.Canary
	}
	se.N = 1
	if bad {
		se.Bad = 1
	}
	sl.Bins = []BinCount{{Bin: bin, Count: 1}}
	if err := r.Update(0, e); err != nil {
		t.Fatal(err)
	}
	if err := r.Update(1, l); err != nil {
		t.Fatal(err)
	}
	return c
}

func newRun(t testing.TB, p Policy, h []History) *Run {
	t.Helper()
	r, err := New(p, h)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestOutageIsFailedWithinThreeCanaryRequests: where errors have all of alpha in every
// cell; with half of it, as errors have beside other metrics, 5 % of errors and
// a tenth of the traffic take 3.05 (20,000 runs).
func TestOutageIsFailedWithinThreeCanaryRequests(t *testing.T) {
	const runs = 2000
	for _, share := range []float64{0.01, 0.05, 0.10} {
		for _, stable := range []float64{0.001, 0.01, 0.05} {
			for _, of := range []float64{1, 0.5} {
				p := errorsOnly(0)
				p.Metrics[0].Share = of
				w := world{rnd: rand.New(rand.NewPCG(1, 2)), bad: [2]float64{stable, 1}, median: [2]float64{0.1, 0.1}, share: share}
				h := history(w, 5000)[:1]
				sum, squares := 0.0, 0.0
				for range runs {
					n := outageOf(t, newRun(t, p, h), &w)
					sum, squares = sum+n, squares+n*n
				}
				mean := sum / runs
				room := 2 * math.Sqrt((squares/runs-mean*mean)/runs) // standard errors
				t.Logf("share %v, stable %v, %v of alpha: %.2f canary requests", share, stable, of, mean)
				most := 3.0
				if of < 1 && stable > 0.01 && share > 0.05 {
					most = 3.05
				}
				if mean > most+room {
					t.Errorf("share %v, stable %v, %v of alpha: %.2f canary requests until the fail, want at most %v and %.2f for chance", share, stable, of, mean, most, room)
				}
			}
		}
	}
}

// outageOf is how many canary requests come until a run fails.
func outageOf(t *testing.T, r *Run, w *world) (canary float64) {
	t.Helper()
	for i := 0; !r.failed; i++ {
		b := Batch{At: float64(i) / 500, Share: w.share}
		side := &b.Stable
		c, bad, _ := w.request()
		if c {
			side = &b.Canary
			canary++
		}
		if side.N = 1; bad {
			side.Bad = 1
		}
		if err := r.Update(0, b); err != nil {
			t.Fatal(err)
		}
	}
	return canary
}

// TestOutageBesideLatency: the same where latency is judged too.
func TestOutageBesideLatency(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, share := range []float64{0.01, 0.05, 0.10} {
		for _, stable := range []float64{0.001, 0.01, 0.05} {
			w := world{rnd: rnd, bad: [2]float64{stable, 1}, median: [2]float64{0.1, 0.1}, share: share}
			h := history(w, 5000)
			const runs = 100
			canary := 0
			for range runs {
				r := newRun(t, twoMetrics(), h)
				for i := 0; !r.failed; i++ {
					if feed(t, r, &w, float64(i)/500) {
						canary++
					}
				}
			}
			mean := float64(canary) / runs
			t.Logf("share %v, stable %v: %.2f canary requests", share, stable, mean)
			most := 3.0
			if stable > 0.01 {
				most = 3.35 // 3.05 and two standard errors
			}
			if mean > most {
				t.Errorf("share %v, stable %v: %.2f canary requests until the fail, want at most %v", share, stable, mean, most)
			}
		}
	}
}

// An outage of a fifth of the requests, where stable has no errors and counters are
// read four times a second: the limit is 2.2 bad answers (5.3 nats for half of
// alpha, at 0.48 nats a canary request), and reading adds up to one.
func TestPartOfAnOutageIsFailedByItsFirstErrors(t *testing.T) {
	const runs = 400
	bad := 0
	for seed := range uint64(runs) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		r := newRun(t, twoMetrics(), []History{{N: 2000}, {}})
		for at := 0.25; !r.failed; at += 0.25 {
			b := Batch{At: at}
			for range 50 {
				switch canary := rnd.Float64() < 0.1; {
				case !canary:
					b.Stable.N++
				case rnd.Float64() < 0.2:
					b.Canary.Bad++
					fallthrough
				default:
					b.Canary.N++
				}
			}
			bad += int(b.Canary.Bad)
			if err := r.Update(0, b); err != nil {
				t.Fatal(err)
			}
		}
	}
	mean := float64(bad) / runs
	t.Logf("%.2f bad answers", mean)
	if mean > 3.8 {
		t.Errorf("%.2f bad answers until the fail, want at most 3.8", mean)
	}
}

func TestSnapshotContinuesBitForBit(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	w := world{rnd: rnd, bad: [2]float64{0.01, 0.015}, median: [2]float64{0.1, 0.105}, share: 0.2}
	a := newRun(t, twoMetrics(), history(w, 2000))
	for i := range 5000 {
		feed(t, a, &w, float64(i)/100)
	}
	b, err := Restore(twoMetrics(), a.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	wa, wb := w, w
	wa.rnd, wb.rnd = rand.New(rand.NewPCG(5, 6)), rand.New(rand.NewPCG(5, 6))
	for i := range 20000 {
		feed(t, a, &wa, 50+float64(i)/100)
		feed(t, b, &wb, 50+float64(i)/100)
	}
	if !bytes.Equal(a.Snapshot(), b.Snapshot()) {
		t.Fatal("the restored run went another way")
	}
	if d := cmp.Diff(a.Report(0), b.Report(0)); d != "" {
		t.Fatal(d)
	}
	t.Logf("snapshot %d bytes; %+v", len(a.Snapshot()), a.Report(2).Reason)
}

func TestHealthyCanaryIsProven(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	w := world{rnd: rnd, bad: [2]float64{0.01, 0.01}, median: [2]float64{0.1, 0.1}, share: 0.1}
	r := newRun(t, twoMetrics(), history(w, 10000))
	for i := 0; i < 200_000 && (i%1000 != 0 || r.Report(2).Verdict == Inconclusive); i++ {
		feed(t, r, &w, float64(i)/1000)
	}
	got := r.Report(2)
	if got.Verdict != Pass {
		t.Fatalf("verdict %s (%s), want Pass", got.Verdict, got.Reason)
	}
}

func TestUpdateAllocatesNothing(t *testing.T) {
	w := world{rnd: rand.New(rand.NewPCG(1, 1)), bad: [2]float64{0.01, 0.01}, median: [2]float64{0.1, 0.1}, share: 0.1}
	r := newRun(t, twoMetrics(), history(w, 1000))
	at := 0.0
	bins := []BinCount{{Bin: 500, Count: 30}, {Bin: 560, Count: 20}}
	for _, share := range []float64{0.1, 0} {
		n := testing.AllocsPerRun(1000, func() {
			at += 0.1
			b := Batch{At: at, Share: share, Canary: Side{N: 50, Bad: 1, Bins: bins}, Stable: Side{N: 500, Bad: 4, Bins: bins}}
			if r.Update(0, b) != nil || r.Update(1, b) != nil {
				t.Fatal("refused")
			}
		})
		if n != 0 {
			t.Errorf("share %v: %v allocations for an update, want 0", share, n)
		}
	}
}

// TestNoKindAllocates: nor what stands beside a comparison.
func TestNoKindAllocates(t *testing.T) {
	all := append([]scenario(nil), scenarios...)
	all = append(all, scenario{name: "guard, and intervals beside requests", metric: Metric{Kind: Proportion, Ratio: 1.5, Guard: 5, Interval: 1}, draw: proportions(0.2, 1)},
		scenario{name: "users", metric: Metric{Kind: Proportion, Ratio: 1.5, Difference: 0.01, Guard: 5, PerUnit: true}, draw: func(r *rand.Rand, worse, at float64, state *float64) Batch {
			b := proportions(0.2, 1)(r, worse, at, state)
			b.Canary.Units, b.Canary.Firsts, b.Stable.Units, b.Stable.Firsts = b.Canary.Bad, b.Canary.Bad, b.Stable.Bad, b.Stable.Bad
			return b
		}},
		scenario{name: "classes with names", metric: Metric{Kind: Category, Pause: true}, draw: func(r *rand.Rand, _, at float64, _ *float64) Batch {
			b := Batch{At: at, Share: 0.2, Canary: Side{Classes: []int64{1, 2, binomial(r, 9, 0.5)}}, Stable: Side{Classes: []int64{5, 9, 20}}}
			b.Names = []string{"a", "b", "c", "d", "e", "f"}[:min(6, 1+int(at)/51)]
			return b
		}})
	for _, s := range all {
		run := newRun(t, s.policy(), []History{{N: 1000, Bad: 10}})
		r, state, next := rand.New(rand.NewPCG(5, 5)), 0.0, 0
		var batches []Batch
		for i := range 300 {
			b := s.draw(r, 1, float64(i), &state)
			b.At = float64(i)
			batches = append(batches, b)
		}
		for next < len(batches) { // two by two: of many the mean would be cut
			n := testing.AllocsPerRun(1, func() {
				if err := run.Update(0, batches[next]); err != nil {
					t.Fatal(err)
				}
				next++
			})
			if n != 0 {
				t.Errorf("%s: %v allocations for update %d, want 0", s.name, n, next)
			}
		}
	}
}

func nan() float64 { return math.NaN() }

// TestCanaryThatAnswersNothingIsSaid: in the routing mode requests that never
// end are missing among the canary's, and the words must not say that it fails.
func TestCanaryThatAnswersNothingIsSaid(t *testing.T) {
	p := Policy{Alpha: 0.01, AlphaPromote: 0.05, Horizon: 1800, Metrics: []Metric{
		{Name: "errors", Kind: Proportion, Share: 1, Required: true, Ratio: 1.5, Limit: math.NaN()}}}
	r, err := New(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		if err := r.Update(0, Batch{At: float64(i) / 10, Share: 0.1, Stable: Side{N: 1}}); err != nil {
			t.Fatal(err)
		}
	}
	const want = "errors: none of the requests that were sent to the canary has ended, and 200 of stable's have;"
	if rep := r.Report(0); rep.Verdict != Fail || !strings.HasPrefix(rep.Reason, want) {
		t.Errorf("%s: %s", rep.Verdict, rep.Reason)
	}
}

// TestMissingAnswersAreSaid: where none of the canary's requests was bad and those
// that are missing fail it, the words say so instead of "0 % against 0 %".
func TestMissingAnswersAreSaid(t *testing.T) {
	r := newRun(t, Policy{Alpha: 0.01, AlphaPromote: 0.05, Horizon: 1800, Metrics: []Metric{
		{Name: "errors", Kind: Proportion, Share: 1, Required: true, Ratio: 1.5, Limit: math.NaN()}}}, nil)
	for i := range 40 {
		b := Batch{At: float64(i), Share: 0.5, Stable: Side{N: 1}}
		if i < 10 {
			b.Canary.N = 1
		}
		if err := r.Update(0, b); err != nil {
			t.Fatal(err)
		}
	}
	const want = "errors: the canary's requests are missing: 10 have ended, none of them bad, where about 25 should have beside 40 of stable's;"
	if rep := r.Report(0); rep.Verdict != Fail || !strings.HasPrefix(rep.Reason, want) {
		t.Errorf("%s at %.1f nats: %s", rep.Verdict, rep.LogE, rep.Reason)
	}
}
