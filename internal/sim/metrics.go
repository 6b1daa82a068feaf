package sim

import (
	"math"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
)

// Metrics is the traffic that the world's versions get and what a judge would
// say of it. A version's fate is drawn once: after so many requests it is proven
// or refuted.
type Metrics struct {
	w           *World
	seen        map[release.VersionID]int64 // requests answered
	last        map[release.VersionID]time.Time
	fates       map[release.VersionID]fate
	rate        float64 // requests a second
	silentUntil time.Duration
	runs        map[string]base
	known       map[string]rollout.Evidence // the last that was read of a run
}

type fate struct {
	failAt, passAt int64 // requests of a run; 0: never
	pause          int64
}

// base is what had been seen when a run was first asked about.
type base struct{ canary, stable int64 }

func newMetrics(w *World) *Metrics {
	m := &Metrics{w: w, seen: map[release.VersionID]int64{}, last: map[release.VersionID]time.Time{},
		fates: map[release.VersionID]fate{}, runs: map[string]base{}, known: map[string]rollout.Evidence{}, rate: 50 * math.Pow(w.rng.Float64(), 4)}
	for _, v := range w.versions {
		f := fate{passAt: 1 + w.rng.Int64N(400)}
		if w.rng.IntN(3) == 0 {
			f.failAt = 1 + w.rng.Int64N(600)
		}
		if w.rng.IntN(8) == 0 {
			f.pause = 1 + w.rng.Int64N(300)
		}
		m.fates[v.ID] = f
	}
	return m
}

// step serves the requests of a time span by the splits in force.
func (m *Metrics) step(dt time.Duration) {
	if m.w.chance(m.w.Faults.Silence) {
		m.silentUntil = m.w.elapsed + m.w.span(0, 10*time.Minute)
	}
	for _, v := range m.w.versions {
		least, most := m.w.Router.Share(v.ID)
		share := float64(least+most) / 2 / float64(release.Full)
		for _, s := range m.w.Router.Splits() {
			if s.Mirror != nil && s.Mirror.Version == v.ID {
				share += float64(s.Mirror.Share) / float64(release.Full)
			}
			if len(s.Matched) > 0 && s.Matched[0].Version == v.ID {
				share += 0.1
			}
		}
		if n := int64(m.rate*dt.Seconds()*share + m.w.rng.Float64()*0.999); n > 0 && m.w.Fleet.Ready(v.ID) > 0 {
			m.seen[v.ID] += n
			m.last[v.ID] = m.w.Now()
		}
	}
}

// Silent reports whether the metrics can not be asked now.
func (m *Metrics) Silent() bool { return m.w.elapsed < m.silentUntil }

// Evidence is what a judge says of a run now.
func (m *Metrics) Evidence(r *rollout.Run) rollout.Evidence {
	if r == nil || r.From == nil || r.Phase.Ended() {
		return rollout.Evidence{}
	}
	if m.Silent() {
		e := m.known[r.ID]
		e.Missing = "the provider does not answer"
		return e
	}
	b, ok := m.runs[r.ID]
	if !ok {
		b = base{m.seen[r.To.ID], m.seen[r.From.ID]}
		m.runs[r.ID] = b
	}
	e := rollout.Evidence{Newest: m.last[r.To.ID], Report: m.report(r, b)}
	if e.Report.Canary == 0 {
		e.Newest, e.Missing = time.Time{}, "no request yet"
	}
	m.known[r.ID] = e
	return e
}

func (m *Metrics) report(r *rollout.Run, b base) judge.Report {
	n := m.seen[r.To.ID] - b.canary
	out := judge.Report{Verdict: judge.Inconclusive, Canary: n, Stable: m.seen[r.From.ID] - b.stable}
	switch f := m.fates[r.To.ID]; {
	case f.failAt > 0 && n >= f.failAt:
		out.Verdict = judge.Fail
	case n >= f.passAt:
		out.Verdict = judge.Pass
	case f.pause > 0 && n >= f.pause:
		out.Pause = "memory grows"
	}
	return out
}
