package study

import (
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"math"
	"strings"
	"testing"

	"github.com/haldane-project/haldane/internal/judge"
)

// What is promised, and how many standard errors of a reduced study may lie
// above it: of one figure, and of one of the 42 and more that are held together.
const (
	promisedMean, promisedCell = 1.35, 1.5
	promisedExcess             = 10.0 // requests, where the limit is below 20
	promisedOutage             = 3.0  // requests
	promisedLate, promisedSlow = 3.0, 2.5
	oneFigure, oneOfMany       = 2.0, 3.0
)

// TestReducedStudy holds what is promised at a reduced size and with fixed seeds.
func TestReducedStudy(t *testing.T) {
	cells := Detection(Small)
	n, mean, worst, excess := Summary(cells)
	variance := 0.0
	for i := range rates {
		for j := range kinds {
			for k, c := range cells[i][j] {
				if c.Found < c.Runs {
					t.Errorf("stable %g, canary %g, w %g: found in %d of %d runs", c.Stable, c.Canary, c.Share, c.Found, c.Runs)
				}
				room := oneOfMany * c.Error
				switch {
				case j == outage:
					if k < outageShares && c.Mean > promisedOutage+room {
						t.Errorf("a total outage took %.1f canary requests at w %g, stable %g, expected at most %v and %.1f for chance", c.Mean, c.Share, c.Stable, promisedOutage, room)
					}
				case c.Limit < smallLimit:
					if c.Mean > c.Limit+promisedExcess+room {
						t.Errorf("stable %g, canary %g, w %g: %.1f requests over the limit, expected at most %v and %.1f for chance", c.Stable, c.Canary, c.Share, c.Mean-c.Limit, promisedExcess, room)
					}
				default:
					variance += c.Error * c.Error / c.Limit / c.Limit
					if c.Mean > promisedCell*c.Limit+room {
						t.Errorf("stable %g, canary %g, w %g: %.2f times the limit, expected at most %v and %.2f for chance", c.Stable, c.Canary, c.Share, c.Ratio(), promisedCell, room/c.Limit)
					}
				}
			}
		}
	}
	room := oneFigure * math.Sqrt(variance) / float64(n)
	t.Logf("mean ratio to the limit %.3f (%v and %.3f for chance), worst %.2f, elsewhere at most %.1f requests over it", mean, promisedMean, room, worst, excess)
	if n != 42 || mean > promisedMean+room {
		t.Errorf("%d cells, mean %.3f, expected 42 and at most %v and %.3f for chance", n, mean, promisedMean, room)
	}
}

// What is skipped over is drawn as it would be one by one: of all requests each
// version gets its share, and of those its own share is bad.
func TestSkippingKeepsTheLaw(t *testing.T) {
	at := truth{stable: 0.02, canary: 0.05, share: 0.2}
	for _, c := range []struct {
		errors float64
		anyone bool
	}{{1, false}, {1, true}, {4, false}} {
		r, n := seeded(21, 0), 0.0
		var canary, stable judge.Side
		for n < 1e6 {
			before, bad, drawn := at.until(r, 1000, c.errors, c.anyone)
			n += drawn
			for _, b := range []judge.Batch{before, bad} {
				canary.N, canary.Bad = canary.N+b.Canary.N, canary.Bad+b.Canary.Bad
				stable.N, stable.Bad = stable.N+b.Stable.N, stable.Bad+b.Stable.Bad
			}
		}
		for _, x := range []struct {
			what            string
			got, of, chance float64
		}{
			{"canary's requests", float64(canary.N), n, 0.2}, {"stable's requests", float64(stable.N), n, 0.8},
			{"canary's errors", float64(canary.Bad), n * 0.2, 0.05}, {"stable's errors", float64(stable.Bad), n * 0.8, 0.02},
		} {
			if sd := math.Sqrt(x.of * x.chance * (1 - x.chance)); math.Abs(x.got-x.of*x.chance) > 4*sd {
				t.Errorf("%+v: %v %s, expected %v within %v", c, x.got, x.what, x.of*x.chance, 4*sd)
			}
		}
	}
}

// Of each situation as many as come by chance once in 500 times, and of all together
// alpha and two standard errors.
func TestGoodVersionsStay(t *testing.T) {
	runs, alarms := 0, 0
	for _, n := range []Null{
		NullRuns(1, 0.01, 0.05, Small.Null),
		Incident(2, 0.05, Small.Null/3),
		Ramp(3, Small.Null),
		Bursts(4, 0.05, byInterval, Small.Null),
		Bursts(4, 0.05, byPlacebo, Small.Null),
		Bursts(4, 0.05, byUser, Small.Null),
		Gauges(5, 1, Small.Null),
		Gauges(6, 1.15, Small.Null),
		SlowNull(7, 0.05, Small.SlowNull),
	} {
		runs, alarms = runs+n.Runs, alarms+n.Alarms
		if n.Alarms > 2 {
			t.Errorf("%s: %d of %d good versions rolled back", n.What, n.Alarms, n.Runs)
		}
	}
	most := alpha*float64(runs) + oneFigure*math.Sqrt(alpha*(1-alpha)*float64(runs))
	t.Logf("%d of %d good versions rolled back, at most %.1f are expected", alarms, runs, most)
	if float64(alarms) > most {
		t.Errorf("%d of %d good versions rolled back, expected at most %.1f", alarms, runs, most)
	}
}

func TestProofsAndLateRegressions(t *testing.T) {
	for _, c := range []struct{ ratio, seconds float64 }{{1.5, 40}, {2, 15}} {
		p := Promote(4, 0.01, 0.1, c.ratio, Small.Promote, Small.Wrong)
		wrong := 0.05*float64(p.WrongRuns) + oneFigure*math.Sqrt(0.05*0.95*float64(p.WrongRuns))
		if p.Found < p.Runs*9/10 || p.Median > c.seconds || float64(p.Wrong) > wrong {
			t.Errorf("margin %v: proven in %d of %d, median %.0f s, expected %v; wrongly %d of %d, expected at most %.1f", c.ratio, p.Found, p.Runs, p.Median, c.seconds, p.Wrong, p.WrongRuns, wrong)
		}
	}
	for _, canary := range []float64{0.02, 0.05} {
		if c := Late(5, 0.01, canary, 0.05, Small.Late); c.Found < c.Runs || c.Mean > promisedLate*c.Limit+oneFigure*c.Error {
			t.Errorf("late %v: found %d of %d, ratio %.2f, expected at most %v and %.2f for chance", canary, c.Found, c.Runs, c.Ratio(), promisedLate, oneFigure*c.Error/c.Limit)
		}
	}
}

func TestSlowVersionsAreFoundNearTheLimit(t *testing.T) {
	for _, s := range latencyShapes {
		for k, w := range shares {
			c := DetectSlow(8+uint64(k), s, w, Small.Slow)
			t.Logf("%s, w %v: ratio %.2f", s.name, w, c.Ratio())
			if c.Found < c.Runs || c.Mean > promisedSlow*c.Limit+oneOfMany*c.Error {
				t.Errorf("%s, w %v: found %d of %d, ratio %.2f, expected at most %v and %.2f for chance", s.name, w, c.Found, c.Runs, c.Ratio(), promisedSlow, oneOfMany*c.Error/c.Limit)
			}
		}
	}
}

// The other rules do what is known of them.
func TestRulesOfOthers(t *testing.T) {
	found := func(c PeerCell, name string) int {
		for k, r := range rules {
			if r.name == name {
				return c.Found[k]
			}
		}
		t.Fatalf("no rule is named %q", name)
		return 0
	}
	null := Peers(1, truth{0.05, 0.05, 0.1}, Release, Small.Peers)
	if n := found(null, "Flagger, 1 failed check"); n < null.Runs {
		t.Errorf("a fixed threshold of 99 %% rolled back %d of %d good versions with 5 %% errors, want all", n, null.Runs)
	}
	bad := Peers(2, truth{0.001, 0.2, 0.1}, 600, Small.Peers)
	for _, r := range []string{"Flagger, 5 failed checks", "Kayenta", "repeated z-test", "mSPRT", "fixed sample", "Beta(1, 1) on the share of errors"} {
		if n := found(bad, r); n < bad.Runs-1 {
			t.Errorf("%s found 20 %% errors in %d of %d runs", r, n, bad.Runs)
		}
	}
	if n := found(bad, "Argo Rollouts"); n > 0 {
		t.Errorf("four measurements of five minutes each were made within ten minutes")
	}
}

// What is known in closed form: densities sum to 1, the interval of 0 of 20,
// and a Mann-Whitney test of samples apart.
func TestTools(t *testing.T) {
	for _, s := range append([]shape{{}}, latencyShapes...) {
		sum := 0.0
		for _, p := range s.density() {
			sum += p
		}
		if math.Abs(sum-1) > 1e-9 {
			t.Errorf("%s: the bins' chances sum to %v", s.name, sum)
		}
	}
	if _, high := exact(0, 20); math.Abs(high-(1-math.Pow(0.025, 1.0/20))) > 1e-9 {
		t.Errorf("0 of 20: upper end %v", high)
	}
	if !mannWhitneyHigh([]float64{3, 4, 5}, []float64{0, 1, 2}) || mannWhitneyHigh([]float64{0, 1, 2}, []float64{0, 1, 2}) {
		t.Error("three values that are all higher must be told from three that are the same")
	}
}

func TestPlotsAreWellFormed(t *testing.T) {
	s := Study{Size: Small}
	for i := range rates {
		for k := range shares {
			s.PeerNulls[i][k] = PeerCell{Cell: Cell{Runs: 1}, Found: make([]int, len(rules))}
			for j := range kinds {
				s.PeerCells[i][j][k] = PeerCell{Cell: Cell{Runs: 1, Limit: 1}, Found: make([]int, len(rules)), Mean: make([]float64, len(rules))}
			}
		}
	}
	for i := range latencyShapes {
		for k := range shares {
			s.Slow[i][k].Limit = 1
			s.SlowPeers[i][k] = SlowPeerCell{Cell: Cell{Runs: 1, Limit: 1}, Found: make([]int, len(slowRules)), Mean: make([]float64, len(slowRules))}
		}
	}
	plots := map[string]string{}
	for _, p := range Parts {
		maps.Copy(plots, p.plots(s))
	}
	for name, svg := range plots {
		for d := xml.NewDecoder(strings.NewReader(svg)); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Errorf("%s: %v", name, err)
				break
			}
		}
		if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
			t.Errorf("%s draws what is not a number", name)
		}
	}
}
