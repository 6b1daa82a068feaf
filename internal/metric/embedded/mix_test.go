package embedded_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric/embedded"
	"github.com/haldane-project/haldane/internal/release"
)

// mix is a world of prompts of three lengths, whose time to the first token grows
// with them. Which version gets which is the mix's, so that one of them may be
// luckier than chance would ever make it.
type mix struct {
	stable, canary [3]float64 // shares of the lengths
	slower         float64    // of the canary; 1: alike
	past           int        // answers of stable before the run
}

var (
	usual  = [3]float64{0.6, 0.3, 0.1}
	longer = [3]float64{0.35, 0.35, 0.3}
	short  = [3]float64{0.85, 0.13, 0.02}
)

// prompt draws a length in characters and the time to the first token.
func prompt(r *rand.Rand, shares [3]float64, slower float64) release.Answer {
	length, at := [3]int{100, 1000, 8000}, 0
	for u := r.Float64(); at < 2 && u >= shares[at]; at++ {
		u -= shares[at]
	}
	seconds := 0.03 * [3]float64{1, 2.5, 9}[at] * slower * math.Exp(0.2*r.NormFloat64())
	return release.Answer{InputCharacters: length[at], FirstToken: time.Duration(seconds * float64(time.Second))}
}

// judged is the verdict of a run on its time to the first token, and the requests
// that it took.
func (m mix) judged(t *testing.T, seed uint64, most int) (judge.MetricReport, int) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 6)) //nolint:gosec // nothing secret
	w := newModels(about("first", release.FactFirstToken))
	w.weight = release.Full / 2
	for range m.past {
		w.says(w.subject.Stable.ID, prompt(r, m.stable, 1))
	}
	w.subject.Started = time.Now().Add(time.Second)
	in := w.open(t, embedded.New(w.recorder, nil), nil)
	history, err := in.History(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	run, err := judge.New(judge.Policy{Alpha: 0.05, AlphaPromote: 0.05, Horizon: 1800, Looseness: []float64{1}, Metrics: []judge.Metric{
		{Name: "first", Kind: judge.Amount, Share: 1, Ratio: 1.1, Tolerate: 1.1, Quantile: 0.5, Limit: math.NaN()}}}, history)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	for n := 1; n <= most; n++ {
		if r.Float64() < 0.5 {
			w.says(w.subject.Canary.ID, prompt(r, m.canary, m.slower))
		} else {
			w.says(w.subject.Stable.ID, prompt(r, m.stable, 1))
		}
		if n%20 > 0 {
			continue
		}
		for _, s := range read(t, in).Samples {
			s.Batch.At = float64(n) / 20 // twenty requests a second
			if err := run.Update(0, s.Batch); err != nil {
				t.Fatal(err)
			}
		}
		if rep := run.Report(0); rep.Verdict == judge.Fail {
			return rep.Metrics[0], n
		}
	}
	return run.Report(0).Metrics[0], most
}

// A version that happens to get the long prompts, far beyond what chance would do,
// is no slower for it: of alike versions no more are failed than by alpha, and one
// that is slower is found in either mix. What is usual for each length does that:
// without a past to know it from, the same mix accuses the version.
func TestAMixOfPromptsDecidesNothing(t *testing.T) {
	const runs, most = 40, 600
	// At alpha = 5 % more than 7 of 40 have a chance below 1 in 1000.
	for name, c := range map[string]struct {
		mix
		least, most int // failed runs
	}{
		"alike, drawn by chance":            {mix{usual, usual, 1, 400}, 0, 7},
		"alike, the new one gets the long":  {mix{usual, longer, 1, 400}, 0, 7},
		"alike, the new one gets the short": {mix{usual, short, 1, 400}, 0, 7},
		"slower, drawn by chance":           {mix{usual, usual, 1.5, 400}, runs, runs},
		"slower, and it gets the short":     {mix{usual, short, 1.5, 400}, runs, runs},
		"alike, it gets the long, no past":  {mix{usual, longer, 1, 0}, runs / 2, runs},
	} {
		t.Run(name, func(t *testing.T) {
			failed, requests := 0, 0
			for seed := range uint64(runs) {
				if rep, n := c.judged(t, seed, most); rep.Verdict == judge.Fail {
					failed, requests = failed+1, requests+n
				}
			}
			t.Logf("%d of %d runs failed, after %d requests on average", failed, runs, requests/max(1, failed))
			if failed < c.least || failed > c.most {
				t.Errorf("%d of %d runs failed, expected %d to %d", failed, runs, c.least, c.most)
			}
		})
	}
}
