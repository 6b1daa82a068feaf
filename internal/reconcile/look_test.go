package reconcile_test

import (
	"testing"
	"time"
)

// reads is how often the evidence is read in a second in which nothing happens.
func (h *house) reads() int {
	n := h.set(func() {})
	pass(time.Second)
	return len(h.since(n, "read"))
}

// TestAReaderThatWakesIsNotAskedAllTheTime: it is looked at each second, and as
// often as it asks for where time alone makes evidence.
func TestAReaderThatWakesIsNotAskedAllTheTime(t *testing.T) {
	in(t, func(t *testing.T) {
		slow := step(1000)
		slow.Hold = time.Hour
		h := serving(t, slow)
		defer h.stop()
		h.see(1000, 0, 100, 0)
		pass(10 * time.Second)
		if n := h.reads(); n > 2 {
			t.Errorf("it was read %d times in a second in which nothing happened", n)
		}
		h.set(func() { h.again = 100 * time.Millisecond })
		pass(time.Second)
		if n := h.reads(); n < 9 || n > 11 {
			t.Errorf("it was read %d times in a second, it asks for 10", n)
		}
		h.set(func() { h.again = time.Minute })
		pass(time.Second)
		if n := h.reads(); n < 1 {
			t.Error("it was not read for a second")
		}
	})
}

// TestHarmIsLookedAtAtOnce: what wakes waits for no look.
func TestHarmIsLookedAtAtOnce(t *testing.T) {
	in(t, func(t *testing.T) {
		h := serving(t, step(1000), step(5000))
		defer h.stop()
		began := time.Now()
		h.see(1000, 0, 100, 100)
		if got := h.share(); got != 0 || time.Since(began) > 0 {
			t.Errorf("v2 has %d after %s, expected nothing at once", got, time.Since(began))
		}
	})
}

// TestAHoldEndsInTime: what time decides is looked at when it does, not at the next second.
func TestAHoldEndsInTime(t *testing.T) {
	in(t, func(t *testing.T) {
		first := step(1000)
		first.Hold = 1300 * time.Millisecond
		h := serving(t, first, step(5000))
		defer h.stop()
		pass(200 * time.Millisecond)
		h.see(1000, 0, 100, 0)
		pass(1090 * time.Millisecond)
		if got := h.share(); got != 1000 {
			t.Fatalf("v2 has %d before the hold is over", got)
		}
		pass(10 * time.Millisecond)
		if got := h.share(); got != 5000 {
			t.Errorf("v2 has %d when the hold is over, expected 5000", got)
		}
	})
}
