package load

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// world answers each request after a wait, without a network, so that a test
// can run in virtual time.
type world func(i int64, r *http.Request) (wait time.Duration, status int)

type transport struct {
	w world
	n atomic.Int64
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	wait, status := t.w(t.n.Add(1)-1, r)
	select {
	case <-time.After(wait):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: status, Header: http.Header{"X-Version": {"v1"}}, Body: io.NopCloser(strings.NewReader("ok")), Request: r}, nil
}

func TestTheClockSetsThePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &transport{w: func(int64, *http.Request) (time.Duration, int) { return 5 * time.Millisecond, 200 }}
		g, err := New(Options{URL: "http://x/", Rate: 300, Duration: 10 * time.Second, Transport: tr, VersionHeader: "X-Version"})
		if err != nil {
			t.Fatal(err)
		}
		rep := g.Run(t.Context())
		if rep.Requests != 3000 || rep.Failed != 0 || rep.ByStatus["200"] != 3000 || rep.ByHeader["v1"] != 3000 {
			t.Errorf("10 s at 300 a second gave %+v, expected 3000 good requests of v1", rep)
		}
		if rep.Elapsed < 9990*time.Millisecond || rep.Elapsed > 10010*time.Millisecond {
			t.Errorf("took %s, expected 10 s", rep.Elapsed)
		}
		if rep.P50 < 5*time.Millisecond || rep.P50 > 5200*time.Microsecond || rep.Max != 5*time.Millisecond {
			t.Errorf("p50 %s and max %s, expected 5 ms", rep.P50, rep.Max)
		}
	})
}

func TestLatencyCountsFromTheDueMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// One place only, and every answer takes ten times its turn: the n-th
		// request waits for all before it.
		tr := &transport{w: func(int64, *http.Request) (time.Duration, int) { return 100 * time.Millisecond, 200 }}
		g, err := New(Options{URL: "http://x/", Rate: 100, Requests: 10, InFlight: 1, Transport: tr})
		if err != nil {
			t.Fatal(err)
		}
		if rep := g.Run(t.Context()); rep.Requests != 10 || rep.Max != 910*time.Millisecond {
			t.Errorf("%d requests, the longest of %s; expected 10 and 910ms", rep.Requests, rep.Max)
		}
	})
}

func TestTheEndCutsNoRequestShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &transport{w: func(int64, *http.Request) (time.Duration, int) { return time.Second, 200 }}
		g, err := New(Options{URL: "http://x/", Rate: 10, Transport: tr})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 950*time.Millisecond)
		defer cancel()
		if rep := g.Run(ctx); rep.Requests != 10 || rep.Failed != 0 {
			t.Errorf("got %+v, expected 10 whole answers", rep)
		}
	})
}

func TestFailuresByCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &transport{w: func(i int64, _ *http.Request) (time.Duration, int) {
			switch i % 4 {
			case 0:
				return 0, 500
			case 1:
				return time.Minute, 200
			case 2:
				return 0, 404
			}
			return 0, 200
		}}
		g, err := New(Options{URL: "http://x/", Rate: 100, Requests: 40, Timeout: time.Second, Transport: tr})
		if err != nil {
			t.Fatal(err)
		}
		rep := g.Run(t.Context())
		if rep.Failed != 20 || rep.ByStatus["500"] != 10 || rep.ByStatus["404"] != 10 || rep.ByCause["timeout"] != 10 {
			t.Errorf("got %+v, expected 10 times 500, 10 timeouts, 10 times 404 that are no failure", rep)
		}
	})
}

func TestUsersTakeTurns(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen[r.Header.Get("X-User")]++
	}))
	defer s.Close()
	g, err := New(Options{URL: s.URL, Rate: 5000, Requests: 100, UserHeader: "X-User", Users: 4})
	if err != nil {
		t.Fatal(err)
	}
	if rep := g.Run(t.Context()); rep.Requests != 100 || rep.Failed != 0 {
		t.Fatalf("got %+v, expected 100 good requests", rep)
	}
	for _, u := range []string{"user-0", "user-1", "user-2", "user-3"} {
		if seen[u] != 25 {
			t.Errorf("%s sent %d requests, expected 25", u, seen[u])
		}
	}
}

func TestRefusedIsAFailureNotAnEnd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	l.Close()
	g, err := New(Options{URL: url, Rate: 1000, Requests: 5})
	if err != nil {
		t.Fatal(err)
	}
	if rep := g.Run(t.Context()); rep.Requests != 5 || rep.Failed != 5 || rep.ByCause["refused"] != 5 {
		t.Errorf("got %+v, expected 5 refused", rep)
	}
}

func TestBadOptions(t *testing.T) {
	for _, o := range []Options{
		{URL: "127.0.0.1:80", Rate: 1},
		{URL: "ftp://x/", Rate: 1},
		{URL: "http://x/"},
		{URL: "http://x/", Rate: -1},
		{URL: "http://x/", Rate: 1e9},
		{URL: "http://x/", Rate: 1, UserHeader: "X-User"},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

func TestCauses(t *testing.T) {
	if got := cause(errors.New("x")); got != "other" {
		t.Errorf("got %q", got)
	}
	if got := cause(io.ErrUnexpectedEOF); got != "cut off" {
		t.Errorf("got %q", got)
	}
}
