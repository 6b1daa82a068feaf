package release

import (
	"math"
	"testing"
)

// TestNotANumberIsTold: of whatever has numbers, with or without a score beside.
func TestNotANumberIsTold(t *testing.T) {
	of, _ := FactNotANumber.Of()
	for name, c := range map[string]struct {
		answer  Answer
		bad, ok bool
	}{
		"a score":            {Answer{API: JSONAPI, Scored: true, Score: 0.5}, false, true},
		"none in its place":  {Answer{API: JSONAPI, NaN: 1}, true, true},
		"tensors":            {Answer{API: InferAPI, Length: 3}, false, true},
		"a tensor with NaN":  {Answer{API: InferAPI, Length: 3, NaN: 1}, true, true},
		"nothing of numbers": {Answer{API: ChatAPI}, false, false},
	} {
		if bad, ok := of.Bad(&Observation{Answer: &c.answer}); bad != c.bad || ok != c.ok {
			t.Errorf("%s: bad %v, told %v; want %v, %v", name, bad, ok, c.bad, c.ok)
		}
	}
}

// TestScoresKeepTheirOrder on the scale of amounts, and values that differ by a
// tenth lie in other bins of it (5 % wide), whatever their sign.
func TestScoresKeepTheirOrder(t *testing.T) {
	of, _ := FactScore.Of()
	on := func(score float64) float64 {
		v, ok := of.Amount(&Observation{Answer: &Answer{Scored: true, Score: score}})
		if !ok || v < 1e-9 || v > 1.1e18 {
			t.Fatalf("a score of %g is %g on the scale (told: %v)", score, v, ok)
		}
		return v
	}
	var all []float64
	for m := greatestScore; m >= leastScore; m /= 1.1 {
		all = append(all, -m)
	}
	all = append(all, 0)
	for m := leastScore; m <= greatestScore; m *= 1.1 {
		all = append(all, m)
	}
	for i, v := range all[1:] {
		if low, high := on(all[i]), on(v); high < 1.05*low {
			t.Fatalf("%g is %g on the scale and %g is %g, in the same bin", all[i], low, v, high)
		}
	}
	if on(math.Inf(-1)) > on(-1) || on(math.Inf(1)) < on(1) {
		t.Error("what is infinite is not at the ends")
	}
}
