package judge

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// wander draws batches whose share goes up and down, over more shares than the
// ledger has rows, and is not known at times.
func wander(r *rand.Rand, i int) Batch {
	w := float64(1+r.IntN(12)) / 20
	if i%50 < 40 {
		w = []float64{0.05, 0.1, 0.5}[i/50%3]
	}
	n := binomial(r, 200, w)
	b := Batch{At: float64(i) / 7, Share: w}
	b.Canary, b.Stable = Side{N: n, Bad: binomial(r, n, 0.02)}, Side{N: 200 - n, Bad: binomial(r, 200-n, 0.02)}
	if i%17 == 0 {
		b.Share = 0
	}
	return b
}

// A run that is saved and continued at any moment reports what one does that
// never was, to the last bit, and neither depends on how often it was saved.
func TestAnyMomentContinuesBitForBit(t *testing.T) {
	p := byDefault()
	p.Looseness = []float64{1, 3}
	r := rand.New(rand.NewPCG(41, 1))
	a := newRun(t, p, []History{{N: 3000, Bad: 60}})
	b := newRun(t, p, []History{{N: 3000, Bad: 60}})
	for i := range 3000 {
		batch := wander(r, i)
		if a.Update(0, batch) != nil || b.Update(0, batch) != nil {
			t.Fatal("refused")
		}
		if i == 2000 && (!a.CountIntervals(0) || !b.CountIntervals(0)) {
			t.Fatal("the intervals do not count")
		}
		if r.IntN(5) > 0 {
			continue
		}
		state := b.Snapshot()
		var err error
		if b, err = Restore(p, state); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a.Snapshot(), state) || !bytes.Equal(b.Snapshot(), state) {
			t.Fatalf("batch %d: the states differ", i)
		}
		for l := range p.Looseness {
			if d := cmp.Diff(a.Report(l), b.Report(l)); d != "" {
				t.Fatalf("batch %d, looseness %d: %s", i, l, d)
			}
		}
	}
	if rows := len(testedOf(a.metrics[0]).ledger.rows); rows != ledgerRows {
		t.Errorf("%d shares have rows, want all %d in use", rows, ledgerRows)
	}
}

// What a proof earned by the counts of each share is the sum over its batches.
func TestProofsByLedgerAreTheSumOverBatches(t *testing.T) {
	p := byDefault()
	r := rand.New(rand.NewPCG(42, 1))
	run := newRun(t, p, nil)
	got := &testedOf(run.metrics[0]).proofs.each[0]
	var ratio, diff [7]float64
	for i := range 800 {
		b := wander(r, i)
		if i%50 >= 40 || b.Share == 0 {
			continue // such shares may have no row: single precision
		}
		if err := run.Update(0, b); err != nil {
			t.Fatal(err)
		}
		n := countsOf(&b)
		for k, alt := range got.ratio.alts {
			ratio[k] += eventFactor(alt, got.rho, n)
		}
		for k, f := range stakes {
			c, s, good := stakeFactors(f, got.delta, n.w)
			diff[k] += n.ec*c + n.es*s + (n.nc-n.ec+n.ns-n.es)*good
		}
	}
	kept := testedOf(run.metrics[0])
	kept.proofs.count(0, &kept.ledger)
	for k, x := range append(got.ratio.logE[:], got.diff.logE[:]...) {
		want := append(ratio[:4:4], diff[:]...)[k]
		if math.Abs(x-want) > 1e-9*max(1, math.Abs(want)) {
			t.Errorf("component %d earned %v, the batches' sum is %v", k, x, want)
		}
	}
}

// Single precision never makes evidence of nothing.
func TestRoundingGoesDown(t *testing.T) {
	r := rand.New(rand.NewPCG(43, 1))
	for range 1000 {
		x := math.Exp(20*r.Float64()-10) * (2*r.Float64() - 1)
		xs := []float64{x}
		roundDown(xs)
		if xs[0] > x || x-xs[0] > 1.2e-7*math.Abs(x) || float64(float32(xs[0])) != xs[0] {
			t.Fatalf("%v was rounded to %v", x, xs[0])
		}
	}
}

// What is kept in five bytes is the next lower number with 28 bits, and is read as
// it was written.
func TestShortNumbersGoDown(t *testing.T) {
	r := rand.New(rand.NewPCG(44, 1))
	xs, back := []float64{0, math.Inf(-1), -0.5}, []float64{0, 0, 0}
	for range 1000 {
		x := math.Exp(20*r.Float64()-10) * (2*r.Float64() - 1)
		short := shortDown(x)
		if short > x || x-short > 4e-9*math.Abs(x) || shortDown(short) != short {
			t.Fatalf("%v was rounded to %v", x, short)
		}
		xs, back = append(xs, short), append(back, 0)
	}
	d := &decoder{b: appendShorts(nil, xs)}
	if d.shorts(back); d.err != nil || len(d.b) > 0 || !slices.Equal(back, xs) {
		t.Errorf("%d bytes left, error %v: read as another number than was written", len(d.b), d.err)
	}
}

// A state that another version of the program saved is refused in one sentence.
func TestOldStateIsRefused(t *testing.T) {
	state := newRun(t, byDefault(), nil).Snapshot()
	state[0]--
	if _, err := Restore(byDefault(), state); err == nil || !strings.Contains(err.Error(), "the snapshot has version 6, expected 7") {
		t.Errorf("error %v", err)
	}
}
