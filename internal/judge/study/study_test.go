package study

import "testing"

// TestReducedStudy holds the figures of docs/judge.md at a reduced size and
// with fixed seeds, so with room for chance.
func TestReducedStudy(t *testing.T) {
	cells, outages := Detection(Small)
	mean, worst, excess := Summary(cells)
	t.Logf("mean ratio to the limit %.2f, worst %.2f, elsewhere at most %.1f requests over it", mean, worst, excess)
	if mean > 1.4 || worst > 1.75 || excess > 12 {
		t.Errorf("mean %.2f, worst %.2f, excess %.1f: expected about 1.33, 1.5 and 6", mean, worst, excess)
	}
	for _, c := range outages {
		if c.Mean > 3.5 {
			t.Errorf("a total outage took %.1f canary requests at w %g, stable %g", c.Mean, c.Share, c.Stable)
		}
	}
	for _, c := range cells {
		if c.Found < c.Runs {
			t.Errorf("stable %g, canary %g, w %g: found in %d of %d runs", c.Stable, c.Canary, c.Share, c.Found, c.Runs)
		}
	}
}

func TestGoodVersionsStay(t *testing.T) {
	nulls := map[string]Null{
		"1 % errors": NullRuns(1, 0.01, 0.05, alpha, Small.Null),
		"incident":   Incident(2, 0.05, alpha, Small.Null/3),
		"ramp":       Ramp(3, alpha, Small.Null),
	}
	for name, n := range nulls {
		if n.Alarms > 3 { // at 1 % of 60 runs a chance of 0.3 %
			t.Errorf("%s: %d of %d good versions rolled back", name, n.Alarms, n.Runs)
		}
	}
}

func TestProofsAndLateRegressions(t *testing.T) {
	if p := Promote(4, 0.01, 0.1, 2, Small.Promote, Small.Promote); p.Found < p.Runs*9/10 || p.Median > 30 || p.Wrong > 7 {
		t.Errorf("margin 2: proven in %d of %d, median %.0f s, wrongly %d of %d", p.Found, p.Runs, p.Median, p.Wrong, p.WrongRuns)
	}
	if c := Late(5, 0.01, 0.05, 0.05, alpha, Small.Late); c.Found < c.Runs || c.Ratio() > 4 {
		t.Errorf("late 5x: found %d of %d, ratio %.2f", c.Found, c.Runs, c.Ratio())
	}
}
