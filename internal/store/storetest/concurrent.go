package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
)

func testWatch(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	names, slow := s.Watch(ctx), s.Watch(ctx)
	apply(t, s, "hello")
	if got := <-names; got != "hello" {
		t.Errorf("Apply tells %q", got)
	}
	if _, err := s.Ask(t.Context(), "hello", rollout.Intent{Verb: rollout.AskPause, At: Epoch}, person); err != nil {
		t.Fatal(err)
	}
	<-names
	save(t, s, store.Save{Name: "hello"})
	<-names
	if err := s.Delete(t.Context(), "hello", person, Epoch); err != nil {
		t.Fatal(err)
	}
	<-names

	// A reader that was away sees every name, and one name not once for each write.
	for range 50 {
		apply(t, s, "other")
		save(t, s, store.Save{Name: "other"})
	}
	apply(t, s, "last")
	seen := map[string]int{}
	for seen["last"] == 0 {
		seen[<-slow]++
	}
	if seen["hello"] == 0 || seen["other"] == 0 || seen["other"] > 3 || seen["hello"] > 3 {
		t.Errorf("the slow reader saw %v", seen)
	}
	cancel()
	for range names {
		continue // until the channel is closed
	}
}

func testConcurrentWriters(t *testing.T, s store.Store) {
	apply(t, s, "hello")
	const writers, each = 8, 10
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := range each {
				if err := saveUntilAccepted(t.Context(), s, fmt.Sprintf("%d.%d", w, n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	events, err := s.Events(t.Context(), "hello", 0, 0)
	must(t, events, err)
	seen := map[string]bool{}
	for _, e := range events {
		seen[e.Message] = true
	}
	if len(events) != writers*each || len(seen) != writers*each {
		t.Errorf("%d events, %d different; want %d", len(events), len(seen), writers*each)
	}
	r, err := s.Get(t.Context(), "hello")
	if got := must(t, r, err).State.RunSeq; got != writers*each {
		t.Errorf("the counter that every save raised by one is %d; want %d", got, writers*each)
	}
}

// saveUntilAccepted reads, changes and saves until nobody came between.
func saveUntilAccepted(ctx context.Context, s store.Store, message string) error {
	for {
		r, err := s.Get(ctx, "hello")
		if err != nil {
			return err
		}
		r.State.RunSeq++
		_, err = s.Save(ctx, store.Save{Name: "hello", Revision: r.Revision, State: r.State, Events: []rollout.Event{{At: Epoch, Message: message}}})
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

func testCancelled(t *testing.T, s store.Store) {
	r := apply(t, s, "hello")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Save(ctx, store.Save{Name: "hello", Revision: r.Revision, State: run("hello", 1, rollout.Preparing)}); err == nil {
		t.Error("a save that was given up before it began succeeded")
	}
	now, err := s.Get(t.Context(), "hello")
	same(t, "the record", r, must(t, now, err))
	save(t, s, store.Save{Name: "hello", State: run("hello", 1, rollout.Preparing)})
}

func testReopen(t *testing.T, h Harness) {
	s := h.Open(t)
	apply(t, s, "hello")
	id, err := s.Ask(t.Context(), "hello", rollout.Intent{Verb: rollout.AskPause, At: Epoch}, person)
	must(t, id, err)
	save(t, s, store.Save{Name: "hello", State: run("hello", 1, rollout.Progressing), Judge: json.RawMessage(`{"e":1}`), Cursor: []byte("here"),
		Look: look("hello-1", 5), KeepLook: true, Events: []rollout.Event{{At: Epoch, Reason: "RunStarted"}}})
	before, err := s.Get(t.Context(), "hello")
	must(t, before, err)

	s = h.Reopen(t, s)
	after, err := s.Get(t.Context(), "hello")
	same(t, "the record", before, must(t, after, err))
	intents, err := s.Intents(t.Context(), "hello")
	if must(t, intents, err); len(intents) != 1 || intents[0].ID != id {
		t.Errorf("intents: %+v", intents)
	}
	next, err := s.Ask(t.Context(), "hello", rollout.Intent{Verb: rollout.AskAbort, At: Epoch}, person)
	if must(t, next, err); next <= id {
		t.Errorf("the next intent has number %d after %d", next, id)
	}
	if h.Cluster { // the newest look is in the record
		return
	}
	looks, err := s.Looks(t.Context(), "hello-1", 0)
	same(t, "looks", []store.Look{*look("hello-1", 5)}, must(t, looks, err))
}
