package proxy

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// comparing keeps what it is told.
type comparing struct{ told chan *release.Copied }

func (c comparing) Compare(x *release.Copied) { c.told <- x }

// asked is a request as a server gets it.
type asked struct{ method, body, mark string }

// shadowed is a world whose canary gets a copy of every request.
type shadowed struct {
	*world
	comparing
	stable, canary chan asked
	hang           chan struct{} // the versions answer /hang when it is closed
}

func newShadowed(t *testing.T, rule release.Mirroring, rewrites ...*release.Rewrite) *shadowed {
	s := &shadowed{comparing: comparing{make(chan *release.Copied, 100)}, stable: make(chan asked, 100), canary: make(chan asked, 100), hang: make(chan struct{})}
	version := func(name string, seen chan asked) string {
		return serve(t, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			seen <- asked{r.Method, string(b), r.Header.Get("X-Haldane-Mirror")}
			if r.URL.Path == "/hang" && name == "c" || r.URL.Path == "/wait" && name == "s" {
				<-s.hang
			}
			_, _ = io.WriteString(w, name)
		})
	}
	s.world = newWorld(t, Options{Comparer: s.comparing})
	list := backends(version("s", s.stable), version("c", s.canary))
	for i, r := range rewrites {
		list[i].Rewrite = r
	}
	split := shares(0)
	split.Mirror = &release.Mirror{Version: canary, Share: release.Full}
	s.set(t, Routing{Config: release.Embedded{Mirror: rule}, Split: split, Backends: list})
	t.Cleanup(func() {
		select {
		case <-s.hang:
		default:
			close(s.hang)
		}
	})
	return s
}

func (s *shadowed) ask(t *testing.T, method, path, body string, header ...string) {
	t.Helper()
	r := request(method, s.url+path, strings.NewReader(body), append(header, "Content-Type", "application/json")...)
	if status, b, _ := get(t, http.DefaultClient, r); status != 200 || b != "s" {
		t.Errorf("the user got %d %q", status, b)
	}
}

var anyMethod = []string{"GET", "POST"}

// Each copy is rewritten as its own version's requests are, and is marked; stable
// gets one too where its noise is measured.
func TestEachCopyIsItsVersions(t *testing.T) {
	model := func(name string) *release.Rewrite {
		return &release.Rewrite{SetJSON: map[string]any{"model": name}}
	}
	s := newShadowed(t, release.Mirroring{Methods: anyMethod, MaxBody: 1 << 10, Noise: release.Full}, model("old"), model("new"))
	s.ask(t, "POST", "/", `{"model":"m"}`)
	x := <-s.told
	user, again, copied := <-s.stable, <-s.stable, <-s.canary
	if want := (asked{"POST", `{"model":"old"}`, ""}); user != want {
		t.Errorf("stable got %+v, want %+v", user, want)
	}
	if want := (asked{"POST", `{"model":"old"}`, "1"}); again != want {
		t.Errorf("stable's copy is %+v, want %+v", again, want)
	}
	if want := (asked{"POST", `{"model":"new"}`, "1"}); copied != want {
		t.Errorf("the canary's copy is %+v, want %+v", copied, want)
	}
	if x.Again == nil || string(x.Again.Body) != "s" || string(x.Copy.Body) != "c" || string(x.User.Body) != "s" || string(x.Request) != `{"model":"m"}` || x.Shared != release.Full {
		t.Errorf("compared is %+v", x)
	}
}

// What is not to be copied is not, and what could not be is counted.
func TestWhatIsNotCopied(t *testing.T) {
	for name, c := range map[string]struct {
		method, body, header string
		dropped              int64
	}{
		"a method that changes things": {"POST", "", "X-Any", 0},
		"a copy":                       {"GET", "", "X-Haldane-Mirror", 0},
		"a body that is too long":      {"PUT", strings.Repeat("x", 1025), "X-Any", 1},
	} {
		s := newShadowed(t, release.Mirroring{Methods: []string{"GET", "PUT"}, MaxBody: 1 << 10})
		s.ask(t, c.method, "/", c.body, c.header, "1")
		s.ask(t, "PUT", "/", "short")
		if x := <-s.told; x.Method != "PUT" || string(x.Request) != "short" {
			t.Errorf("%s was copied: %s with %d bytes", name, x.Method, len(x.Request))
		}
		if n := s.Dropped(); n != c.dropped {
			t.Errorf("%s: %d are counted as dropped, want %d", name, n, c.dropped)
		}
	}
}

// A copy ends at its own timeout, and the budget bounds how many are under way.
func TestCopiesHaveATimeoutAndABudget(t *testing.T) {
	s := newShadowed(t, release.Mirroring{Timeout: 50 * time.Millisecond})
	s.ask(t, "GET", "/hang", "")
	if x := <-s.told; x.Copy.Outcome != release.Failed || x.Copy.Cause != causeTimeout || x.User.Outcome != release.OK {
		t.Errorf("a copy that hangs is %+v", x.Copy)
	}
	s = newShadowed(t, release.Mirroring{Timeout: time.Hour, Budget: 2})
	for range 5 {
		s.ask(t, "GET", "/hang", "")
	}
	if n := s.Dropped(); n != 3 {
		t.Errorf("%d copies were dropped, want three of five", n)
	}
	close(s.hang)
	<-s.told
	<-s.told
	eventually(t, func() bool { return s.copying.slots.Load() == 0 }, "the budget is not free again")
	s.ask(t, "GET", "/", "")
	<-s.told
}

// Users come first: while many more of them wait than usual, nothing is copied,
// though the budget has room.
func TestNoCopiesInARush(t *testing.T) {
	s := newShadowed(t, release.Mirroring{Budget: 1000})
	s.ask(t, "GET", "/", "")
	<-s.told
	const users = 3 * loadSlack
	var all sync.WaitGroup
	for range users {
		all.Go(func() { s.ask(t, "GET", "/wait", "") })
	}
	for range users + 1 {
		<-s.stable
	}
	dropped := s.Dropped()
	if dropped < loadSlack/2 || dropped > users-loadSlack {
		t.Errorf("of %d users at once the copies of %d were dropped; want those beyond some %d", users, dropped, loadSlack)
	}
	close(s.hang)
	all.Wait()
	for range users - dropped {
		<-s.told
	}
	s.ask(t, "GET", "/", "")
	<-s.told
}

func TestARushIsMoreThanUsual(t *testing.T) {
	var l load
	now := time.Unix(0, 0)
	pass := func(n int64, d time.Duration) (rushes int) {
		for end := now.Add(d); now.Before(end); now = now.Add(100 * time.Millisecond) {
			if l.rush(now, n) {
				rushes++
			}
		}
		return rushes
	}
	if n := pass(100, time.Minute); n != 0 {
		t.Errorf("%d rushes of what is usual", n)
	}
	if n := pass(200, 5*time.Second); n != 0 {
		t.Errorf("%d rushes of twice as many", n)
	}
	if n := pass(400, 5*time.Second); n != 50 {
		t.Errorf("%d rushes of 50 times four times as many", n)
	}
	if pass(400, 2*time.Minute); l.rush(now, 400) {
		t.Error("what has come to be usual is a rush")
	}
	if pass(1, 5*time.Minute); l.rush(now, loadSlack) {
		t.Error("a few are a rush")
	}
}
