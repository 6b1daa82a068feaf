package reconcile

import (
	"bytes"
	"math"
	"testing"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
)

var recordedPolicy = judge.Policy{Alpha: 0.01, AlphaPromote: 0.05, Horizon: 1800, Looseness: []float64{1}, Metrics: []judge.Metric{
	{Name: "errors", Kind: judge.Proportion, Share: 0.5, Required: true, Ratio: 1.5, Limit: math.NaN()},
	{Name: "latency", Kind: judge.Latency, Share: 0.4, Ratio: 1.2, Quantile: 0.99, Limit: math.NaN()},
	{Name: "cpu", Kind: judge.Gauge, Share: 0.1, Ratio: 1.2, Limit: math.NaN()},
}}

// reading is what both versions did until a moment: every tenth canary
// request fails once it is bad.
func reading(at, share float64, bad bool) []metric.Sample {
	n := int64(100 * share)
	fails := int64(0)
	if bad {
		fails = n / 10
	}
	bins := func(n int64, shift int32) judge.Side {
		return judge.Side{Bins: []judge.BinCount{{Bin: 400 + shift, Count: n}, {Bin: 410, Count: n}}}
	}
	return []metric.Sample{
		{Metric: 0, Batch: judge.Batch{At: at, Share: share, Canary: judge.Side{N: n, Bad: fails}, Stable: judge.Side{N: 100 - n, Bad: 1}}},
		{Metric: 1, Batch: judge.Batch{At: at, Share: share, Canary: bins(n, int32(at)%7), Stable: bins(100-n, int32(at)%7)}},
		{Metric: 2, Batch: judge.Batch{At: at, Canary: judge.Side{Value: 1 + 0.01*math.Sin(at)}, Stable: judge.Side{Value: 1 + 0.01*math.Cos(at)}}},
	}
}

// play judges readings live, ten a second, and records them, saved once a second.
func play(t *testing.T, seconds int, badFrom float64) (live *judge.Run, lines []byte) {
	t.Helper()
	past := judge.History{Bins: []judge.BinCount{{Bin: 401, Count: 1000}}}
	for range 20 {
		past.Seconds = append(past.Seconds, []judge.BinCount{{Bin: 401, Count: 50}})
	}
	history := []judge.History{{N: 1000, Bad: 10}, past, {Values: []float64{1, 1.01, 0.99}}}
	live, err := judge.New(recordedPolicy, history)
	if err != nil {
		t.Fatal(err)
	}
	r := newRecord(recordedPolicy)
	r.begin(history)
	for i := range 10 * seconds {
		at, share := float64(i)/10, 0.1
		if at > 70 {
			share = 0.5
		}
		failed := live.Failed()
		samples := reading(at, share, at >= badFrom)
		for _, x := range samples {
			if err := live.Update(x.Metric, x.Batch); err != nil {
				t.Fatal(err)
			}
		}
		r.add(samples, live.Failed() != failed)
		if i%10 == 9 {
			b, err := r.lines()
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, b...)
			r.saved()
		}
	}
	return live, lines
}

func TestRecordReplaysToTheSame(t *testing.T) {
	for _, c := range []struct {
		name    string
		seconds int
		badFrom float64
		within  float64 // nats
	}{
		{"a good minute", 60, math.Inf(1), 1e-9},
		{"a bad minute", 60, 20, 1e-9},
		{"bad where batches are merged", 120, 80, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			live, lines := play(t, c.seconds, c.badFrom)
			again, err := judge.Replay(recordedPolicy, bytes.NewReader(lines), 0, nil)
			if err != nil {
				t.Fatal(err)
			}
			want, got := live.Report(0), again.Report
			if want.Verdict != got.Verdict || want.Canary != got.Canary || want.Stable != got.Stable || math.Abs(want.LogE-got.LogE) > c.within {
				t.Errorf("replayed %s %v after %d and %d requests, it was %s %v after %d and %d",
					got.Verdict, got.LogE, got.Canary, got.Stable, want.Verdict, want.LogE, want.Canary, want.Stable)
			}
			if (want.Verdict == judge.Fail) != (c.badFrom < 1e3) || len(want.Blame) != len(got.Blame) || len(want.Blame) > 0 && want.Blame[0] != got.Blame[0] {
				t.Errorf("%s blames %v, replayed %v", want.Verdict, want.Blame, got.Blame)
			}
		})
	}
}

func TestRecordMergesWhatIsLongAgo(t *testing.T) {
	_, lines := play(t, 120, math.Inf(1))
	perSecond := map[int]int{}
	err := judge.ReadEvidence(bytes.NewReader(lines), func(_ int, l judge.EvidenceLine) error {
		if l.Metric == "errors" {
			perSecond[int(l.T)]++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if perSecond[30] != 10 || perSecond[90] != 1 || perSecond[70] != 2 {
		t.Errorf("lines of seconds 30, 70 (the share changes) and 90: %d, %d, %d; want 10, 2, 1", perSecond[30], perSecond[70], perSecond[90])
	}
}

func TestRecordIsBoundedWhileNothingIsSaved(t *testing.T) {
	r := newRecord(recordedPolicy)
	for i := range 3 * mostBatches {
		r.add(reading(float64(i)/1e4, 0.1, false)[:2], false)
	}
	if n := len(r.batches); n > mostBatches+2 {
		t.Errorf("%d batches wait, want at most %d", n, mostBatches+2)
	}
}
