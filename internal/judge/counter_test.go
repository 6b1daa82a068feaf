package judge

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// step is a reading and the batch that it completes, if any.
type meterStep struct {
	canary bool
	r      Reading
	want   *Batch
}

func TestMeterTurnsCountersIntoBatches(t *testing.T) {
	bounds := []float64{0.1, 1}
	for _, c := range []struct {
		name   string
		kind   Kind
		steps  []meterStep
		late   int64
		resets int64
	}{
		{
			name: "increases of both versions", kind: Proportion,
			steps: []meterStep{
				{true, Reading{At: 1, N: 100, Bad: 7}, nil},
				{false, Reading{At: 1, N: 5000, Bad: 50}, nil},
				{true, Reading{At: 16, N: 130, Bad: 8}, nil},
				{false, Reading{At: 16.2, N: 5300, Bad: 53}, &Batch{At: 16.2, Canary: Side{N: 30, Bad: 1}, Stable: Side{N: 300, Bad: 3}}},
			},
		},
		{
			name: "a gap of one version waits for it", kind: Proportion,
			steps: []meterStep{
				{true, Reading{At: 0}, nil}, {false, Reading{At: 0}, nil},
				{false, Reading{At: 15, N: 10}, nil}, {false, Reading{At: 30, N: 25}, nil},
				{true, Reading{At: 31, N: 3, Bad: 1}, &Batch{At: 31, Canary: Side{N: 3, Bad: 1}, Stable: Side{N: 25}}},
			},
		},
		{
			name: "a reset counts from zero", kind: Proportion, resets: 1,
			steps: []meterStep{
				{true, Reading{At: 0, N: 1000, Bad: 10}, nil}, {false, Reading{At: 0}, nil},
				{true, Reading{At: 15, N: 40, Bad: 4}, nil},
				{false, Reading{At: 15, N: 9}, &Batch{At: 15, Canary: Side{N: 40, Bad: 4}, Stable: Side{N: 9}}},
			},
		},
		{
			name: "a late reading is not counted", kind: Proportion, late: 1,
			steps: []meterStep{
				{true, Reading{At: 0}, nil}, {false, Reading{At: 0}, nil},
				{true, Reading{At: 30, N: 20}, nil}, {true, Reading{At: 15, N: 10}, nil},
				{false, Reading{At: 30, N: 9}, &Batch{At: 30, Canary: Side{N: 20}, Stable: Side{N: 9}}},
			},
		},
		{
			name: "histograms by bucket", kind: Latency,
			steps: []meterStep{
				{true, Reading{Bounds: bounds, Counts: []float64{1, 1, 0}}, nil},
				{false, Reading{Bounds: bounds, Counts: []float64{5, 5, 5}}, nil},
				{true, Reading{At: 1, Bounds: bounds, Counts: []float64{3, 1, 2}}, nil},
				{false, Reading{At: 1, Bounds: bounds, Counts: []float64{5, 9, 5}}, &Batch{
					At:     1,
					Canary: Side{Bins: []BinCount{{binUnder(Latency, 0.1), 2}, {scaleBins - 1, 2}}},
					Stable: Side{Bins: []BinCount{{binUnder(Latency, 1), 4}}},
				}},
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := Meter{Kind: c.kind}
			for i, s := range c.steps {
				// What is stored between readings must be all there is.
				stored, err := json.Marshal(m)
				if err != nil {
					t.Fatal(err)
				}
				m = Meter{}
				if err := json.Unmarshal(stored, &m); err != nil {
					t.Fatal(err)
				}
				b, ready, err := m.Read(s.canary, s.r)
				if err != nil {
					t.Fatal(err)
				}
				if ready != (s.want != nil) {
					t.Fatalf("step %d: ready is %v", i, ready)
				}
				if ready {
					if d := cmp.Diff(*s.want, b); d != "" {
						t.Errorf("step %d: %s", i, d)
					}
				}
			}
			if m.Late != c.late || m.Resets != c.resets {
				t.Errorf("%d late and %d resets, want %d and %d", m.Late, m.Resets, c.late, c.resets)
			}
		})
	}
}

func FuzzMeter(f *testing.F) {
	f.Add(1.0, 10.0, 1.0, 0.1, 1.0, 5.0, 2.0, 5.0, 0.0)
	f.Fuzz(func(t *testing.T, at, n, bad, bound, c0, c1, n2, at2, bad2 float64) {
		m := Meter{Kind: Latency}
		p := Policy{Alpha: 0.01, AlphaPromote: 0.05, Horizon: 1800, Metrics: []Metric{{Name: "x", Kind: Latency, Watch: true, Limit: nan()}}}
		run := newRun(t, p, nil)
		for _, canary := range []bool{true, false, true, false} {
			for _, r := range []Reading{
				{At: at, N: n, Bad: bad, Bounds: []float64{bound}, Counts: []float64{c0, c1}},
				{At: at2, N: n2, Bad: bad2, Bounds: []float64{bound}, Counts: []float64{c1, c0}},
			} {
				b, ready, err := m.Read(canary, r)
				if err != nil || !ready {
					continue
				}
				if err := run.Update(0, b); err != nil {
					t.Fatalf("a batch made of accepted readings was refused: %v", err)
				}
			}
		}
	})
}
