package webhook

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/notify"
	"github.com/haldane-project/haldane/internal/rollout"
)

// got is a request that a receiver had.
type got struct {
	auth   string
	notice notify.Notice
}

// receiver answers with the statuses in turn, the last one for ever.
func receiver(t *testing.T, answers ...int) (*httptest.Server, chan got) {
	t.Helper()
	had := make(chan got, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g := got{auth: r.Header.Get("Authorization")}
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &g.notice); err != nil {
			t.Error(err)
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(answers[0])
		if len(answers) > 1 {
			answers = answers[1:]
		}
		had <- g
	}))
	t.Cleanup(server.Close)
	return server, had
}

func running(t *testing.T, o Options) *Sink {
	t.Helper()
	o.Log, o.Again = slog.New(slog.DiscardHandler), time.Millisecond
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

func notice(release string) notify.Notice {
	return notify.Notice{Release: release, Events: []rollout.Event{{Reason: "RunRolledBack", Message: "v2 is worse"}},
		Report: &judge.Report{Verdict: judge.Fail, Reason: "5 times as many errors", Blame: []string{"errors"}}}
}

func tell(t *testing.T, s *Sink, release string) {
	t.Helper()
	if err := s.Notify(context.Background(), notice(release)); err != nil {
		t.Fatal(err)
	}
}

// TestNoticesArrive: with the judge's report and the secret of the file, in order,
// and once more where the receiver is down for a moment.
func TestNoticesArrive(t *testing.T) {
	server, had := receiver(t, 503, 204)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := running(t, Options{URL: server.URL, TokenFile: file})
	tell(t, s, "one")
	tell(t, s, "two")
	for _, want := range []string{"one", "one", "two"} {
		g := <-had
		if g.notice.Release != want || g.auth != "Bearer s3cret" {
			t.Errorf("%s came with %q, want %s with the token", g.notice.Release, g.auth, want)
		}
		if r := g.notice.Report; r == nil || r.Verdict != judge.Fail || r.Blame[0] != "errors" || g.notice.Events[0].Reason != "RunRolledBack" {
			t.Errorf("the notice is %+v", g.notice)
		}
	}
}

// TestRefusalsAreNotRepeated: nor is a redirect followed.
func TestRefusalsAreNotRepeated(t *testing.T) {
	for _, status := range []int{400, 302} {
		server, had := receiver(t, status, 204)
		s := running(t, Options{URL: server.URL})
		tell(t, s, "refused")
		tell(t, s, "next")
		for _, want := range []string{"refused", "next"} {
			if g := <-had; g.notice.Release != want {
				t.Errorf("%d: %s came, want %s", status, g.notice.Release, want)
			}
		}
	}
}

// TestASilentReceiverHoldsUpNobody: notices beyond what may wait are dropped and
// said to be.
func TestASilentReceiverHoldsUpNobody(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	s := running(t, Options{URL: server.URL})
	var err error
	for range atOnce + 2 {
		if err = s.Notify(context.Background(), notice("hello")); err != nil {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "RunRolledBack of hello was dropped") {
		t.Errorf("error %v, want that a notice was dropped", err)
	}
}

func TestNew(t *testing.T) {
	for _, o := range []Options{{URL: "hooks.example.com"}, {URL: "ftp://x/y"}, {URL: "https://ann:pw@x/"}, {URL: "https://x/", TokenFile: "/absent"}} {
		if _, err := New(o); err == nil || strings.Contains(err.Error(), "pw") {
			t.Errorf("%+v: error %v, want one without secrets", o, err)
		}
	}
}
