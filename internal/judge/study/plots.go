package study

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/haldane-project/haldane/internal/judge"
)

// plotErrors draws what was measured with rates of errors.
func (s Study) plotErrors() map[string]string {
	return map[string]string{"detection.svg": s.plotDetection(), "false-rollbacks.svg": s.plotNulls()}
}

// plotDetection is the cell w 5 %, stable 1 %.
func (s Study) plotDetection() string {
	const rate, share = 1, 1
	x := axis{label: "error rate of the canary (stable: 1 %, w 5 %)", lo: -0.2, hi: 4.2, names: []string{"1.5 %", "2 %", "5 %", "20 %", "100 %"}}
	y := axis{label: "canary requests until the rollback", lo: 1, hi: 1e5, log: true, ticks: []float64{1, 10, 100, 1e3, 1e4, 1e5}, format: "%.0f"}
	ours, limit := series{name: "this judge", lined: true}, series{name: "limit of every test", lined: true, dashed: true}
	for j := range kinds {
		c := s.Cells[rate][j][share]
		ours.points = append(ours.points, point{x: float64(j), y: c.Mean})
		limit.points = append(limit.points, point{x: float64(j), y: c.Limit})
	}
	all := []series{ours}
	for k, r := range rules {
		line := series{name: r.name, lined: true}
		if null := s.PeerNulls[rate][share]; float64(null.Found[k]) > bearable*float64(null.Runs) {
			continue // it also rolls back good versions
		}
		for j := range kinds {
			c := s.PeerCells[rate][j][share]
			line.points = append(line.points, point{x: float64(j), y: c.Mean[k], open: c.Found[k] < c.Runs})
		}
		all = append(all, line)
	}
	return chart("How many users meet a bad version", x, y, append(all, limit))
}

// plotNulls is the worst cell of each rule.
func (s Study) plotNulls() string {
	worst := func(name string, parts []Null) bar {
		b := bar{name: name}
		for _, n := range parts {
			b.value = max(b.value, 100*n.Part())
		}
		b.label = fmt.Sprintf("%.3g %%", b.value)
		return b
	}
	rows := []bar{worst("this judge (all situations)", s.Nulls)}
	for k, r := range rules {
		var parts []Null
		for i := range rates {
			for _, c := range s.PeerNulls[i] {
				parts = append(parts, Null{Runs: c.Runs, Alarms: c.Found[k]})
			}
		}
		rows = append(rows, worst(r.name, parts))
	}
	x := axis{label: "good versions rolled back in half an hour, worst cell (dashed: promised, 1 %)", lo: 0.05, hi: 100, log: true, ticks: []float64{0.1, 1, 10, 100}, format: "%g %%"}
	return bars("False rollbacks", x, 100*alpha, rows)
}

// plotLatency is w 5 %.
func (s Study) plotLatency() string {
	const share = 1
	x := axis{label: "what the canary does (w 5 %); rings: some or all runs found nothing in half an hour", lo: -0.4, hi: 3.4, names: []string{"+10 %", "+50 %", "2 % × 5", "0.5 % hang"}}
	y := axis{label: "canary requests to the rollback, times the limit", lo: 1, hi: 1e4, log: true, ticks: []float64{1, 2.5, 10, 100, 1e3, 1e4}, format: "%g"}
	ours := series{name: "this judge"}
	for i := range latencyShapes {
		ours.points = append(ours.points, point{x: float64(i), y: s.Slow[i][share].Ratio()})
	}
	all := []series{ours}
	for k, r := range slowRules {
		line := series{name: r.name}
		for i := range latencyShapes {
			c := s.SlowPeers[i][share]
			line.points = append(line.points, point{x: float64(i) + 0.08*float64(k+1), y: c.Mean[k] / c.Limit, open: c.Found[k] < c.Runs})
		}
		all = append(all, line)
	}
	return chart("Requests to a finding of slower versions", x, y, all)
}

// plotEvidence follows four releases with errors of 1 % on stable and w 5 %.
func plotEvidence() string {
	x := axis{label: "seconds since the release began (stable 1 %, w 5 %, 1,000 requests/s)", lo: 0, hi: 240, ticks: []float64{0, 60, 120, 180, 240}, format: "%.0f"}
	y := axis{label: "evidence against the canary, 1 :", lo: 0.01, hi: 1000, log: true, ticks: []float64{0.01, 0.1, 1, 10, 100, 1000}, format: "%g"}
	const onset = 120
	all := []series{
		follow("good version", 1, truth{0.01, 0.01, 0.05}, onset),
		follow("twice the errors", 2, truth{0.01, 0.02, 0.05}, 0),
		follow("five times", 3, truth{0.01, 0.05, 0.05}, 0),
		follow("five times from 120 s on", 4, truth{0.01, 0.05, 0.05}, onset),
	}
	bar := series{name: "rollback at 1 : 100", lined: true, dashed: true, points: []point{{x: 0, y: 1 / alpha}, {x: x.hi, y: 1 / alpha}}}
	return chart("How the evidence grows: one release each", x, y, append(all, bar))
}

// follow plays one release whose canary is good until the onset, with a point
// each half second until the rollback.
func follow(name string, seed uint64, t truth, onset float64) series {
	const step, end = 0.5, 240
	r := rand.New(rand.NewPCG(1234, seed))
	run, err := judge.New(policy(), errorHistory(r, t.stable))
	must(err)
	out := series{name: name, lined: true, points: []point{{x: 0, y: 1}}}
	for at := 0.0; at < end && !run.Failed(); at += step {
		now := t
		if at < onset {
			now.canary = t.stable
		}
		stream(r, now, run, at, step, canaryBad, func(float64) bool { return run.Failed() })
		out.points = append(out.points, point{x: at + step, y: min(1000, math.Exp(run.LogE()))})
	}
	return out
}
