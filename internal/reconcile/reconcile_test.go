package reconcile_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
)

// in runs a test in a bubble with a clock of its own.
func in(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// TestNoticesCarryTheReport: who hears of a rollback gets what the judge says of
// it, as the look that is kept has it.
func TestNoticesCarryTheReport(t *testing.T) {
	in(t, func(t *testing.T) {
		h := long(t)
		defer h.stop()
		h.see(1000, 0, 100, 90)
		pass(time.Second)
		h.want("RolledBack")
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.report == nil || h.report.Verdict != judge.Fail || len(h.report.Blame) != 1 {
			t.Errorf("the notice has the report %+v", h.report)
		}
	})
}

func TestGoodVersionIsPromotedStepByStep(t *testing.T) {
	in(t, func(t *testing.T) {
		h := serving(t, step(1000), step(5000))
		defer h.stop()
		for i, want := range []release.Weight{1000, 5000, release.Full} {
			if got := h.share(); got != want {
				t.Fatalf("step %d: v2 has %d, expected %d", i+1, got, want)
			}
			pass(time.Second)
			h.see(1000, 0, 100, 0)
			pass(time.Second)
		}
		h.want(rollout.Promoted)
	})
}

// Nobody tells when the last request of a version ends that has lost its traffic:
// it is counted, and its instances stop soon after it, not when their time is over.
func TestADrainEndsWithTheLastRequest(t *testing.T) {
	in(t, func(t *testing.T) {
		h := serving(t, step(5000))
		defer h.stop()
		h.set(func() { h.inside = []rollout.InFlight{{Version: v1.ID, Count: 1}} })
		pass(time.Second)
		h.see(1000, 0, 1000, 0)
		pass(5 * time.Second)
		h.want(rollout.Finishing)
		h.set(func() { h.inside = nil })
		pass(time.Second)
		h.want(rollout.Promoted)
	})
}

func TestTrafficLeavesBeforeItIsSaved(t *testing.T) {
	in(t, func(t *testing.T) {
		h := serving(t, step(1000), step(5000))
		defer h.stop()
		n := h.set(func() {})
		h.see(1000, 0, 100, 100)
		got := h.since(n, "route", "save", "instances", "notify")
		if len(got) < 4 || got[0] != "route 0" || got[1] != "save" || got[2] != "instances" {
			t.Errorf("after proof of harm: %v, expected the route, the save, the instances, the sinks", got)
		}
		if got := h.since(n, "route"); slices.ContainsFunc(got, func(c string) bool { return c != "route 0" }) {
			t.Errorf("the router was told %v", got)
		}
		pass(time.Second)
		h.want(rollout.RolledBack)
	})
}

func TestTrafficLeavesWhileTheStoreFails(t *testing.T) {
	in(t, func(t *testing.T) {
		h := serving(t, step(1000), step(5000))
		defer h.stop()
		h.set(func() { h.saveErr = errDown })
		h.see(1000, 0, 100, 100)
		if got := h.share(); got != 0 {
			t.Fatalf("v2 has %d, expected nothing", got)
		}
		n := h.set(func() {})
		pass(time.Minute)
		if got := h.since(n, "route"); slices.ContainsFunc(got, func(c string) bool { return c != "route 0" }) {
			t.Errorf("while the store fails the router is told %v", got)
		}
		h.want(rollout.Progressing)
		h.set(func() { h.saveErr = nil })
		pass(10 * time.Second)
		h.want(rollout.RolledBack)
		if got := h.share(); got != 0 {
			t.Errorf("v2 has %d, expected nothing", got)
		}
	})
}

func TestNothingRisesThatCanNotBeSaved(t *testing.T) {
	in(t, func(t *testing.T) {
		h := serving(t, step(1000), step(5000))
		defer h.stop()
		h.set(func() { h.saveErr = errDown })
		for range 20 {
			h.see(1000, 0, 100, 0)
			pass(time.Second)
			if got := h.share(); got != 1000 {
				t.Fatalf("v2 has %d while nothing can be saved, expected 1000", got)
			}
		}
		h.set(func() { h.saveErr = nil })
		pass(10 * time.Second)
		if got := h.share(); got != 5000 {
			t.Errorf("v2 has %d once the store works again, expected 5000", got)
		}
	})
}

func TestConflictIsReadAgain(t *testing.T) {
	in(t, func(t *testing.T) {
		h := serving(t, step(1000), step(5000))
		defer h.stop()
		pass(time.Second)
		n := h.set(func() { h.moves = 3 })
		h.see(1000, 0, 100, 0)
		pass(time.Second)
		got := h.since(n, "get", "save", "route")
		saved, routed := 0, slices.Index(got, "route 5000")
		for _, c := range got[:max(routed, 0)] {
			if c == "save" {
				saved++
			}
		}
		if routed < 0 || saved != 4 {
			t.Errorf("after three conflicts: %v, expected four saves before the rise", got)
		}
		if h.logged.Len() > 0 {
			t.Errorf("a conflict is no error, logged: %s", h.logged.String())
		}
	})
}

func TestWebhookIsAskedOnceUntilItAnswers(t *testing.T) {
	in(t, func(t *testing.T) {
		h := gated(t, func() rollout.GateAnswer { return rollout.GateAnswer{Gate: "tests", Yes: true, Reason: "fine"} })
		defer h.stop()
		pass(time.Minute)
		h.want(rollout.Promoted)
		if h.asked != 1 {
			t.Errorf("the gate was asked %d times, expected once", h.asked)
		}
	})
}

// A step without traffic has no looks that would bring a pass by themselves.
func TestWebhookIsAskedAgainAfterNo(t *testing.T) {
	in(t, func(t *testing.T) {
		yes := false
		h := gated(t, func() rollout.GateAnswer {
			return rollout.GateAnswer{Gate: "tests", Yes: yes, Reason: "not yet"}
		})
		defer h.stop()
		h.want(rollout.Progressing)
		if got := h.run().Why; !strings.Contains(got, "gate tests said no: not yet") {
			t.Errorf("it waits because %q", got)
		}
		pass(time.Minute)
		if h.asked < 10 || h.asked > 14 {
			t.Errorf("asked %d times in a minute, expected every five seconds", h.asked)
		}
		h.set(func() { yes = true })
		pass(10 * time.Second)
		h.want(rollout.Promoted)
	})
}

// gated is a house whose only step has no traffic and a webhook.
func gated(t *testing.T, answer func() rollout.GateAnswer) *house {
	h := newHouse(t)
	h.release.Strategy = release.Strategy{Kind: release.BlueGreen, Require: release.None, ReadyDeadline: time.Minute,
		OnInconclusive: release.PauseRun, Gates: []release.Gate{{Name: "tests", Kind: release.GateWebhook, URL: "http://127.0.0.1:1"}}}
	h.answer = answer
	h.start()
	h.want(rollout.Promoted)
	h.apply(v2)
	return h
}

func TestEverySinkHearsEveryEventThatWasSaved(t *testing.T) {
	in(t, func(t *testing.T) {
		h := newHouse(t, step(1000))
		h.sink = errDown // of the first of two
		h.start()
		defer h.stop()
		h.apply(v2)
		pass(time.Second)
		h.see(1000, 0, 100, 0)
		pass(5 * time.Second)
		h.want(rollout.Promoted)
		var saved []string
		for _, e := range h.events {
			saved = append(saved, e.Reason)
		}
		if len(saved) < 5 || !slices.Equal(saved, h.told) {
			t.Errorf("saved %v, told %v", saved, h.told)
		}
		if !strings.Contains(h.logged.String(), "a notification was not delivered") {
			t.Errorf("the failing sink is not logged: %s", h.logged.String())
		}
		calls := h.since(0, "save", "notify")
		if i := slices.Index(calls, "notify first"); i < 1 || calls[0] != "save" || calls[i-1] != "save" {
			t.Errorf("an event is told before it is saved: %v", calls)
		}
	})
}

func TestNoEventIsToldThatWasNotSaved(t *testing.T) {
	in(t, func(t *testing.T) {
		h := serving(t, step(1000), step(5000))
		defer h.stop()
		n := h.set(func() { h.saveErr = errDown })
		h.see(1000, 0, 100, 100)
		pass(time.Minute)
		if got := h.since(n, "notify"); len(got) > 0 {
			t.Errorf("told without being saved: %v", got)
		}
	})
}

func TestIdleReleaseCostsNothing(t *testing.T) {
	in(t, func(t *testing.T) {
		h := newHouse(t)
		h.start()
		defer h.stop()
		h.want(rollout.Promoted)
		pass(time.Minute)
		n := h.set(func() {})
		pass(58 * time.Minute)
		if got := h.since(n, ""); len(got) > 0 {
			t.Errorf("calls at rest: %v", got)
		}
	})
}

// A router that is told and acts later must not be asked in a hot loop, nor a
// store that fails.
func TestWaitingIsNoHotLoop(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault func(*house, bool)
		most  int // passes in a minute
	}{
		{"late router", func(h *house, on bool) { h.late = on }, 300},
		{"failing save", func(h *house, on bool) {
			h.saveErr = nil
			if on {
				h.saveErr = errDown
			}
		}, 25},
		{"failing read", func(h *house, on bool) {
			h.getErr = nil
			if on {
				h.getErr = errDown
			}
		}, 25},
		{"runtime down", func(h *house, on bool) { h.down = on }, 25},
	} {
		t.Run(c.name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				h := newHouse(t)
				h.start()
				defer h.stop()
				n := h.set(func() { c.fault(h, true) })
				h.apply(v2)
				pass(time.Minute)
				got := len(h.since(n, "get"))
				if got < 10 || got > c.most {
					t.Errorf("%d passes in a minute, expected 10 to %d", got, c.most)
				}
				if n := strings.Count(h.logged.String(), "will try again"); n > 2 {
					t.Errorf("the same trouble is logged %d times", n)
				}
				h.set(func() { c.fault(h, false) })
				pass(10 * time.Second)
				h.want(rollout.Promoted)
				h.see(0, 0, 0, 0)
				if got := h.trouble(); got != "" {
					t.Errorf("the trouble is over and still told: %s", got)
				}
			})
		})
	}
}

func TestDeletedReleaseIsForgottenAndCanComeAgain(t *testing.T) {
	in(t, func(t *testing.T) {
		h := newHouse(t)
		h.start()
		defer h.stop()
		h.set(func() { h.rec.Deleting = true; h.rec.Revision++ })
		h.poke()
		pass(time.Minute)
		h.set(func() {
			if h.rec.Name != "" || len(h.fleet) > 0 || len(h.split.Shares) > 0 {
				t.Errorf("left: record %q, instances %v, split %v", h.rec.Name, h.fleet, h.split)
			}
		})
		if got := h.since(0, "remove"); len(got) == 0 {
			t.Error("its routing was not removed")
		}
		h.set(func() {
			h.rec.Name, h.rec.UID, h.rec.Generation, h.rec.Revision = "hello", "2", 1, 1
			h.release.UID = "2"
		})
		h.poke()
		pass(time.Second)
		h.want(rollout.Promoted)
		if got := fmt.Sprint(h.split.Of(v1.ID)); got != "10000" {
			t.Errorf("v1 has %s", got)
		}
	})
}
