package study

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/haldane-project/haldane/internal/judge"
)

// Cell is one row of the study of error rates.
type Cell struct {
	Stable, Canary, Share float64
	Runs, Found           int
	Mean, Error           float64 // canary requests to the finding, and its standard error
	Limit                 float64 // canary requests that no test can beat
}

func newCell(t truth, runs int) Cell {
	limit := judge.LimitOf(t.stable, t.canary, t.share, alpha).Canary
	return Cell{Stable: t.stable, Canary: t.canary, Share: t.share, Runs: runs, Limit: limit}
}

// Ratio is the mean over the limit.
func (c Cell) Ratio() float64 { return c.Mean / c.Limit }

// Every single request is looked at within near nats of the bar, and until the
// canary has answered early requests: before it did, a row of stable's good
// ones alone speaks for an outage of the canary.
const (
	near  = 3
	early = 10
)

// after says what a simulated release is looked at after, far from the bar: bad
// outcomes of the canary, or of both, which is where proofs move.
type after bool

const (
	canaryBad after = false
	anyBad    after = true
)

// stream plays requests in routing mode and looks after every such outcome, at
// the end of every second and, where it matters, after every request. Bad
// outcomes of the canary that can not bring the evidence near the bar, since each
// multiplies it by 1/share at most, are judged at once. It ends when look returns
// true, and returns the canary's requests until then.
func stream(r *rand.Rand, t truth, run *judge.Run, from, seconds float64, every after, look func(canary float64) bool) (canary float64) {
	bar := math.Log(1/run.Policy().Alpha) - near
	for requests, all := 0.0, math.Floor(seconds*PerSecond); requests < all; {
		second := (math.Floor(requests/PerSecond) + 1) * PerSecond
		single := canary < early || run.LogE() > bar
		errors := 1.0
		if !single && every == canaryBad {
			errors = max(1, math.Floor((bar-run.LogE())/-math.Log(t.share)))
		}
		b, bad, n := t.until(r, min(all, second)-requests, errors, single || every == anyBad)
		requests += n
		b.At, b.Share = from+(requests-0.5)/PerSecond, t.share // a second ends behind its last request
		if single {
			canary += oneByOne(r, run, b)
			b.Canary.N, b.Stable.N = 0, 0
		} else {
			canary += float64(b.Canary.N)
		}
		if !run.Failed() {
			canary += float64(bad.Canary.N)
			b.Canary.N, b.Canary.Bad = b.Canary.N+bad.Canary.N, b.Canary.Bad+bad.Canary.Bad
			b.Stable.N, b.Stable.Bad = b.Stable.N+bad.Stable.N, b.Stable.Bad+bad.Stable.Bad
		}
		must(run.Update(0, b))
		if look(canary) {
			return canary
		}
	}
	return canary
}

// until draws at most so many requests: those before the last of so many bad ones
// (of the canary, or one of any version), that one, and how many they are.
func (t truth) until(r *rand.Rand, most, errors float64, anyone bool) (before, bad judge.Batch, n float64) {
	w, ofCanary := t.share, 1.0
	chance := w * t.canary
	if m := chance + (1-w)*t.stable; anyone && m > 0 {
		chance, ofCanary = m, chance/m
	}
	for found := 0.0; n < most && found < errors; {
		gap := geometric(r, chance)
		if n+gap >= most {
			n = most
			break
		}
		n += gap + 1
		if found++; found == errors {
			bad = t.one(r, ofCanary)
			n--
			break
		}
		before.Canary.Bad++
	}
	rest := 0.0
	if !anyone {
		rest = binomial(r, n-float64(before.Canary.Bad), (1-w)*t.stable/(1-chance))
	}
	good := w * (1 - t.canary) / (w*(1-t.canary) + (1-w)*(1-t.stable))
	ok := binomial(r, n-float64(before.Canary.Bad)-rest, good)
	before.Canary.N = int64(ok) + before.Canary.Bad
	before.Stable = judge.Side{N: int64(n) - before.Canary.N, Bad: int64(rest)}
	return before, bad, n + float64(bad.Canary.N+bad.Stable.N)
}

// one is a bad request, the canary's with this chance.
func (t truth) one(r *rand.Rand, ofCanary float64) (b judge.Batch) {
	who := &b.Stable
	if r.Float64() < ofCanary {
		who = &b.Canary
	}
	who.N, who.Bad = 1, 1
	return b
}

// oneByOne plays a batch of good outcomes so that the judge looks wherever its
// evidence may be highest, before each good outcome of the canary; it returns
// those that came until the run failed.
func oneByOne(r *rand.Rand, run *judge.Run, b judge.Batch) (canary float64) {
	ok, left, row := b.Canary.N, b.Canary.N+b.Stable.N, int64(0)
	one := judge.Batch{At: b.At, Share: b.Share}
	for ; left > 0 && !run.Failed(); left-- {
		if r.Float64()*float64(left) >= float64(ok) {
			row++
			continue
		}
		one.Canary.N, one.Stable.N = 0, row
		must(run.Update(0, one))
		if run.Failed() {
			break
		}
		one.Canary.N, one.Stable.N = 1, 0
		must(run.Update(0, one))
		ok, row, canary = ok-1, 0, canary+1
	}
	one.Canary.N, one.Stable.N = 0, row
	must(run.Update(0, one))
	return canary
}

func must(err error) {
	if err != nil {
		panic("study: " + err.Error())
	}
}

// Detect measures the canary requests until a regression is found.
func Detect(seed uint64, stable, canary, share float64, runs int) Cell {
	c := newCell(truth{stable, canary, share}, runs)
	took, found := make([]float64, runs), make([]bool, runs)
	longest := 20*c.Limit/share/PerSecond + 60
	eachRun(seed, runs, func(i int, r *rand.Rand) {
		run, err := judge.New(policy(), errorHistory(r, stable))
		must(err)
		took[i] = stream(r, truth{stable, canary, share}, run, 0, longest, canaryBad, func(float64) bool {
			found[i] = run.Failed()
			return found[i]
		})
	})
	for _, f := range found {
		if f {
			c.Found++
		}
	}
	c.Mean, c.Error = meanOf(took)
	return c
}

func meanOf(xs []float64) (mean, err float64) {
	for _, x := range xs {
		mean += x / float64(len(xs))
	}
	for _, x := range xs {
		err += (x - mean) * (x - mean)
	}
	return mean, math.Sqrt(err) / float64(len(xs))
}

// Null is a row of false rollbacks.
type Null struct {
	What         string
	Runs, Alarms int
}

// Part is the share of runs with a false rollback.
func (n Null) Part() float64 { return float64(n.Alarms) / float64(n.Runs) }

// nullOf counts the runs for which play reports a false rollback.
func nullOf(what string, seed uint64, runs int, play func(r *rand.Rand) bool) Null {
	alarm := make([]bool, runs)
	eachRun(seed, runs, func(i int, r *rand.Rand) { alarm[i] = play(r) })
	return Null{What: what, Runs: runs, Alarms: count(alarm)}
}

// NullRuns counts false rollbacks of a good version over a release of half an
// hour.
func NullRuns(seed uint64, rate, share float64, runs int) Null {
	what := fmt.Sprintf("both %s errors, w %s", percent(rate), percent(share))
	return nullOf(what, seed, runs, func(r *rand.Rand) bool {
		run, err := judge.New(policy(), errorHistory(r, rate))
		must(err)
		stream(r, truth{rate, rate, share}, run, 0, Release, canaryBad, func(float64) bool { return run.Failed() })
		return run.Failed()
	})
}

func count(xs []bool) (n int) {
	for _, x := range xs {
		if x {
			n++
		}
	}
	return n
}
