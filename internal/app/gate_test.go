package app

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
)

func ask(t *testing.T, url string, timeout time.Duration) rollout.GateAnswer {
	t.Helper()
	run := rollout.Run{ID: "hello-2", Step: 1, To: release.Version{ID: "2", Name: "v2"}}
	return askWebhook(t.Context(), run, release.Gate{Name: "tests", Kind: release.GateWebhook, URL: url, Timeout: timeout})
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func TestGateAnswers(t *testing.T) {
	var elsewhere atomic.Int64
	other := serve(t, func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) })
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		yes     bool
		reason  string
	}{
		"yes": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, true, "it answered 204 No Content"},
		"no": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "two tests\n\tfail \xff", http.StatusForbidden)
		}, false, "it answered 403 Forbidden two tests fail"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other, http.StatusTemporaryRedirect) }, false, "it answered 307 Temporary Redirect"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ask(t, serve(t, c.handler), 0)
			if got.Gate != "tests" || got.Yes != c.yes || got.Reason != c.reason {
				t.Errorf("answer %+v, expected %v: %s", got, c.yes, c.reason)
			}
		})
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("a redirect was followed %d times", n)
	}
}

func TestGateIsToldWhatIsAsked(t *testing.T) {
	var got question
	var method, kind string
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		method, kind = r.Method, r.Header.Get("Content-Type")
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
	})
	ask(t, url, 0)
	want := question{Run: "hello-2", Step: 1, Gate: "tests", Version: "v2"}
	if d := cmp.Diff(want, got); d != "" || method != "POST" || kind != "application/json" {
		t.Errorf("%s of %s: %s", method, kind, d)
	}
}

func TestGateThatHangs(t *testing.T) {
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = r.Body.Read(make([]byte, 1<<10)) // a server notices a client that left only behind the body
		<-r.Context().Done()
	})
	if got := ask(t, url, 20*time.Millisecond); got.Yes || got.Reason != "it did not answer within 20ms" {
		t.Errorf("answer %+v", got)
	}
}

func TestGateThatNeverEndsItsAnswer(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		for {
			if _, err := w.Write([]byte(strings.Repeat("x", 1<<16))); err != nil {
				return
			}
		}
	})
	if got := ask(t, url, 0); got.Yes || len(got.Reason) > gateAnswer+100 {
		t.Errorf("%v with a reason of %d bytes", got.Yes, len(got.Reason))
	}
}

func TestGateThatIsNotThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{"http://" + address + "/?token=s3cret", "http://" + address + "\x7f/?token=s3cret"} {
		got := ask(t, url, 0)
		if got.Yes || got.Reason == "" || strings.Contains(got.Reason, "s3cret") {
			t.Errorf("answer %+v, expected no without the URL", got)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := askWebhook(ctx, rollout.Run{}, release.Gate{Name: "tests", URL: "http://" + address}); got.Yes {
		t.Errorf("answer %+v after the end", got)
	}
}
