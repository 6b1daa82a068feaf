package endpoints_test

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/workload"
	"github.com/haldane-project/haldane/internal/workload/endpoints"
	"github.com/haldane-project/haldane/internal/workload/workloadtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newRuntime(t *testing.T) *endpoints.Runtime {
	r := endpoints.New(slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	return r
}

func version(name string, addresses ...string) release.Version {
	return release.NewVersion(name, release.Workload{
		Endpoints: &release.Endpoints{
			Addresses: addresses,
			Ready:     release.Probe{HTTP: "/healthz", Interval: 5 * time.Millisecond},
		},
		Rewrite: &release.Rewrite{PathPrefix: "/" + name},
	})
}

func server(t *testing.T, h http.HandlerFunc) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func well(http.ResponseWriter, *http.Request) {}

func TestConformance(t *testing.T) {
	workloadtest.Run(t, func(t *testing.T) workloadtest.Subject {
		return workloadtest.Subject{
			Runtime: newRuntime(t),
			Good: func(name string, n int) release.Version {
				var list []string
				for range n {
					list = append(list, server(t, well))
				}
				return version(name, list...)
			},
			Bad:     version("bad", server(t, http.NotFound)),
			Foreign: release.NewVersion("foreign", release.Workload{Deployment: &release.Deployment{Name: "x"}}),
		}
	})
}

func until(t *testing.T, r *endpoints.Runtime, what string, ok func(workload.Fleet) bool) workload.Fleet {
	t.Helper()
	deadline := time.After(workloadtest.Patience)
	for {
		fleet, err := r.Observe(t.Context(), release.Release{Name: "shop"})
		if err != nil {
			t.Fatal(err)
		}
		if ok(fleet) {
			return fleet
		}
		select {
		case <-r.Changed():
		case <-deadline:
			t.Fatalf("not within %v: %s; it is %+v", workloadtest.Patience, what, fleet)
		}
	}
}

func ready(n int) func(workload.Fleet) bool {
	return func(f workload.Fleet) bool { return f.Groups[0].Ready == n }
}

func apply(t *testing.T, r *endpoints.Runtime, v release.Version, n int) {
	t.Helper()
	if err := r.Apply(t.Context(), release.Release{Name: "shop"}, []rollout.Group{{Version: v, Replicas: n}}); err != nil {
		t.Fatal(err)
	}
}

func TestReadinessIsFollowed(t *testing.T) {
	var sick atomic.Bool
	address := server(t, func(w http.ResponseWriter, _ *http.Request) {
		if sick.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	r := newRuntime(t)
	apply(t, r, version("v1", address), 1)
	until(t, r, "ready", ready(1))
	sick.Store(true)
	fleet := until(t, r, "unready", ready(0))
	if got := fleet.Groups[0].Error; !strings.Contains(got, "answered 503") || len(fleet.Backends) != 0 {
		t.Errorf("error %q, backends %v: want the probe's answer and no backend", got, fleet.Backends)
	}
	sick.Store(false)
	until(t, r, "ready again", ready(1))
}

func TestEveryScheme(t *testing.T) {
	h2c := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			w.WriteHeader(http.StatusHTTPVersionNotSupported)
		}
	}))
	h2c.Config.Protocols = new(http.Protocols)
	h2c.Config.Protocols.SetUnencryptedHTTP2(true)
	h2c.Start()
	defer h2c.Close()
	plain := server(t, well)
	r := newRuntime(t)
	apply(t, r, version("v1", "h2c://"+h2c.Listener.Addr().String(), "http://"+plain+"/"), 2)
	fleet := until(t, r, "both ready", ready(2))
	want := "h2c://" + h2c.Listener.Addr().String() + " http://" + plain
	if got := strings.Join(fleet.Backends[0].Addresses, " "); got != want {
		t.Errorf("addresses %s, want %s", got, want)
	}
}

func TestUntrustedCertificateIsNotReady(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(well))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	defer s.Close()
	r := newRuntime(t)
	apply(t, r, version("v1", s.URL), 1)
	fleet := until(t, r, "an error", func(f workload.Fleet) bool { return strings.Contains(f.Groups[0].Error, "certificate") })
	if fleet.Groups[0].Ready != 0 {
		t.Errorf("group %+v, want not ready", fleet.Groups[0])
	}
}

func TestTCPProbeNeedsAListenerOnly(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	v := release.NewVersion("v1", release.Workload{Endpoints: &release.Endpoints{Addresses: []string{l.Addr().String()}}})
	r := newRuntime(t)
	apply(t, r, v, 1)
	until(t, r, "ready", ready(1))
}

func TestWarmUpComesBeforeReady(t *testing.T) {
	var warm atomic.Int64
	address := server(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/warm" {
			warm.Add(1)
		}
	})
	v := version("v1", address)
	v.Workload.WarmUp = &release.WarmUp{Requests: 5, Path: "/warm"}
	r := newRuntime(t)
	apply(t, r, v, 1)
	until(t, r, "ready", ready(1))
	if n := warm.Load(); n != 5 {
		t.Errorf("%d warm-up requests before ready, want 5", n)
	}
}

// A warm-up with a body asks as users will; what is refused has warmed nothing.
func TestWarmUpPostsABody(t *testing.T) {
	const body = `{"model":"m","messages":[]}`
	var asked atomic.Int64
	loaded := make(chan struct{})
	address := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			return
		}
		b, _ := io.ReadAll(r.Body)
		if string(b) != body || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("asked by %q of type %q", b, r.Header.Get("Content-Type"))
		}
		select {
		case <-loaded:
			asked.Add(1)
		default:
			http.Error(w, "the weights are not loaded", http.StatusServiceUnavailable)
		}
	})
	v := version("v1", address)
	v.Workload.WarmUp = &release.WarmUp{Requests: 3, Path: "/v1/chat/completions", Body: body}
	r := newRuntime(t)
	apply(t, r, v, 1)
	g := until(t, r, "its trouble is told", func(f workload.Fleet) bool { return strings.Contains(f.Groups[0].Error, "warm-up request 1 of 3") }).Groups[0]
	if g.Ready != 0 || !strings.Contains(g.Error, "503: expected 200 to 299") {
		t.Errorf("group %+v, want none ready and the answer", g)
	}
	close(loaded)
	until(t, r, "ready", ready(1))
	if n := asked.Load(); n != 3 {
		t.Errorf("%d warm-up requests before ready, want 3", n)
	}
}

// A version that is a prompt, an adapter or a model is warmed as users will ask it:
// by its own beginning of prompts, under its own headers and path.
func TestWarmUpIsRewrittenAsUsersRequestsAre(t *testing.T) {
	asked := make(chan string, 10)
	address := server(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			b, _ := io.ReadAll(r.Body)
			asked <- r.Host + r.URL.Path + " " + r.Header.Get("X-Tenant") + " " + string(b)
		}
	})
	v := version("v1", address)
	v.Workload.WarmUp = &release.WarmUp{Requests: 1, Path: "/v1/chat/completions", Body: `{"model":"base","messages":[{"role":"user","content":"Hi"}]}`}
	v.Workload.Rewrite = &release.Rewrite{
		PathPrefix: "/b", SetHeaders: map[string]string{"x-tenant": "gold", "host": "model.test"},
		SetJSON: map[string]any{"model": "adapter-2"}, System: "Be brief.",
	}
	r := newRuntime(t)
	apply(t, r, v, 1)
	until(t, r, "ready", ready(1))
	const want = `model.test/b/v1/chat/completions gold {"model":"adapter-2","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"}]}`
	if got := <-asked; got != want {
		t.Errorf("asked %s\nwant %s", got, want)
	}
}

func TestMoreReplicasThanAddressesIsTold(t *testing.T) {
	r := newRuntime(t)
	apply(t, r, version("v1", server(t, well)), 2)
	g := until(t, r, "ready", ready(1)).Groups[0]
	if !g.Blocked || !strings.Contains(g.Error, "1 of the 2 endpoints") {
		t.Errorf("group %+v, want blocked with 1 of the 2 endpoints", g)
	}
}
