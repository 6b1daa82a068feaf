package embedded

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/traffic"
	"github.com/haldane-project/haldane/internal/traffic/traffictest"
)

func newRouter(t *testing.T) *Router {
	r := New(Options{})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		r.Shutdown(ctx) // tests that leave requests open expect the error
	})
	return r
}

func rel(name, listen string) release.Release {
	return release.Release{Name: name, Traffic: release.Traffic{Embedded: &release.Embedded{Listen: listen}}}
}

func backend(t *testing.T, v release.VersionID) release.Backend {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, string(v)) }))
	t.Cleanup(s.Close)
	return release.Backend{Version: v, Addresses: []string{s.URL}}
}

func ask(url string) (string, error) {
	res, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return "", err
	}
	return string(b), nil
}

func TestConformance(t *testing.T) {
	traffictest.Run(t, func(t *testing.T) traffictest.Harness {
		r := newRouter(t)
		return traffictest.Harness{
			Router: r, Release: rel("hello", "127.0.0.1:0"), Backend: backend,
			Send: func(t *testing.T, n int) map[release.VersionID]int {
				got := map[release.VersionID]int{}
				for range n {
					v, _ := ask("http://" + r.Address("hello"))
					got[release.VersionID(v)]++
				}
				return got
			},
		}
	})
}

func apply(t *testing.T, r *Router, rel release.Release, b ...release.Backend) {
	t.Helper()
	if err := r.Apply(context.Background(), traffic.Target{Release: rel, Split: traffictest.Split(0), Backends: b}); err != nil {
		t.Fatal(err)
	}
}

func TestAddressInUse(t *testing.T) {
	r := newRouter(t)
	apply(t, r, rel("one", "127.0.0.1:0"))
	at := r.Address("one")
	err := r.Apply(context.Background(), traffic.Target{Release: rel("two", at)})
	if err == nil || !strings.Contains(err.Error(), at) || !strings.Contains(err.Error(), "release one listens there") {
		t.Errorf("error %v: want one that names %s and release one", err, at)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = r.Apply(context.Background(), traffic.Target{Release: rel("one", l.Addr().String())})
	if err == nil || !strings.Contains(err.Error(), l.Addr().String()) || !strings.Contains(err.Error(), "another program") {
		t.Errorf("error %v: want one that names %s", err, l.Addr())
	}
	if r.Address("one") != at {
		t.Errorf("release one moved to %s by an Apply that failed", r.Address("one"))
	}
}

func TestNoEmbeddedTraffic(t *testing.T) {
	r := newRouter(t)
	if err := r.Apply(context.Background(), traffic.Target{Release: release.Release{Name: "x"}}); err == nil {
		t.Error("a release without embedded traffic was accepted")
	}
}

// A new address listens before the old one is given up, and a request that
// the old one accepted ends.
func TestAddressChange(t *testing.T) {
	r := newRouter(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/slow" {
			once.Do(func() { close(arrived) })
			<-release
		}
		io.WriteString(w, "ok")
	}))
	t.Cleanup(slow.Close)
	b := backend(t, traffictest.A)
	b.Addresses = []string{slow.URL}
	apply(t, r, rel("one", "127.0.0.1:0"), b)
	old := r.Address("one")
	got := make(chan string, 1)
	go func() {
		v, err := ask("http://" + old + "/slow")
		if err != nil {
			v = err.Error()
		}
		got <- v
	}()
	<-arrived
	apply(t, r, rel("one", "localhost:0"), b)
	if r.Address("one") == old {
		t.Fatal("the address did not change")
	}
	if v, err := ask("http://" + r.Address("one")); v != "ok" {
		t.Errorf("at the new address: %q %v", v, err)
	}
	close(release)
	if v := <-got; v != "ok" {
		t.Errorf("the request that the old listener had accepted: %q", v)
	}
	deadline := time.Now().Add(patience)
	for {
		c, err := net.Dial("tcp", old)
		if err != nil {
			break
		}
		c.Close()
		if time.Now().After(deadline) {
			t.Fatal("the old address still listens")
		}
	}
}

func TestListenerIsKept(t *testing.T) {
	r := newRouter(t)
	b := backend(t, traffictest.A)
	apply(t, r, rel("one", "127.0.0.1:0"), b)
	at := r.Address("one")
	changed := rel("one", "127.0.0.1:0")
	changed.Traffic.Embedded.Timeouts = release.Timeouts{Header: patience, Idle: patience}
	changed.Traffic.Embedded.Sticky.Client = true
	for range 20 {
		apply(t, r, changed, b)
		if v, err := ask("http://" + at); v != string(traffictest.A) {
			t.Fatalf("%q %v", v, err)
		}
	}
	if r.Address("one") != at {
		t.Errorf("moved from %s to %s", at, r.Address("one"))
	}
}
