package model

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/client"
)

// voted is a release that users vote on.
func (d *daemon) voted(version, steps string, least int, s *httptest.Server) string {
	return fmt.Sprintf(`apiVersion: haldane.dev/v1alpha1
kind: Release
metadata:
  name: llm
spec:
  version: %s
  workload: {endpoints: {addresses: [%q]}}
  traffic: {embedded: {listen: %q, model: {}, feedback: {}}}
  strategy: {canary: {steps: [%s]}, bake: 1s}
  analysis:
    falseRollback: 0.01%%
    minRequests: %d
    metrics:
    - {name: errors, kind: errors, margin: "50%% or +5%%"}
    - {name: thumbs, kind: votes, source: {feedback: votes}}
`, version, s.Listener.Addr(), d.front, steps, least)
}

// moves asks its users to vote.
const moves = "X-Please-Vote"

// moving is a server that does.
func moving(t *testing.T, s *httptest.Server) *httptest.Server {
	t.Helper()
	m := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(moves, "1")
		s.Config.Handler.ServeHTTP(w, r)
	}))
	t.Cleanup(m.Close)
	return m
}

// heard is an answer as a user got it.
type heard struct {
	id    string
	vote  string // what the user thinks of it
	moved bool
}

// hears lets two users ask until the test ends, and tells of each answer.
func (d *daemon) hears(tell func(heard)) {
	ctx, cancel := context.WithCancel(context.Background())
	var users sync.WaitGroup
	for range 2 {
		users.Go(func() {
			for ctx.Err() == nil {
				if a, ok := d.hear(ctx); ok {
					tell(a)
				}
			}
		})
	}
	d.Cleanup(func() { cancel(); users.Wait() })
}

func (d *daemon) hear(ctx context.Context) (heard, bool) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+d.front+chat, strings.NewReader(plain))
	if err != nil {
		d.Error(err)
		return heard{}, false
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return heard{}, false // the release does not listen yet, or the test has ended
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return heard{}, false
	}
	a := heard{res.Header.Get("X-Request-Id"), "up", res.Header.Get(moves) != ""}
	if !strings.Contains(string(b), "Coal") {
		a.vote = "down"
	}
	return a, true
}

// ballot posts feedback to the address of the release or, where odd, to the API,
// and wants a status.
func (d *daemon) ballot(odd bool, id, vote string, want int) {
	url := "http://" + d.front + "/feedback"
	if odd {
		url = "http://" + d.address + "/api/v1/releases/llm/feedback"
	}
	res, err := http.Post(url, "application/json", strings.NewReader(fmt.Sprintf(`{"id":%q,"vote":%q}`, id, vote)))
	if err != nil {
		return // the test has ended
	}
	defer res.Body.Close()
	if b, _ := io.ReadAll(res.Body); res.StatusCode != want {
		d.Errorf("%s of %s by %s: %s %s, expected %d", vote, id, url, res.Status, b, want)
	}
}

// counted are the votes that a run was judged by.
func (d *daemon) counted(run string) int64 {
	for _, m := range d.deciding(run).Metrics {
		if m.Name == "thumbs" {
			return m.Canary.N + m.Stable.N
		}
	}
	return 0
}

// A version whose answers users vote down is rolled back, wherever the votes are
// given and however often the same one is.
func TestVotesEndARun(t *testing.T) {
	d := start(t)
	var n, given atomic.Int64
	d.release("v1.yaml", d.voted("v1", "{weight: 50}", 5000, chatter(t, 1, 1)))
	d.hears(func(a heard) {
		i := n.Add(1)
		if i%2 == 0 {
			return // does not vote
		}
		given.Add(1)
		for _, odd := range []bool{i%4 == 1, true, false} {
			d.ballot(odd, a.id, a.vote, http.StatusNoContent)
		}
	})
	d.wants("v2.yaml", d.voted("v2", "{weight: 50}", 5000, chatter(t, 6, 1)), "RolledBack", "thumbs:")
	run, err := d.api.Get(t.Context(), "llm")
	if err != nil {
		t.Fatal(err)
	}
	if got := d.counted(run.Status.Run.Name); got == 0 || got > given.Load() {
		t.Errorf("%d votes were counted of %d", got, given.Load())
	}
}

// A version that answers as its predecessor does and makes its users vote pauses:
// what they say is what other users say.
func TestMoreVotesPause(t *testing.T) {
	d := start(t)
	var n atomic.Int64
	d.release("v1.yaml", d.voted("v1", "{weight: 50}", 5000, chatter(t, 1, 1)))
	d.hears(func(a heard) {
		if a.moved || n.Add(1)%4 == 0 {
			d.ballot(false, a.id, a.vote, http.StatusNoContent)
		}
	})
	r := d.release("v2.yaml", d.voted("v2", "{weight: 50}", 5000, moving(t, chatter(t, 1, 1))))
	if r.Status.Phase != "Paused" || !strings.Contains(r.Status.Message, "thumbs-rate") {
		t.Errorf("%s: %s; expected a pause for thumbs-rate", r.Status.Phase, r.Status.Message)
	}
}

// Votes that come when the step of their answers is over count at the share at
// which those were drawn, and roll the next step back. Feedback on answers that
// nobody gave is told apart, and so is another opinion of the same.
func TestVotesThatComeLate(t *testing.T) {
	d := start(t)
	const steps = "{weight: 20}, {weight: 50, hold: 30m}"
	d.release("v1.yaml", d.voted("v1", steps, 100, chatter(t, 1, 1)))
	var mu sync.Mutex
	var first []heard // of the first step
	over := false
	d.hears(func(a heard) {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			first = append(first, a)
		}
	})
	late := func(st v1alpha1.ReleaseStatus) bool {
		return st.Phase == "Progressing" && strings.HasPrefix(st.Step, "2/")
	}
	ended := func(st v1alpha1.ReleaseStatus) bool { return st.Phase == "RolledBack" }
	applied, err := d.api.Apply(t.Context(), "llm", []byte(d.voted("v2", steps, 100, chatter(t, 6, 1))), client.ApplyOptions{File: "v2.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	d.until(applied.Release.Generation, late)
	mu.Lock()
	over = true
	mu.Unlock()
	for i, a := range first {
		d.ballot(i%2 == 0, a.id, a.vote, http.StatusNoContent)
	}
	for _, odd := range []bool{false, true} {
		d.ballot(odd, "nobody-said-this", "up", http.StatusNotFound)
		other := map[string]string{"up": "down", "down": "up"}[first[0].vote]
		d.ballot(odd, first[0].id, other, http.StatusConflict)
	}
	st := d.until(applied.Release.Generation, ended)
	if !strings.HasPrefix(st.Run.Why, "thumbs:") {
		t.Errorf("rolled back: %s", st.Run.Why)
	}
	if got := d.counted(st.Run.Name); got > int64(len(first)) {
		t.Errorf("%d votes were counted of %d", got, len(first))
	}
}

// until waits until the release is as wanted.
func (d *daemon) until(generation int64, want func(v1alpha1.ReleaseStatus) bool) v1alpha1.ReleaseStatus {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), patience)
	defer cancel()
	var last v1alpha1.ReleaseStatus
	err := d.api.Watch(ctx, "llm", func(c client.Change) error {
		if c.Release == nil {
			return nil
		}
		if last = c.Release.Status; last.ObservedGeneration >= generation && want(last) {
			return io.EOF
		}
		return nil
	})
	if err != io.EOF { //nolint:errorlint // the function's own, as it gave it
		d.Fatalf("%v; last: %s %s: %s", err, last.Phase, last.Step, last.Message)
	}
	return last
}
