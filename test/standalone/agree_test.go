package standalone

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/haldane-project/haldane/internal/judge"
)

// fault is a world: what stable and the canary do, and what the run is judged by.
type fault struct {
	name           string
	stable, canary map[string]string
	metric         string
	kind           judge.Kind
	runs           [2]int // real ones, without and with HALDANE_LONG; 0: none
	bad            [2]float64
	slower         float64
}

// faultyShare is the canary's share of the traffic and faultyRate the requests a
// second.
const (
	faultyShare = 0.1
	faultyRate  = 500
	simulated   = 4000
)

var faults = []fault{
	{
		name: "errors 1% to 5%", metric: "errors", kind: judge.Proportion, runs: [2]int{3, 30}, bad: [2]float64{0.01, 0.05},
		stable: map[string]string{"ERRORS": "0.01"}, canary: map[string]string{"ERRORS": "0.05"},
	},
	{
		name: "errors 1% to 20%", metric: "errors", kind: judge.Proportion, runs: [2]int{4, 60}, bad: [2]float64{0.01, 0.2},
		stable: map[string]string{"ERRORS": "0.01"}, canary: map[string]string{"ERRORS": "0.2"},
	},
	{
		// Only with the full counts: it takes minutes on a machine that stalls. Answers
		// are so slow that its stalls hide little of what they take longer.
		name: "latency +50%", metric: "latency", kind: judge.Latency, runs: [2]int{0, 24}, slower: 1.5,
		stable: map[string]string{"LATENCY_MS": "200", "LATENCY_SPREAD": "0.5"}, canary: map[string]string{"LATENCY_MS": "300", "LATENCY_SPREAD": "0.5"},
	},
}

func (f *fault) plan() string {
	return fmt.Sprintf(`
  strategy:
    canary: {steps: [{weight: 10, minRequests: 1000000}]}
  analysis: {metrics: [{name: %s, kind: %s}]}
`, f.metric, f.metric)
}

// sample is the canary requests until rollbacks.
type sample []float64

func (s sample) mean() float64 {
	sum := 0.0
	for _, x := range s {
		sum += x
	}
	return sum / float64(len(s))
}

// variance is that of one value.
func (s sample) variance() float64 {
	sum, mean := 0.0, s.mean()
	for _, x := range s {
		sum += (x - mean) * (x - mean)
	}
	return sum / max(1, float64(len(s)-1))
}

// rank is the mean share of the other's values that lie below one of these.
func (s sample) rank(other sample) float64 {
	sum := 0.0
	for _, x := range s {
		for _, y := range other {
			if y < x {
				sum++
			} else if y == x {
				sum += 0.5
			}
		}
	}
	return sum / float64(len(s)*len(other))
}

// surely is the normal quantile beyond which no accident lies.
const surely = 3.3

// TestRealRollbacksTakeWhatSimulatedOnesTake: real processes with planted, seeded
// faults behind the real proxy at 500 requests a second. The canary requests that
// a rollback takes agree with those of the same judge on simulated evidence of the
// same world: the means within 3.3 standard errors of their difference (the real
// one's from the simulated runs' variance where that is larger, since a handful of
// runs tells little of it), and the mean rank of the real ones among the simulated
// ones within 3.3 standard errors of a half. Of a real one it is known that it took
// more than the judge had before the batch that decided and at most what it had
// with it: neither may be too many, or too few, and on a machine that looks as
// soon as a request has failed the two are one.
func TestRealRollbacksTakeWhatSimulatedOnesTake(t *testing.T) {
	for _, f := range faults {
		runs := long(f.runs[0], f.runs[1])
		if runs == 0 {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			if f.kind != judge.Latency { // one may disturb the other's times, and not which requests fail
				t.Parallel()
			}
			w := &world{fault: f, r: rand.New(rand.NewPCG(91, 1))}
			least, real := w.real(t, runs)
			sim := w.simulate(t)
			spread, n := max(real.variance(), sim.variance()), float64(len(real))
			tolerance := surely * math.Sqrt(spread/n+sim.variance()/float64(len(sim)))
			low, rank, off := least.rank(sim), real.rank(sim), surely*math.Sqrt(1/(12*n))
			t.Logf("| %s | %d | %.1f to %.1f ± %.1f | %.1f ± %.1f | %+.1f to %+.1f (%.1f) | %.2f to %.2f (%.2f to %.2f) |", f.name, len(real),
				least.mean(), real.mean(), math.Sqrt(spread/n), sim.mean(), math.Sqrt(sim.variance()/float64(len(sim))),
				least.mean()-sim.mean(), real.mean()-sim.mean(), tolerance, low, rank, 0.5-off, 0.5+off)
			if least.mean()-sim.mean() > tolerance || sim.mean()-real.mean() > tolerance {
				t.Errorf("real rollbacks took %.1f to %.1f canary requests and simulated ones %.1f, want them within %.1f", least.mean(), real.mean(), sim.mean(), tolerance)
			}
			if low-0.5 > off || 0.5-rank > off {
				t.Errorf("real rollbacks have the mean rank %.2f to %.2f among simulated ones, want 0.5 within %.2f", low, rank, off)
			}
		})
	}
}

// world is a fault with what the real runs showed of it.
type world struct {
	fault
	r         *rand.Rand
	policy    judge.Policy
	histories []judge.History // of the real runs
	seconds   []second        // of the real stable: a machine that stalls delays all of a second
	planted   []float64       // by bin of stable's values, what of them the fault plants
}

// second is what stable did in one: the bin of each of its answers.
type second []int32

// real makes runs of the same fault and takes from the evidence of each how
// many canary requests it took, at least and at most.
func (w *world) real(t *testing.T, runs int) (least, most sample) {
	d := start(t)
	d.replicas, d.patience = 1, 3*patience // one process, so that the seed says which of its requests fail
	w.stable["SEED"] = "1"
	d.apply(version{name: "v1", env: w.stable}, w.plan())
	d.serves("v1")
	users := d.load(faultyRate, nil)
	defer users.stop()
	w.policy = d.policy(w.plan())
	for i := range runs {
		next := version{name: fmt.Sprintf("v%d", i+2), env: map[string]string{"SEED": fmt.Sprint(i + 2)}}
		for k, v := range w.canary {
			next.env[k] = v
		}
		d.apply(next, w.plan())
		rel := d.ends(next.name, "RolledBack")
		t.Logf("%s: %s", next.name, rel.Status.Message) // a machine that starves the canary ends a run too
		lines := d.evidence(rel.Status.Run.Name)
		n := d.needed(w.policy, lines)
		t.Logf("%s: %d to %d canary requests, %.2f s", next.name, n.least, n.most, n.at)
		least, most = append(least, float64(n.least)), append(most, float64(n.most))
		w.keep(t, lines)
	}
	return least, most
}

// keep takes from the evidence what stable did before the run, and its seconds.
func (w *world) keep(t *testing.T, lines []byte) {
	m, h, during := w.policy.Metrics[0], judge.History{}, map[int][]judge.BinCount{}
	err := judge.ReadEvidence(bytes.NewReader(lines), func(_ int, l judge.EvidenceLine) error {
		if l.Metric != m.Name {
			return nil
		}
		before := l.T < 0
		at := int(l.T)
		l.T = max(0, l.T)
		b, err := l.Batch(m)
		if !l.History {
			during[at] = append(during[at], b.Stable.Bins...)
			return err
		}
		h.N, h.Bad = h.N+b.Stable.N, h.Bad+b.Stable.Bad
		h.Bins = append(h.Bins, b.Stable.Bins...)
		if before {
			h.Seconds = append(h.Seconds, b.Stable.Bins)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	w.histories = append(w.histories, h)
	for _, bins := range during {
		w.keepSecond(bins)
	}
	for _, bins := range h.Seconds {
		w.keepSecond(bins)
	}
}

func (w *world) keepSecond(bins []judge.BinCount) {
	var s second
	for _, b := range bins {
		for range b.Count {
			s = append(s, b.Bin)
		}
	}
	if len(s) > 0 {
		w.seconds = append(w.seconds, s)
	}
}

// simulate judges simulated evidence of the same world: each request is sent to
// the canary with its share, batches end each tenth of a second or when a
// request of the canary has failed, as the daemon's do.
func (w *world) simulate(t *testing.T) (out sample) {
	runs := simulated
	if w.kind == judge.Latency {
		runs /= 4
		w.plant(t)
	}
	for i := range runs {
		histories := make([]judge.History, len(w.policy.Metrics)) // of the division nothing is known before
		histories[0] = w.history(w.histories[i%len(w.histories)])
		run, err := judge.New(w.policy, histories)
		if err != nil {
			t.Fatal(err)
		}
		canary, now := 0.0, second(nil)
		for at := 0.0; !run.Failed() && at < 600; {
			b := judge.Batch{Share: faultyShare}
			for range faultyRate / 10 {
				if before := math.Floor(at); at == 0 || math.Floor(at+1.0/faultyRate) != before {
					now = w.second()
				}
				at += 1.0 / faultyRate
				if w.request(&b, &now) {
					break
				}
			}
			b.At = at
			b.Canary.Bins, b.Stable.Bins = sorted(b.Canary.Bins), sorted(b.Stable.Bins)
			canary += float64(b.Canary.N)
			if err := run.Update(0, b); err != nil {
				t.Fatal(err)
			}
		}
		out = append(out, canary)
	}
	return out
}

// second draws one of the real ones, in any order.
func (w *world) second() second {
	if len(w.seconds) == 0 {
		return nil
	}
	s := slices.Clone(w.seconds[w.r.IntN(len(w.seconds))])
	w.r.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
	return s
}

// request draws one request and reports whether it failed on the canary.
func (w *world) request(b *judge.Batch, now *second) bool {
	side, s := 0, &b.Stable
	if w.r.Float64() < faultyShare {
		side, s = 1, &b.Canary
	}
	s.N++
	if w.kind == judge.Latency {
		s.Bins = append(s.Bins, judge.BinCount{Bin: w.latency(side, now), Count: 1})
		return false
	}
	if w.r.Float64() < w.bad[side] {
		s.Bad++
		return side == 1
	}
	return false
}

// plant takes the log-normal latency that stable's processes sleep for out of what
// was measured, quantile by quantile: the rest is what the machine adds.
func (w *world) plant(t *testing.T) {
	var median, spread float64
	if _, err := fmt.Sscan(w.stable["LATENCY_MS"]+" "+w.stable["LATENCY_SPREAD"], &median, &spread); err != nil {
		t.Fatal(err)
	}
	var counts [2048]float64
	all := 0.0
	for _, s := range w.seconds {
		for _, bin := range s {
			counts[bin]++
		}
		all += float64(len(s))
	}
	w.planted = make([]float64, len(counts))
	below := 0.0
	for bin, n := range counts {
		share := (below + n/2) / all
		below += n
		slept := median / 1000 * math.Exp(spread*math.Sqrt2*math.Erfinv(2*share-1))
		w.planted[bin] = min(slept, judge.BinValue(judge.Latency, int32(bin)))
	}
}

// latency takes the next of a second of the real stable's, and makes what is planted
// of it longer for the canary: what a busy machine adds is the same for both. Each is
// taken once: seconds of values that are drawn again and again differ more than
// independent ones do, which the judge takes for clumps.
func (w *world) latency(side int, now *second) int32 {
	if len(*now) == 0 {
		*now = w.second()
	}
	bin := (*now)[0]
	*now = (*now)[1:]
	if side == 0 {
		return bin
	}
	within := math.Exp((w.r.Float64() - 0.5) * math.Log(1.02)) // a bin is 2 % wide
	return judge.BinOf(judge.Latency, (judge.BinValue(judge.Latency, bin)+(w.slower-1)*w.planted[bin])*within)
}

// history is as long as a real run's, and drawn anew where it can be.
func (w *world) history(h judge.History) judge.History {
	if w.kind == judge.Latency {
		h.Bins = sorted(h.Bins)
		return h
	}
	out := judge.History{N: h.N}
	for range h.N {
		if w.r.Float64() < w.bad[0] {
			out.Bad++
		}
	}
	return out
}

// sorted sorts bins and makes one of those that are the same.
func sorted(bins []judge.BinCount) []judge.BinCount {
	var counts [2048]int64
	for _, b := range bins {
		counts[b.Bin] += b.Count
	}
	var out []judge.BinCount
	for bin, n := range counts {
		if n > 0 {
			out = append(out, judge.BinCount{Bin: int32(bin), Count: n})
		}
	}
	return out
}
