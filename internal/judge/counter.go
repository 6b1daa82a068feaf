package judge

import (
	"fmt"
	"math"
)

// Reading is what somebody else's counters said of one version at one moment.
// All of it is cumulative, except Value. A native histogram's buckets are given
// like a classic one's, by their upper bounds.
type Reading struct {
	At     float64   // seconds since the run began
	N, Bad float64   // counters of units and of bad ones
	Bounds []float64 // upper bounds of the histogram's buckets without +Inf, ascending
	Counts []float64 // values in each bucket (not summed up), len(Bounds)+1; empty: no histogram
	Value  float64   // gauge
}

// Meter turns cumulative readings of both versions into batches in counts mode.
// A batch ends where both versions have been read; its part of a version is the
// increase since its last part. A counter that falls was reset: its value is the
// increase since then, and what it counted between its last reading and the
// reset is lost for both counters alike. A reading that is not newer than the
// last one is late and not counted. The zero value is ready for use; it keeps
// no readings, so its state is small and can be stored.
type Meter struct {
	Kind   Kind     `json:"kind"`
	Canary MeterArm `json:"canary"`
	Stable MeterArm `json:"stable"`
	Ended  float64  `json:"ended"` // of the last batch
	Late   int64    `json:"late"`  // readings that came too late
	Resets int64    `json:"resets"`
}

// MeterArm is one version's part of a Meter.
type MeterArm struct {
	Known  bool      `json:"known"` // there is a last reading
	At     float64   `json:"at"`
	N      float64   `json:"n"`
	Bad    float64   `json:"bad"`
	Bounds []float64 `json:"bounds,omitempty"`
	Counts []float64 `json:"counts,omitempty"`
	// Open is what was seen since the last batch.
	Open  Side `json:"open"`
	Fresh bool `json:"fresh"` // read since the last batch
}

// Read takes a reading of the canary or of stable. When it completes a batch
// (both versions were read since the last one) the batch is returned and ready
// is true.
func (m *Meter) Read(canary bool, r Reading) (b Batch, ready bool, err error) {
	arm, who := &m.Stable, "stable"
	if canary {
		arm, who = &m.Canary, "canary"
	}
	if err := r.check(who); err != nil {
		return Batch{}, false, err
	}
	if arm.Known && r.At <= arm.At {
		m.Late++
		return Batch{}, false, nil
	}
	if arm.take(m.Kind, r) {
		m.Resets++
	}
	if !m.Canary.Fresh || !m.Stable.Fresh {
		return Batch{}, false, nil
	}
	b = Batch{At: max(m.Ended, m.Canary.At, m.Stable.At), Canary: m.Canary.Open, Stable: m.Stable.Open}
	m.Ended = b.At
	for _, a := range [2]*MeterArm{&m.Canary, &m.Stable} {
		a.Open, a.Fresh = Side{}, false
	}
	if m.Kind == Proportion { // the two counters of a version are not read in one instant
		b.Canary.Bad = min(b.Canary.Bad, b.Canary.N)
		b.Stable.Bad = min(b.Stable.Bad, b.Stable.N)
	}
	return b, true, nil
}

// check refuses what no counter can say.
func (r *Reading) check(who string) error {
	if math.IsNaN(r.At) || math.IsInf(r.At, 0) || r.At < 0 {
		return fmt.Errorf("judge: a reading of %s is from %v s, expected seconds since the run began", who, r.At)
	}
	bad := func(x float64) bool { return !(x >= 0) || x > float64(maxCount) }
	if bad(r.N) || bad(r.Bad) {
		return fmt.Errorf("judge: a reading of %s counts %v units and %v bad ones, expected 0 to %d", who, r.N, r.Bad, maxCount)
	}
	if len(r.Counts) > 0 && len(r.Counts) != len(r.Bounds)+1 {
		return fmt.Errorf("judge: a reading of %s has %d buckets for %d bounds, expected one more than bounds", who, len(r.Counts), len(r.Bounds))
	}
	for i, x := range r.Bounds {
		if math.IsNaN(x) || math.IsInf(x, 0) || i > 0 && x <= r.Bounds[i-1] {
			return fmt.Errorf("judge: a reading of %s has bound %v at %d, expected ascending numbers without +Inf", who, x, i)
		}
	}
	for i, x := range r.Counts {
		if bad(x) {
			return fmt.Errorf("judge: a reading of %s has %v values in bucket %d, expected 0 to %d", who, x, i, maxCount)
		}
	}
	return nil
}

// take adds the increase since the last reading to what is open and reports
// whether a reset was seen. The first reading is only where counting begins.
func (a *MeterArm) take(k Kind, r Reading) (reset bool) {
	if a.Known {
		sameBounds := equalFloats(a.Bounds, r.Bounds)
		reset = r.N < a.N || r.Bad < a.Bad || !sameBounds
		for i := range min(len(r.Counts), len(a.Counts)) {
			reset = reset || r.Counts[i] < a.Counts[i]
		}
		base := *a
		if reset {
			base = MeterArm{}
		}
		a.Open.N += whole(r.N - base.N)
		a.Open.Bad += whole(r.Bad - base.Bad)
		a.Open.Bins = addBuckets(k, a.Open.Bins, r, base.Counts)
		a.Fresh = true
	}
	if k == Gauge {
		a.Fresh = true
	}
	a.Open.Value = r.Value
	a.Known, a.At, a.N, a.Bad = true, r.At, r.N, r.Bad
	a.Bounds = append(a.Bounds[:0], r.Bounds...)
	a.Counts = append(a.Counts[:0], r.Counts...)
	return reset
}

// whole rounds an increase; counters of whole things grow by whole numbers.
func whole(x float64) int64 { return int64(math.Round(max(0, x))) }

// addBuckets adds the increase of every bucket at the bin of its bound (the
// last one at the last bin), keeping bins sorted.
func addBuckets(k Kind, bins []BinCount, r Reading, base []float64) []BinCount {
	for i, c := range r.Counts {
		before := 0.0
		if i < len(base) {
			before = base[i]
		}
		n := whole(c - before)
		if n == 0 {
			continue
		}
		bin := int32(scaleBins - 1)
		if i < len(r.Bounds) {
			bin = binUnder(k, r.Bounds[i])
		}
		at := 0
		for at < len(bins) && bins[at].Bin < bin {
			at++
		}
		if at < len(bins) && bins[at].Bin == bin {
			bins[at].Count += n
			continue
		}
		bins = append(bins, BinCount{})
		copy(bins[at+1:], bins[at:])
		bins[at] = BinCount{Bin: bin, Count: n}
	}
	return bins
}

func equalFloats(a, b []float64) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
