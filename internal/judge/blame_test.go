package judge

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// selfConsistent is the other definition of e-BH: the largest set of which every
// member reaches 1/(alpha times the set's size), found by trying all sets.
func selfConsistent(weighted []float64, bar float64) uint {
	best := uint(0)
	for set := uint(1); set < 1<<len(weighted); set++ {
		size, ok := bits.OnesCount(set), true
		for i, e := range weighted {
			ok = ok && (set>>i&1 == 0 || e >= bar-math.Log(float64(size)))
		}
		if ok && size > bits.OnesCount(best) {
			best = set
		}
	}
	return best
}

func TestEBHIsTheLargestSelfConsistentSet(t *testing.T) {
	r, bar, sizes := rand.New(rand.NewPCG(61, 1)), math.Log(100), map[int]int{}
	for range 3000 {
		weighted, taken := make([]float64, 1+r.IntN(8)), make([]bool, 8)
		for i := range weighted {
			weighted[i] = bar - 3 + 4*r.Float64()
		}
		taken = taken[:len(weighted)]
		eBH(weighted, bar, taken)
		want := selfConsistent(weighted, bar)
		for i := range taken {
			if taken[i] != (want>>i&1 == 1) {
				t.Fatalf("of %v at %v it takes %v, want the set %b", weighted, bar, taken, want)
			}
		}
		sizes[bits.OnesCount(want)]++
	}
	if len(sizes) < 6 {
		t.Errorf("the cases are too alike: sets of the sizes %v", sizes)
	}
}

// manyErrors is a policy with n error rates that share alpha.
func manyErrors(n int, alpha float64) Policy {
	p := Policy{Alpha: alpha, AlphaPromote: 0.05, Horizon: 1800}
	for i := range n {
		p.Metrics = append(p.Metrics, Metric{Name: "tenant " + string(rune('a'+i)), Kind: Proportion, Share: 1 / float64(n), Limit: math.NaN()})
	}
	return p
}

// TestBlameOfManyMetrics: of twenty tenants, five get worse. The part of the
// blamed that are not worse is at most alpha on average, and e-BH blames more of
// the worse ones than each metric's own threshold does.
func TestBlameOfManyMetrics(t *testing.T) {
	const tenants, worse, runs, alpha = 20, 5, 100, 0.1
	p, r := manyErrors(tenants, alpha), rand.New(rand.NewPCG(62, 1))
	falsely, right, alone, failed := 0.0, 0, 0, 0
	for range runs {
		run := newRun(t, p, nil)
		for at := 0; at < 120 && !run.failed; at++ {
			for i := range tenants {
				rate := 0.02
				if i < worse {
					rate = 0.08
				}
				b := Batch{At: float64(at), Share: 0.5, Canary: Side{N: 20, Bad: binomial(r, 20, rate)}, Stable: Side{N: 20, Bad: binomial(r, 20, 0.02)}}
				if err := run.Update(i, b); err != nil {
					t.Fatal(err)
				}
			}
		}
		if !run.failed {
			continue
		}
		failed++
		bad := 0
		for i, is := range run.blamed {
			switch {
			case is && i < worse:
				right++
			case is:
				bad++
			}
			if run.metrics[i].evidence() >= run.threshold(p.Metrics[i]) {
				alone++
			}
		}
		rep := run.Report(0)
		falsely += float64(bad) / float64(len(rep.Blame))
		if len(rep.Blame) > 1 && !strings.HasPrefix(rep.Reason, "Because of "+rep.Blame[0]) {
			t.Fatalf("the reason %q does not name %v", rep.Reason, rep.Blame)
		}
	}
	t.Logf("%d runs failed; %d blamed rightly, %d by their own threshold, false part %.3f", failed, right, alone, falsely/float64(failed))
	if failed < runs*9/10 || falsely/float64(failed) > alpha+0.03 || right < alone {
		t.Error("want nearly all runs failed, a false part of at most alpha and no fewer blamed than by their own thresholds")
	}
}

func TestFailNamesEveryMetricToBlame(t *testing.T) {
	run := newRun(t, manyErrors(3, 0.01), nil)
	for at := range 40 {
		for i := range 3 {
			b := Batch{At: float64(at), Share: 0.5, Canary: Side{N: 20}, Stable: Side{N: 20}}
			if i > 0 {
				b.Canary.Bad = int64(min(at, 4)) // both get worse together
			}
			if err := run.Update(i, b); err != nil {
				t.Fatal(err)
			}
		}
	}
	rep := run.Report(0)
	names := slices.Sorted(slices.Values(rep.Blame))
	if rep.Verdict != Fail || !slices.Equal(names, []string{"tenant b", "tenant c"}) {
		t.Fatalf("%s, blamed are %v (%s), want tenants b and c", rep.Verdict, rep.Blame, rep.Reason)
	}
	if !strings.HasPrefix(rep.Reason, "Because of tenant b and tenant c. tenant b: the canary is worse") &&
		!strings.HasPrefix(rep.Reason, "Because of tenant c and tenant b. tenant c: the canary is worse") {
		t.Errorf("the reason is %q", rep.Reason)
	}
	if got := listed([]string{"a", "b", "c", "d", "e", "f", "g"}); got != "a, b, c, d, e and 2 more" {
		t.Errorf("seven are listed as %q", got)
	}
}
