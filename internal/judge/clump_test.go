package judge

import (
	"math"
	"math/rand/v2"
	"testing"
)

// stall is a world of one canary process and a number of stable ones, each of
// which stops now and then, so that all requests inside it are late at once.
type stall struct {
	rng     *rand.Rand
	share   float64
	stables int
	rate    int     // requests a second
	chance  float64 // of a stall of a process in a second
	slower  float64 // of the canary; 1: the same program
	longer  float64 // of the canary's answers, stalls too; 0: as long
}

// second returns the bins of one second in tenths.
func (s *stall) second() (canary, stable [10][]BinCount) {
	late := make([]bool, s.stables+1)
	for i := range late {
		late[i] = s.rng.Float64() < s.chance
	}
	for t := range 10 {
		var c, st tally
		for range s.rate / 10 {
			isCanary := s.rng.Float64() < s.share
			process := 0
			if !isCanary {
				process = 1 + s.rng.IntN(s.stables)
			}
			x := 0.05 * math.Exp(0.3*s.rng.NormFloat64())
			if isCanary {
				x *= s.slower
			}
			if late[process] {
				x += 0.5
			}
			if isCanary && s.longer > 0 {
				x *= s.longer
			}
			if isCanary {
				c[BinOf(Latency, x)]++
			} else {
				st[BinOf(Latency, x)]++
			}
		}
		canary[t], stable[t] = sparseBins(&c), sparseBins(&st)
	}
	return canary, stable
}

func sparseBins(t *tally) []BinCount {
	var out []BinCount
	for i, n := range t {
		if n > 0 {
			out = append(out, BinCount{Bin: int32(i), Count: n})
		}
	}
	return out
}

// history runs the world for a minute without a canary.
func (s *stall) history() History {
	share := s.share
	s.share = 0
	defer func() { s.share = share }()
	var h History
	var all tally
	for range 60 {
		var sec tally
		_, st := s.second()
		for _, bins := range st {
			all.add(bins)
			sec.add(bins)
		}
		h.Seconds = append(h.Seconds, sparseBins(&sec))
	}
	h.Bins = sparseBins(&all)
	return h
}

// verdictAfter runs a judge on the world and returns the second of the verdict, -1 for never.
func (s *stall) verdictAfter(t *testing.T, verdict Verdict, quantile float64, seconds int) float64 {
	t.Helper()
	return s.verdictOn(t, Metric{Name: "latency", Kind: Latency, Share: 1, Required: true, Quantile: quantile, Ratio: 1.2, Limit: math.NaN()}, verdict, seconds)
}

func (s *stall) verdictOn(t *testing.T, m Metric, verdict Verdict, seconds int) float64 {
	t.Helper()
	p := Policy{Alpha: 0.01, AlphaPromote: 0.05, Horizon: 1800, Looseness: []float64{1}, Metrics: []Metric{m}}
	r, err := New(p, []History{s.history()})
	if err != nil {
		t.Fatal(err)
	}
	for sec := range seconds {
		c, st := s.second()
		for k := range 10 {
			at := float64(sec) + float64(k)/10
			if err := r.Update(0, Batch{At: at, Share: s.share, Canary: Side{Bins: c[k]}, Stable: Side{Bins: st[k]}}); err != nil {
				t.Fatal(err)
			}
			if r.verdict(0) == verdict {
				return at
			}
		}
	}
	return -1
}

// TestStallsAreOneEventEach: the same program, processes that stall one at a
// time. Without the design effect nearly every run fails.
func TestStallsAreOneEventEach(t *testing.T) {
	const runs = 60
	failed := 0
	for i := range runs {
		s := &stall{rng: rand.New(rand.NewPCG(1, uint64(i))), share: 0.2, stables: 2, rate: 200, chance: 0.05, slower: 1}
		if s.verdictAfter(t, Fail, 0.99, 40) >= 0 {
			failed++
		}
	}
	if failed > 3 { // at alpha 1 % a chance of 0.3 %
		t.Errorf("%d of %d identical versions failed, promised 1 %%", failed, runs)
	}
	t.Logf("%d of %d identical versions failed under stalls", failed, runs)
}

// TestOneStallBreaksNoLimit: a limit on p90 that one request in fifty is beyond, all
// of them in the seconds in which a process stalls. A version whose values really lie
// beyond it is found.
func TestOneStallBreaksNoLimit(t *testing.T) {
	const runs = 60
	for _, limit := range []float64{0.35, 0.05} { // all of what does not stall takes between
		failed, last := 0, 0.0
		for i := range runs {
			s := &stall{rng: rand.New(rand.NewPCG(5, uint64(i))), share: 0.2, stables: 2, rate: 200, chance: 0.02, slower: 1}
			m := Metric{Name: "latency", Kind: Latency, Share: 1, Required: true, Quantile: 0.9, Limit: limit, LimitBelow: true}
			if at := s.verdictOn(t, m, Fail, 60); at >= 0 {
				failed++
				last = max(last, at)
			}
		}
		t.Logf("at most %v s: %d of %d failed, the last after %.1f s", limit, failed, runs, last)
		if within := limit > 0.1; within && failed > 3 || !within && failed < runs {
			t.Errorf("at most %v s: %d of %d failed", limit, failed, runs)
		}
	}
}

// TestSlowVersionIsFoundInSpiteOfStalls: twice as slow, on the same machine.
func TestSlowVersionIsFoundInSpiteOfStalls(t *testing.T) {
	const runs = 20
	for i := range runs {
		s := &stall{rng: rand.New(rand.NewPCG(2, uint64(i))), share: 0.2, stables: 2, rate: 200, chance: 0.05, slower: 2}
		at := s.verdictAfter(t, Fail, 0.99, 120)
		if at < 0 {
			t.Fatalf("run %d: not found in two minutes", i)
		}
		if i == 0 {
			t.Logf("found after %.1f s", at)
		}
	}
}

// TestStallsProveNothing: a version exactly at the margin, whose answers all
// take 1.02^9 times as long (the bins of a margin of 1.2). Where a stall counted
// as often as it has requests, those of stable's processes would prove most such
// versions to be within the margin.
func TestStallsProveNothing(t *testing.T) {
	const runs = 40
	wrong, right := 0, 0
	for i := range runs {
		s := &stall{rng: rand.New(rand.NewPCG(4, uint64(i))), share: 0.1, stables: 2, rate: 200, chance: 0.05, slower: 1, longer: math.Pow(1.02, 9)}
		if s.verdictAfter(t, Pass, 0.9, 60) >= 0 {
			wrong++
		}
		s = &stall{rng: rand.New(rand.NewPCG(5, uint64(i))), share: 0.1, stables: 2, rate: 500, slower: 1}
		if s.verdictAfter(t, Pass, 0.9, 60) >= 0 {
			right++
		}
	}
	if wrong > 6 || right < runs*9/10 { // at 5 % a chance of 0.3 %
		t.Errorf("%d of %d versions at the margin were proven, promised 5 %%; %d of %d good ones on a quiet machine", wrong, runs, right, runs)
	}
	t.Logf("proven: %d of %d at the margin under stalls, %d of %d good ones on a quiet machine", wrong, runs, right, runs)
}

// TestQuietTrafficIsNotDiscounted: independent values have no effect, so
// nothing is lost where nothing is clumped.
func TestQuietTrafficIsNotDiscounted(t *testing.T) {
	touched, runs := 0, 100
	for i := range runs {
		s := &stall{rng: rand.New(rand.NewPCG(3, uint64(i))), share: 0.1, stables: 2, rate: 500, slower: 1}
		c := newClumps()
		h := s.history()
		var base tally
		base.add(h.Bins)
		c.learn(&base, h.Seconds)
		if c.capped() {
			touched++
		}
	}
	if touched > runs/10 {
		t.Errorf("%d of %d quiet histories were taken for clumped", touched, runs)
	}
	t.Logf("%d of %d quiet histories were taken for clumped", touched, runs)
}
