package reconcile_test

import (
	"strings"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
)

// holding is a release whose run stays in its first step.
func holding(t *testing.T) *house {
	t.Helper()
	slow := step(1000)
	slow.Hold = time.Hour
	return serving(t, slow)
}

// looking is one whose last pass changed nothing, so that evidence is looked at
// before there is another.
func looking(t *testing.T) *house {
	t.Helper()
	h := holding(t)
	pass(100 * time.Millisecond)
	h.see(1000, 0, 100, 0)
	pass(3100 * time.Millisecond) // 100 ms since the last pass
	return h
}

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
		h := holding(t)
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
		first.Hold = 700 * time.Millisecond
		h := serving(t, first, step(5000))
		defer h.stop()
		pass(200 * time.Millisecond)
		h.see(1000, 0, 100, 0)
		pass(490 * time.Millisecond)
		if got := h.share(); got != 1000 {
			t.Fatalf("v2 has %d before the hold is over", got)
		}
		pass(10 * time.Millisecond)
		if got := h.share(); got != 5000 {
			t.Errorf("v2 has %d when the hold is over, expected 5000", got)
		}
	})
}

// TestEvidenceThatChangesNothingObservesNothing: it is taken in, kept with what
// comes, and the next pass is made when it would have been without it.
func TestEvidenceThatChangesNothingObservesNothing(t *testing.T) {
	in(t, func(t *testing.T) {
		h := looking(t)
		defer h.stop()
		n := h.set(func() {})
		for range 4 {
			h.see(1000, 0, 100, 0)
			pass(100 * time.Millisecond)
		}
		if seen, read := h.since(n, "observe", "save", "route", "instances"), h.since(n, "read"); len(seen) > 0 || len(read) != 4 {
			t.Errorf("evidence that changed nothing brought %v and %d reads, expected 4 reads alone", seen, len(read))
		}
		pass(500 * time.Millisecond)
		if seen := h.since(n, "observe"); len(seen) == 0 {
			t.Error("a second after the last pass there was none")
		}
		pass(time.Second)
		if stable, canary := h.counted(); stable != 5000 || canary != 500 {
			t.Errorf("the judge has seen %d and %d requests, there were 5000 and 500", stable, canary)
		}
	})
}

// TestALookKeepsNothingBack: what can not be taken in between two passes is told,
// and what ends the run does so.
func TestALookKeepsNothingBack(t *testing.T) {
	in(t, func(t *testing.T) {
		h := looking(t)
		defer h.stop()
		h.set(func() { h.batch = append(h.batch, metric.Sample{Metric: 7, Batch: judge.Batch{At: 1}}) })
		h.see(1000, 0, 100, 0)
		if !strings.Contains(h.logged.String(), "evidence of metric 7 refused") {
			t.Errorf("not logged: %s", h.logged.String())
		}
		pass(3100 * time.Millisecond)
		n, began := h.set(func() {}), time.Now()
		h.see(1000, 0, 100, 100)
		if got := h.share(); got != 0 || time.Since(began) > 0 {
			t.Errorf("v2 has %d after %s, expected nothing at once", got, time.Since(began))
		}
		if seen := h.since(n, "observe"); len(seen) == 0 {
			t.Error("traffic was taken away and nothing was observed")
		}
	})
}
