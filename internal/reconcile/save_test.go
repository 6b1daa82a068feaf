package reconcile_test

import (
	"testing"
	"time"

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
