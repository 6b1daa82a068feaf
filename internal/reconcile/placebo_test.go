package reconcile_test

import (
	"strings"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/rollout"
)

// compare brings evidence in which nothing is worse, beside a placebo.
func (h *house) compare(placeboN, placeboBad, restN, restBad int64) {
	h.set(func() {
		at := float64(h.total + 1)
		h.beside.Placebo = []metric.Sample{{Batch: judge.Batch{At: at, Share: 0.1,
			Canary: judge.Side{N: placeboN, Bad: placeboBad}, Stable: judge.Side{N: restN, Bad: restBad}}}}
	})
	h.see(1000, 5, 100, 0)
}

func (h *house) event(reason string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		if e.Reason == reason {
			return e.Message
		}
	}
	return ""
}

// long is a house in whose step nothing but evidence moves.
func long(t *testing.T) *house {
	s := step(1000)
	s.Hold = time.Hour
	return serving(t, s)
}

func TestPlaceboIsShownAndOutlivesARestart(t *testing.T) {
	in(t, func(t *testing.T) {
		h := long(t)
		for range 3 {
			h.compare(90, 0, 910, 5)
			pass(2 * time.Second)
		}
		h.stop()
		h.start()
		defer h.stop()
		h.compare(90, 0, 910, 5)
		pass(2 * time.Second)
		p := h.saved().Look.Report.Placebo
		if p == nil || p.Canary != 360 || p.Stable != 3640 || p.Alarm || !strings.Contains(p.Finding, "360 of its 4 000 requests") {
			t.Errorf("the placebo is shown as %+v, want the 4 000 requests of both lives and no alarm", p)
		}
		if got := h.event("PlaceboAlarm") + h.event("BurstsFound"); got != "" {
			t.Errorf("told %q", got)
		}
	})
}

// Requests of stable that fail together switch the judge to intervals, which
// survive a restart and are exported.
func TestBurstsSwitchToIntervals(t *testing.T) {
	in(t, func(t *testing.T) {
		h := long(t)
		for range 20 {
			h.compare(100, 2, 900, 0)
			if h.event("BurstsFound") != "" {
				break
			}
		}
		pass(2 * time.Second)
		h.stop()
		h.start()
		defer h.stop()
		h.compare(100, 0, 900, 0)
		pass(2 * time.Second)
		p := h.saved().Look.Report.Placebo
		if h.event("BurstsFound") == "" || p == nil || len(p.Intervals) != 1 || !strings.Contains(p.Finding, "fail in bursts") {
			t.Fatalf("the placebo is shown as %+v, want that errors are judged by intervals", p)
		}
		if !strings.Contains(h.log.String(), `"intervals":true`) {
			t.Error("the evidence does not say that intervals are judged")
		}
		if _, err := judge.Replay(rollout.Policy(h.release.Analysis, h.run().Plan), strings.NewReader(h.log.String()), 0, nil); err != nil {
			t.Error(err)
		}
	})
}

// The record counts each run once, when it ends.
func TestRecordCountsEndedRuns(t *testing.T) {
	for alarm, bad := range map[int64]int64{0: 0, 1: 30} {
		in(t, func(t *testing.T) {
			h := long(t)
			defer h.stop()
			h.compare(90, bad, 910, 5)
			pass(2 * time.Second)
			if h.record != (judge.Record{}) {
				t.Errorf("the run goes on, and the record has %+v", h.record)
			}
			if got := h.event("PlaceboAlarm"); (got != "") != (alarm == 1) {
				t.Errorf("told %q", got)
			}
			h.set(func() { h.saveErr = errDown })
			for range 10 { // after an alarm intervals are judged: one is not enough
				h.see(1000, 0, 100, 90)
				pass(time.Second)
			}
			h.set(func() { h.saveErr = nil })
			pass(time.Minute)
			h.want("RolledBack")
			pass(time.Minute)
			if h.record != (judge.Record{Runs: 1, Alarms: alarm, Allowed: 0.01}) {
				t.Errorf("the record has %+v, want one run", h.record)
			}
		})
	}
}

func TestWrongDivisionPauses(t *testing.T) {
	in(t, func(t *testing.T) {
		h := long(t)
		defer h.stop()
		h.set(func() {
			h.beside.Division = []judge.Batch{{At: 1, Share: 0.1, Canary: judge.Side{N: 200}, Stable: judge.Side{N: 4800}}}
		})
		h.see(1000, 5, 100, 0)
		pass(2 * time.Second)
		p := h.run().Paused
		if p == nil || p.Person || !strings.Contains(p.Reason, "the canary got 200 of 5 000 requests, 4 %, where 10 % was asked for") {
			t.Errorf("paused: %+v, want it with the numbers", p)
		}
	})
}

// TestWrongCountsPause: where the provider knows only what each version got, the
// share that was asked for is the router's.
func TestWrongCountsPause(t *testing.T) {
	in(t, func(t *testing.T) {
		h := long(t)
		defer h.stop()
		count := func(canary, stable int64) {
			h.set(func() {
				now := time.Now()
				h.beside.Counted = []metric.Counted{{From: now.Add(-time.Second), To: now, Canary: canary, Stable: stable}}
			})
			h.see(1000, 5, 100, 0)
			pass(2 * time.Second)
		}
		count(0, 5000) // the share has just come into force
		pass(20 * time.Second)
		for range 10 {
			count(100, 900)
		}
		if d := h.saved().Look.Report.Division; d == nil || d.Canary.N != 1000 || d.Stable.N != 9000 || h.run().Paused != nil {
			t.Fatalf("divided as asked: %+v, paused: %+v", d, h.run().Paused)
		}
		for range 10 {
			count(20, 980)
		}
		p := h.run().Paused
		if p == nil || p.Person || !strings.Contains(p.Reason, "where 10 % was asked for") {
			t.Errorf("paused: %+v, want it with the numbers", p)
		}
	})
}
