package reconcile_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
)

// Where saves are dear, a phase is saved at once and figures wait; passes go on
// from what was not saved yet.
func TestFiguresWaitAndPhasesDoNot(t *testing.T) {
	in(t, func(t *testing.T) {
		slow := step(1000)
		slow.Hold = time.Hour
		h := newHouse(t, slow)
		h.dear = true
		h.start()
		defer h.stop()
		h.apply(v2)
		began := time.Now()
		n := h.set(func() {})
		h.want(rollout.Progressing)
		if e := h.run().Entered; !e.IsZero() {
			t.Errorf("that the split is in force was saved at once: %v", e)
		}
		pass(9 * time.Second)
		if saves := h.since(n, "save"); len(saves) > 0 {
			t.Errorf("nothing changed but figures, and there were %d saves", len(saves))
		}
		pass(2 * time.Second)
		if saves := h.since(n, "save"); len(saves) != 1 {
			t.Errorf("%d saves, expected the one that waited", len(saves))
		}
		if e := h.run().Entered; e.Sub(began) > time.Second {
			t.Errorf("the step was entered at %v, and the passes took it for %v", began, e)
		}
		n = h.set(func() {})
		h.set(func() { h.down = true })
		h.poke()
		pass(5 * time.Second)
		h.set(func() { h.down = false })
		h.poke()
		pass(20 * time.Second)
		if saves := h.since(n, "save"); len(saves) > 0 {
			t.Errorf("an error that passed was saved %d times", len(saves))
		}
		n = h.set(func() { h.down = true })
		h.poke()
		pass(20 * time.Second) // it is tried again every few seconds
		if saves := h.since(n, "save"); len(saves) != 1 {
			t.Errorf("an error that stays was saved %d times, expected once", len(saves))
		}
	})
}

// What waits is lost by a crash, and only delays the run.
func TestCrashBeforeFiguresAreSaved(t *testing.T) {
	in(t, func(t *testing.T) {
		slow := step(1000)
		slow.Hold = time.Minute
		h := newHouse(t, slow)
		h.dear = true
		h.start()
		h.apply(v2)
		for range 3 {
			h.see(1000, 0, 100, 0)
			pass(5 * time.Second)
			h.stop()
			h.start()
		}
		defer h.stop()
		h.see(1000, 0, 100, 0)
		pass(58 * time.Second)
		h.want(rollout.Progressing)
		h.see(1000, 0, 100, 0)
		pass(time.Minute)
		h.want(rollout.Promoted)
	})
}

// That the bake began waits for what comes next, and its event with it. A crash
// between begins the bake anew and tells it again.
func TestBakeIsSavedWithWhatFollows(t *testing.T) {
	in(t, func(t *testing.T) {
		h := newHouse(t, step(1000))
		h.dear = true
		h.release.Strategy.Bake = 8 * time.Second
		h.start()
		h.apply(v2)
		pass(time.Second)
		n := h.set(func() {})
		h.see(1000, 0, 100, 0)
		h.want(rollout.Progressing)
		if saves := h.since(n, "save"); len(saves) != 1 || h.share() != release.Full {
			t.Errorf("%d saves up to all of the traffic, expected one; the share is %d", len(saves), h.share())
		}
		pass(5 * time.Second)
		h.stop()
		h.start()
		defer h.stop()
		pass(7 * time.Second)
		h.want(rollout.Progressing)
		pass(2 * time.Second)
		h.want(rollout.Promoted)
		if saves := h.since(n, "save"); len(saves) != 3 {
			t.Errorf("%d saves, expected those of the step, of the promotion and of the end", len(saves))
		}
		var told []string
		for _, e := range h.events[len(h.events)-3:] {
			told = append(told, e.Reason)
		}
		if want := []string{"StepStarted", "BakeStarted", "RunPromoted"}; !slices.Equal(told, want) {
			t.Errorf("the last events kept are %v, expected %v", told, want)
		}
	})
}

// A long bake is shown once it has lasted for as long as figures may wait.
func TestLongBakeIsSaved(t *testing.T) {
	in(t, func(t *testing.T) {
		h := newHouse(t, step(1000))
		h.dear = true
		h.release.Strategy.Bake = time.Minute
		h.start()
		defer h.stop()
		h.apply(v2)
		pass(time.Second)
		h.see(1000, 0, 100, 0)
		pass(11 * time.Second)
		h.want(rollout.Baking)
		pass(time.Minute)
		h.want(rollout.Promoted)
	})
}

// What a pass can not do at rest is told once it lasts, and taken back.
func TestLastingTroubleAtRestIsSaved(t *testing.T) {
	in(t, func(t *testing.T) {
		h := newHouse(t, step(1000))
		h.dear = true
		h.start()
		defer h.stop()
		h.want(rollout.Promoted)
		h.set(func() { h.down = true })
		h.poke()
		pass(9 * time.Second)
		if e := h.trouble(); e != "" {
			t.Errorf("trouble of 9 s was saved: %s", e)
		}
		pass(7 * time.Second) // passes that fail are made every 5 s
		if e := h.trouble(); !strings.Contains(e, errDown.Error()) {
			t.Errorf("trouble of 16 s was saved as %q", e)
		}
		n := h.set(func() { h.down = false })
		pass(time.Minute)
		if e := h.trouble(); e != "" || len(h.since(n, "save")) != 1 {
			t.Errorf("trouble that is over is kept as %q, after %d saves", e, len(h.since(n, "save")))
		}
	})
}
