package proxy

import (
	"net/http"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// TestHangingRequestIsToldOnceAndItsEnd: also that what it took is not put
// down to stable, which answers in the end.
func TestHangingRequestIsToldOnceAndItsEnd(t *testing.T) {
	inside, fail := make(chan struct{}), make(chan struct{})
	hangs := serve(t, func(w http.ResponseWriter, r *http.Request) {
		close(inside)
		<-fail
		w.WriteHeader(http.StatusInternalServerError)
	})
	w := newWorld(t, Options{})
	w.set(t, Routing{Config: release.Embedded{Shield: release.Shield{Enabled: true}},
		Split: shares(release.Full), Backends: backends(serve(t, named("s")), hangs)})
	answer := make(chan string, 1)
	go func() {
		_, body, _ := get(t, http.DefaultClient, request("GET", w.url, nil))
		answer <- body
	}()
	<-inside
	w.Overdue(time.Hour)
	w.Overdue(0)
	w.Overdue(0)
	got := w.seen.wait(t, 1)
	if o := got[0]; len(got) != 1 || o.Stage != release.Overdue || o.Version != canary || o.Weight != release.Full ||
		o.Release != "hello" || o.Route != release.BySplit || o.Total <= 0 || o.Begin.IsZero() {
		t.Errorf("told while it hangs: %+v", got)
	}
	close(fail)
	if body := <-answer; body != "s" {
		t.Errorf("the answer is %q", body)
	}
	w.Overdue(0)
	got = w.seen.wait(t, 3)
	c, s := got[1], got[2]
	if len(got) != 3 || c.Stage != release.EndedOverdue || c.Outcome != release.Failed || !c.Begin.Equal(got[0].Begin) || c.Total < got[0].Total {
		t.Errorf("told of its end: %+v", got[1:])
	}
	if s.Stage != release.Ended || s.Route != release.ByShield || s.Begin.Before(c.Begin.Add(c.Total)) {
		t.Errorf("stable's part %+v begins before the canary's %+v has ended", s, c)
	}
}
