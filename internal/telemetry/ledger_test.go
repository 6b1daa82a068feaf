package telemetry

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

func voted() []Measure {
	var out []Measure
	for _, f := range []release.Fact{release.FactVotes, release.FactLabels, release.FactScores} {
		of, _ := f.Of()
		out = append(out, Measure{FactOf: of})
	}
	return out
}

func answered7(r *Recorder, v release.VersionID, id string, change ...func(*release.Observation)) {
	o := observation(v, 5000)
	o.ID, o.Answer = id, &release.Answer{ID: "chatcmpl-" + id, Class: "7"}
	for _, f := range change {
		f(o)
	}
	r.Observe(o)
}

// Feedback counts for the version that answered, at the share at which its
// request was sent, once however often it is said, and not for others.
func TestFeedbackFindsTheVersion(t *testing.T) {
	r := New()
	tap := r.Tap("hello", "a", "b", TapOptions{Measures: voted()})
	defer tap.Close()
	answered7(r, "a", "1")
	answered7(r, "b", "2")
	answered7(r, "b", "3", func(o *release.Observation) { o.Route = release.ByTest })
	say := func(f release.Feedback) {
		t.Helper()
		if err := r.Feedback("hello", f, time.Hour); err != nil {
			t.Error(err)
		}
	}
	say(release.Feedback{ID: "1", Vote: release.VoteUp, Label: "7"})
	for range 3 {
		say(release.Feedback{ID: "2", Vote: release.VoteDown})
	}
	say(release.Feedback{ID: "chatcmpl-2", Vote: release.VoteDown, Label: "9", Score: 0.25, Scored: true})
	say(release.Feedback{ID: "3", Vote: release.VoteDown}) // was not drawn
	if err := r.Feedback("hello", release.Feedback{ID: "2", Vote: release.VoteUp}, time.Hour); !errors.As(err, new(release.TakenFeedback)) {
		t.Errorf("another vote: %v", err)
	}
	for _, f := range []release.Feedback{{ID: "9", Vote: release.VoteUp}, {Unit: 4, Vote: release.VoteUp}} {
		if err := r.Feedback("hello", f, time.Hour); !errors.As(err, new(release.UnknownAnswer)) {
			t.Errorf("feedback %+v on an unknown answer: %v", f, err)
		}
	}
	got := tap.Drain().Portions
	if len(got) != 1 || got[0].Share != 5000 || got[0].Canary.N != 1 {
		t.Fatalf("portions %+v, want one of an answer each", got)
	}
	s, c := got[0].Stable.Measured, got[0].Canary.Measured
	if s[0].N != 1 || s[0].Bad != 0 || c[0].N != 1 || c[0].Bad != 1 || s[1].Bad != 0 || c[1].Bad != 1 || c[2].N != 1 {
		t.Errorf("stable %+v, canary %+v", s, c)
	}
}

// The last answer to a user, and no answer after its time.
func TestFeedbackOfUsersAndItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New()
		tap := r.Tap("hello", "a", "b", TapOptions{Measures: voted(), Users: true})
		defer tap.Close()
		of := func(o *release.Observation) { o.Unit = 5 }
		answered7(r, "a", "1", of)
		answered7(r, "b", "2", of)
		if err := r.Feedback("hello", release.Feedback{Unit: 5, Vote: release.VoteDown}, time.Hour); err != nil {
			t.Fatal(err)
		}
		if c := tap.Drain().Portions[0].Canary.Measured[0]; c.Bad != 1 || c.Firsts != 1 {
			t.Errorf("the last answer's version has %+v, want the vote", c)
		}
		time.Sleep(2 * time.Hour)
		if err := r.Feedback("hello", release.Feedback{ID: "1", Vote: release.VoteDown}, time.Hour); !errors.As(err, new(release.UnknownAnswer)) {
			t.Errorf("two hours later: %v", err)
		}
	})
}

// What is known of answers is bounded, and the oldest goes first.
func TestLedgerIsBounded(t *testing.T) {
	var l ledgers
	for i := range mostEntries + 10 {
		o := release.Observation{Release: "hello", ID: fmt.Sprint(i), Unit: uint64(i) + 1, Begin: time.Now()}
		l.note(&o)
	}
	of := l.of["hello"]
	if len(of.ring) != mostEntries || len(of.byID) != mostEntries || len(of.byUnit) != mostEntries || of.byID["9"] != nil || of.byID["10"] == nil {
		t.Errorf("%d answers, %d ids, %d users", len(of.ring), len(of.byID), len(of.byUnit))
	}
	l.forget("hello")
	if len(l.of) != 0 {
		t.Error("a deleted release is remembered")
	}
}
