package reconcile_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/rollout"
)

// counted is how many requests of each version the last look has seen.
func (h *house) counted() (stable, canary int64) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.rec.Look == nil {
		h.t.Fatal("there is no look")
	}
	return h.rec.Look.Report.Stable, h.rec.Look.Report.Canary
}

func TestJudgeAndCursorOutliveARestart(t *testing.T) {
	in(t, func(t *testing.T) {
		h := holding(t)
		for range 3 {
			h.see(1000, 5, 100, 0)
			pass(time.Second)
		}
		h.stop()
		was := h.rec.Cursor
		h.see(1000, 0, 100, 0) // nobody reads it now
		h.start()
		defer h.stop()
		if got := h.opened[len(h.opened)-1]; got != string(was) {
			t.Errorf("the reader was opened at %q, saved was %q", got, was)
		}
		pass(2 * time.Second)
		if stable, canary := h.counted(); stable != 4000 || canary != 400 {
			t.Errorf("the judge has seen %d and %d requests, there were 4000 and 400", stable, canary)
		}
	})
}

// A crash between reading and saving gives the same evidence again, once.
func TestEvidenceThatWasNotSavedIsReadAgain(t *testing.T) {
	in(t, func(t *testing.T) {
		h := holding(t)
		h.see(1000, 0, 100, 0)
		pass(2 * time.Second)
		h.set(func() { h.saveErr = errDown })
		h.see(1000, 0, 100, 0)
		pass(2 * time.Second)
		h.stop()
		h.set(func() { h.saveErr = nil })
		h.start()
		defer h.stop()
		pass(2 * time.Second)
		if stable, canary := h.counted(); stable != 2000 || canary != 200 {
			t.Errorf("the judge has seen %d and %d requests, there were 2000 and 200", stable, canary)
		}
	})
}

func TestJudgeThatCanNotBeReadBeginsAnew(t *testing.T) {
	in(t, func(t *testing.T) {
		slow := step(1000)
		slow.Hold = time.Minute
		h := serving(t, slow)
		h.see(1000, 0, 100, 0)
		pass(2 * time.Second)
		h.stop()
		var saved map[string]any
		if err := json.Unmarshal(h.rec.Judge, &saved); err != nil {
			t.Fatal(err)
		}
		saved["state"] = []byte{0, 1, 2} // an older version's
		h.rec.Judge, _ = json.Marshal(saved)
		h.start()
		defer h.stop()
		h.see(500, 0, 50, 0)
		pass(2 * time.Second)
		if stable, canary := h.counted(); stable != 500 || canary != 50 {
			t.Errorf("the judge has seen %d and %d requests, expected 500 and 50: what was before is lost and not doubled", stable, canary)
		}
		lost := slices.DeleteFunc(slices.Clone(h.events), func(e rollout.Event) bool { return e.Reason != "EvidenceLost" })
		if len(lost) != 1 || !lost[0].Warning || lost[0].Run != h.run().ID {
			t.Errorf("told: %+v, expected one warning", lost)
		}
		if !strings.Contains(h.logged.String(), "the judge begins anew") {
			t.Errorf("not logged: %s", h.logged.String())
		}
		pass(time.Minute)
		h.want(rollout.Promoted)
	})
}

func TestReadErrorIsSaidAndNothingRises(t *testing.T) {
	in(t, func(t *testing.T) {
		h := serving(t, step(1000), step(5000))
		defer h.stop()
		h.set(func() { h.read = errDown })
		h.see(1000, 0, 100, 0)
		pass(10 * time.Second)
		if got := h.share(); got != 1000 {
			t.Errorf("v2 has %d, expected 1000", got)
		}
		if why := h.run().Why; !strings.Contains(why, "the evidence could not be read: it is down") {
			t.Errorf("it waits because %q", why)
		}
		if got := h.trouble(); !strings.Contains(got, "it is down") {
			t.Errorf("the pass says %q", got)
		}
		h.set(func() { h.read = nil })
		pass(10 * time.Second)
		if got := h.share(); got != 5000 {
			t.Errorf("v2 has %d, expected 5000", got)
		}
	})
}

func TestBatchThatIsRefusedHidesNoOther(t *testing.T) {
	in(t, func(t *testing.T) {
		h := serving(t, step(1000), step(5000))
		defer h.stop()
		h.set(func() { h.batch = append(h.batch, metric.Sample{Metric: 7, Batch: judge.Batch{At: 1}}) })
		h.see(1000, 0, 100, 100)
		if got := h.share(); got != 0 {
			t.Errorf("v2 has %d, expected nothing: a refused batch hid the harm", got)
		}
		if !bytes.Contains(h.logged.Bytes(), []byte("evidence of metric 7 refused")) {
			t.Errorf("not logged: %s", h.logged.String())
		}
	})
}

// Whatever fails between, the kept evidence is what the judge's state has.
func TestKeptEvidenceIsWhatTheJudgeHas(t *testing.T) {
	in(t, func(t *testing.T) {
		h := holding(t)
		kept := func() (n int64) {
			t.Helper()
			err := judge.ReadEvidence(bytes.NewReader(h.log.Bytes()), func(_ int, l judge.EvidenceLine) error {
				if !l.History {
					n += l.Canary.N
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		for i := range 4 {
			h.see(1000, 5, 100, 0)
			h.set(func() { h.saveErr = errDown })
			h.see(1000, 5, 100, 0)
			pass(2 * time.Second)
			if i%2 == 0 { // a crash
				h.stop()
				h.start()
			}
			h.set(func() { h.saveErr, h.moves = nil, 1 })
			h.see(1000, 5, 100, 0)
			pass(20 * time.Second)
			if _, canary := h.counted(); canary != int64(300*(i+1)) || kept() != canary {
				t.Errorf("round %d: the judge has seen %d canary requests of %d, kept is evidence of %d", i, canary, 300*(i+1), kept())
			}
		}
		h.stop()
	})
}
