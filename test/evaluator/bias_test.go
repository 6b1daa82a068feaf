package evaluator

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/haldane-project/haldane/api/v1alpha1"
)

// sure goes behind a metric where chance may not decide the test.
const sure = "\n    falseRollback: 0.01%%"

// An evaluator that lies in good form decides nothing: one that goes by the place
// of an answer contradicts itself once the order is swapped, and what it says of
// both versions alike says nothing of either.
func TestEvaluatorsThatLie(t *testing.T) {
	const (
		pairs  = `{name: judged, kind: agreement, source: {evaluator: {url: %q, question: "Which is politer?", share: 100, concurrency: 8}}}`
		single = `{name: judged, kind: proportion, onFail: rollback, source: {evaluator: {url: %q, question: "Is it rude?", share: 100, concurrency: 8, calls: 100000}}}`
	)
	words := func(m map[string]any, name string) int { return len(m[name].(string)) }
	say := func(text string) func(map[string]any) string { return func(map[string]any) string { return text } }
	for name, c := range map[string]struct {
		say            func(map[string]any) string
		metric         string
		stable, canary func(int64) string
		zero           bool // no evidence at all may come of it
	}{
		"the first one is always better":  {say(`{"better": "first"}`), pairs, always("Fine, thank you."), half, true},
		"the second one is always better": {say(`{"better": "second"}`), pairs, always("Fine, thank you."), half, true},
		"the longer one is always better, of versions that are as long": {func(m map[string]any) string {
			switch a, b := words(m, "first"), words(m, "second"); {
			case a == b:
				return `{"better": "tie"}`
			case a > b:
				return `{"better": "first"}`
			}
			return `{"better": "second"}`
		}, pairs, wordy(7), wordy(11), false},
		"every answer is bad": {say(`{"bad": true}`), single, always("Fine, thank you."), half, false},
		"no answer is bad":    {say(`{"bad": false}`), single, always("Fine, thank you."), half, false},
		"long answers are bad, of versions that are as long": {func(m map[string]any) string { return saysBad(words(m, "answer") > 60) },
			single, wordy(7), wordy(11), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := endpoint(t, c.say)
			d := start(t)
			metric, more := fmt.Sprintf(c.metric+sure, j.url), "canary: {steps: [{weight: 50, hold: 30m}]}"
			if c.metric == pairs {
				more = "shadow: {share: 100, hold: 30m}"
			}
			d.release(d.manifest("v1", model(t, c.stable), metric, more), ended)
			st := d.release(d.manifest("v2", model(t, c.canary), metric, more), func(st v1alpha1.ReleaseStatus) bool {
				return ended(st) || st.Run != nil && len(j.all()) > 400
			})
			m := of(st, "judged")
			if st.Phase != "Progressing" || m.Verdict == "Fail" || c.zero && m.Evidence != "none" {
				t.Errorf("%s: %s; %+v", st.Phase, st.Message, m)
			}
			t.Logf("after %d questions: evidence %s, canary %s, stable %s", len(j.all()), m.Evidence, m.Canary, m.Stable)
		})
	}
}

// wordy is a model whose answers vary in length, in an order of its own.
func wordy(seed uint64) func(int64) string {
	return func(n int64) string {
		return strings.Repeat("Very well, thank you. ", 1+rand.New(rand.NewPCG(seed, uint64(n))).IntN(5)) //nolint:gosec // nothing secret
	}
}
