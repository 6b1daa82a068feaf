package scraped_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/metric/prometheus"
	"github.com/haldane-project/haldane/internal/metric/query"
	"github.com/haldane-project/haldane/internal/metric/scraped"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/telemetry/history"
)

// router is a gateway's pod: it counts the requests to Services as Traefik does.
type router struct {
	mu     sync.Mutex
	counts map[string]int // by service and code
}

func (r *router) count(service, code string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[fmt.Sprintf("traefik_service_requests_total{code=%q,method=\"GET\",protocol=\"http\",service=\"shop-%s-http-80@kubernetesgateway\"}", code, service)] += n
}

func (r *router) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for series, n := range r.counts {
		fmt.Fprintf(w, "%s %d\n", series, n)
	}
}

// TestRouterIsScrapedWhileARunIsJudged: from the first look on, what it held
// before is no evidence, and afterwards nothing is scraped.
func TestRouterIsScrapedWhileARunIsJudged(t *testing.T) {
	gateway := &router{counts: map[string]int{}}
	gateway.count("hello-canary", "500", 900) // of an earlier run
	gateway.count("hello-stable", "200", 1000)
	server := httptest.NewServer(gateway)
	defer server.Close()
	host, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	store, err := history.Open(history.Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), Interval: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	p := scraped.New(scraped.Options{
		Store: store,
		Provider: func(_ release.Release, base prometheus.Options) (*prometheus.Provider, error) {
			base.Layout = prometheus.Layouts["traefik"]
			base.Cluster = func(_ context.Context, _ release.Release, role string, _ release.VersionID) (*query.Cluster, error) {
				return &query.Cluster{Namespace: "shop", Service: "hello-" + role}, nil
			}
			return prometheus.New(base)
		},
		Pods: func(_ context.Context, _ release.Release, ns string, labels map[string]string) ([]string, error) {
			if ns != "traefik" || labels["app"] != "traefik" {
				t.Errorf("asked for %s %v", ns, labels)
			}
			return []string{host}, nil
		},
	})
	metrics := []release.Metric{{Name: "errors", Kind: release.Errors}}
	rel := release.Release{Name: "shop/hello", Analysis: release.Analysis{Metrics: metrics, Scrape: &release.Scrape{
		Namespace: "traefik", Labels: map[string]string{"app": "traefik"}, Port: number, Path: "/metrics", Interval: 50 * time.Millisecond}}}
	if err := p.Check(t.Context(), rel, metrics); err != nil {
		t.Fatal(err)
	}
	own := release.Metric{Name: "ttft", Kind: release.Latency, Source: release.Source{Server: release.ServerMetric{Name: "vllm", Metric: "timeToFirstToken"}}}
	if err := p.Check(t.Context(), rel, []release.Metric{own}); err == nil || !strings.Contains(err.Error(), "versions' own pods") {
		t.Errorf("a router is scraped, and a model server's metric asked for: %v", err)
	}
	r, err := p.Open(t.Context(), metric.Subject{
		Release: rel, Run: "shop/hello-1", Started: time.Now(), Metrics: metrics,
		Stable: release.Version{ID: "stable", Name: "v1"}, Canary: release.Version{ID: "canary", Name: "v2"},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	value := func(promql string) float64 {
		v, _, err := store.Value(t.Context(), promql, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	eventually(t, "two scrapes", func() bool { return value("count_over_time(up[1m])") >= 2 })
	gateway.count("hello-canary", "200", 7)
	gateway.count("hello-canary", "500", 2)
	gateway.count("hello-stable", "200", 50)
	var n, bad, stable int64
	eventually(t, "the evidence", func() bool {
		got, err := r.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range got.Samples {
			n, bad, stable = n+s.Batch.Canary.N, bad+s.Batch.Canary.Bad, stable+s.Batch.Stable.N
		}
		return n >= 9 && stable >= 50
	})
	if n != 9 || bad != 2 || stable != 50 {
		t.Errorf("evidence of %d requests, %d failed, and %d of stable", n, bad, stable)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of scraping", func() bool { return value("count(up)") == 0 })
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.After(60 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-deadline:
			t.Fatalf("%s: not within 60 s", what)
		case <-tick.C:
		}
	}
}
