package telemetry

import (
	"errors"
	"fmt"
	"sync"
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
	for _, f := range []release.Feedback{{ID: "9", Vote: release.VoteUp}, {User: 4, Vote: release.VoteUp}} {
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

// Who has the last byte of an answer may say at once what it was worth, before
// the answer is booked; what never comes is refused.
func TestFeedbackWaitsForItsAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New()
		of := func(o *release.Observation) { o.Unit, o.User = 6, 5 }
		var said sync.WaitGroup
		for _, f := range []release.Feedback{{ID: "1", Vote: release.VoteUp}, {ID: "chatcmpl-1", Label: "7"}, {User: 5, Regenerated: true}} {
			said.Go(func() {
				if err := r.Feedback("hello", f, time.Hour); err != nil {
					t.Errorf("feedback %+v: %v", f, err)
				}
			})
		}
		for range mostAwaiting - 3 {
			said.Go(func() {
				if err := r.Feedback("hello", release.Feedback{ID: "9", Vote: release.VoteUp}, time.Hour); !errors.As(err, new(release.UnknownAnswer)) {
					t.Errorf("feedback on no answer: %v", err)
				}
			})
		}
		synctest.Wait()
		answered7(r, "a", "1", of)
		said.Wait()
		if l := &r.ledgers; l.waiting != 0 || len(l.awaited) != 0 {
			t.Errorf("%d wait, for %d answers", l.waiting, len(l.awaited))
		}
	})
}

// The last answer to a user, and no answer after its time.
func TestFeedbackOfUsersAndItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New()
		tap := r.Tap("hello", "a", "b", TapOptions{Measures: voted(), Users: true})
		defer tap.Close()
		of := func(o *release.Observation) { o.Unit, o.User = 6, 5 }
		answered7(r, "a", "1", of)
		answered7(r, "b", "2", of)
		if err := r.Feedback("hello", release.Feedback{User: 5, Vote: release.VoteDown}, time.Hour); err != nil {
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
		o := release.Observation{Release: "hello", ID: fmt.Sprint(i), User: uint64(i) + 1, Begin: time.Now()}
		l.note(&o)
	}
	of := l.of["hello"]
	if len(of.ring) != mostEntries || len(of.byID) != mostEntries || len(of.byUser) != mostEntries || of.byID["9"] != nil || of.byID["10"] == nil {
		t.Errorf("%d answers, %d ids, %d users", len(of.ring), len(of.byID), len(of.byUser))
	}
	l.forget("hello")
	if len(l.of) != 0 {
		t.Error("a deleted release is remembered")
	}
}

// The same question of the same user soon after an answer says that it was not
// what they wanted; of another user, much later, or after a failure it says nothing.
func TestAnswersThatAreRegenerated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New()
		of, _ := release.FactRegenerated.Of()
		tap := r.Tap("hello", "a", "b", TapOptions{Measures: []Measure{{FactOf: of}}, Users: true})
		defer tap.Close()
		ask := func(v release.VersionID, id string, unit, prompt uint64, change ...func(*release.Observation)) {
			time.Sleep(time.Second)
			answered7(r, v, id, append(change, func(o *release.Observation) {
				o.Begin, o.Total, o.User, o.Answer.Prompt = time.Now(), time.Second/2, unit, prompt
			})...)
		}
		count := func(want int64, what string) {
			t.Helper()
			var n, firsts int64
			for _, p := range tap.Drain().Portions {
				for _, m := range p.Canary.Measured {
					n, firsts = n+m.Bad, firsts+m.Firsts
				}
				for _, m := range p.Stable.Measured {
					n += m.Bad
				}
			}
			if n != want || firsts != min(want, 1) {
				t.Errorf("%s: %d answers were regenerated, %d of users for the first time; expected %d", what, n, firsts, want)
			}
		}
		ask("b", "1", 1, 7)
		ask("b", "2", 1, 7)
		count(1, "asked again")
		ask("b", "3", 2, 7)
		ask("b", "4", 1, 8)
		ask("b", "5", 0, 7)
		ask("b", "6", 0, 7)
		count(0, "other users and questions")
		time.Sleep(11 * time.Minute)
		ask("b", "7", 1, 7)
		count(0, "much later")
		failed := func(o *release.Observation) { o.Outcome = release.Failed }
		ask("b", "8", 3, 7, failed)
		ask("b", "9", 3, 7)
		count(0, "after a failure")
		ask("b", "10", 4, 7)
		answered7(r, "b", "10b", func(o *release.Observation) {
			o.Begin, o.Total, o.User, o.Answer.Prompt = time.Now().Add(-time.Hour), 2*time.Hour, 4, 7
		})
		count(0, "asked twice at once")
		if err := r.Feedback("hello", release.Feedback{ID: "9", Regenerated: true}, time.Hour); err != nil {
			t.Error(err)
		}
		ask("b", "11", 3, 7)
		count(1, "said and seen")
		ask("a", "12", 5, 9)
		ask("a", "13", 5, 9, func(o *release.Observation) { o.Route = release.ByMirror })
		count(0, "a copy")
		if err := r.Feedback("hello", release.Feedback{ID: "13", Vote: release.VoteUp}, time.Hour); !errors.As(err, new(release.UnknownAnswer)) {
			t.Errorf("feedback on a copy: %v", err)
		}
	})
}

// However many answers there are, what is kept of them is bounded.
func TestTheLedgerIsBounded(t *testing.T) {
	l := &ledger{byID: map[string]*entry{}, byUser: map[uint64]*entry{}, asked: map[question]*entry{}}
	for i := range uint64(mostEntries + 1000) {
		l.add(&entry{ids: [2]string{fmt.Sprint(i), fmt.Sprint("c", i)}, asked: question{i + 1, i + 1}, seen: release.Observation{User: i + 1}})
	}
	if len(l.ring) != mostEntries || len(l.byID) != 2*mostEntries || len(l.byUser) != mostEntries || len(l.asked) != mostEntries {
		t.Errorf("kept %d answers: %d ids, %d users, %d questions", len(l.ring), len(l.byID), len(l.byUser), len(l.asked))
	}
}
