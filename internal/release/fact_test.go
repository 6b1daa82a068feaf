package release

import "testing"

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
