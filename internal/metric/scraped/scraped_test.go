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
	"sync/atomic"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
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

// asked is how many requests of a Service were answered by a code.
type asked struct {
	service, code string
	n             int
}

// count takes in what one page then tells of together; a router has no series of what
// it was never asked for.
func (r *router) count(all ...asked) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range all {
		if a.n > 0 {
			r.counts[fmt.Sprintf("traefik_service_requests_total{code=%q,method=\"GET\",protocol=\"http\",service=\"shop-%s-http-80@kubernetesgateway\"}", a.code, a.service)] += a.n
		}
	}
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
	gateway.count(asked{"hello-canary", "500", 900}, asked{"hello-stable", "200", 1000}) // of an earlier run
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
	store := opened(t)
	p := scraped.New(scraped.Options{
		Store:    store,
		Provider: traefik,
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
	eventually(t, "two scrapes that succeeded", func() bool { return value("sum_over_time(up[1m])") >= 2 })
	gateway.count(asked{"hello-canary", "200", 7}, asked{"hello-canary", "500", 2}, asked{"hello-stable", "200", 50})
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
	deadline := time.After(5 * time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-deadline:
			t.Fatalf("%s: not within five minutes", what)
		case <-tick.C:
		}
	}
}

// opened is a store that scrapes every 50 ms.
func opened(t *testing.T) *history.Store {
	t.Helper()
	store, err := history.Open(history.Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), Interval: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// traefik reads what Traefik counts of the Services of the shop.
func traefik(_ release.Release, base prometheus.Options) (*prometheus.Provider, error) {
	base.Layout = prometheus.Layouts["traefik"]
	base.Cluster = func(_ context.Context, _ release.Release, role string, _ release.VersionID) (*query.Cluster, error) {
		return &query.Cluster{Namespace: "shop", Service: "hello-" + role}, nil
	}
	return prometheus.New(base)
}

// open opens a reader of errors that routers' pods count at these addresses.
func open(t *testing.T, addresses []string) (metric.Reader, func(promql string) float64) {
	t.Helper()
	store := opened(t)
	return reading(t, store, addresses), func(promql string) float64 {
		v, _, err := store.Value(t.Context(), promql, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// reading opens a reader over a store.
func reading(t *testing.T, store scraped.Store, addresses []string) metric.Reader {
	t.Helper()
	p := scraped.New(scraped.Options{Store: store, Provider: traefik})
	metrics := []release.Metric{{Name: "errors", Kind: release.Errors}}
	r, err := p.Open(t.Context(), metric.Subject{
		Release: release.Release{Name: "shop/hello", Analysis: release.Analysis{Metrics: metrics, Scrape: &release.Scrape{
			Addresses: addresses, Path: "/metrics", Interval: 50 * time.Millisecond}}},
		Run: "shop/hello-1", Started: time.Now(), Metrics: metrics,
		Stable: release.Version{ID: "stable", Name: "v1"}, Canary: release.Version{ID: "canary", Name: "v2"},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// gateways serves routers' pods.
func gateways(t *testing.T, pods ...*router) (addresses []string) {
	t.Helper()
	for _, pod := range pods {
		server := httptest.NewServer(pod)
		t.Cleanup(server.Close)
		addresses = append(addresses, server.Listener.Addr().String())
	}
	return addresses
}

// TestCountersTellDivisionAndPlacebo: of a router's two pods both versions' counters are
// held together scrape by scrape, and stable's of one pod against those of the
// other; one pod has nothing to be compared with.
func TestCountersTellDivisionAndPlacebo(t *testing.T) {
	for _, n := range []int{1, 2} {
		t.Run(fmt.Sprintf("%d pods", n), func(t *testing.T) {
			pods := []*router{{counts: map[string]int{}}, {counts: map[string]int{}}}[:n]
			count := func(canary, stable, bad int) {
				for i, pod := range pods {
					pod.count(asked{"hello-canary", "200", canary}, asked{"hello-stable", "200", stable * (i + 1)}, asked{"hello-stable", "500", bad})
				}
			}
			count(0, 100, 1)
			r, value := open(t, gateways(t, pods...))
			defer r.Close()
			eventually(t, "two scrapes that succeeded", func() bool { return value("min(sum_over_time(up[1m]))") >= 2 })
			count(1, 9, 0) // the canary's first ones are no division: its series were not there
			var divided, evidence [2]int64
			var placebo judge.Batch
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("evidence %v, divided %v, placebo %+v", evidence, divided, placebo)
				}
			})
			read := func() {
				got, err := r.Read(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range got.Counted {
					if !c.From.Before(c.To) || time.Since(c.From) > time.Minute {
						t.Errorf("counted from %v to %v", c.From, c.To)
					}
					divided[0], divided[1] = divided[0]+c.Canary, divided[1]+c.Stable
				}
				for _, s := range got.Samples {
					evidence[0], evidence[1] = evidence[0]+s.Batch.Canary.N, evidence[1]+s.Batch.Stable.N
				}
				for _, s := range got.Placebo {
					placebo.Canary.N, placebo.Canary.Bad = placebo.Canary.N+s.Batch.Canary.N, placebo.Canary.Bad+s.Batch.Canary.Bad
					placebo.Stable.N, placebo.Stable.Bad = placebo.Stable.N+s.Batch.Stable.N, placebo.Stable.Bad+s.Batch.Stable.Bad
				}
			}
			all := int64(n)
			turns := all * (all + 1) / 2 // of stable's requests in all pods
			eventually(t, "the first ones", func() bool { read(); return evidence[0] == all })
			count(10, 90, 2)
			more := int64(0) // of the canary's
			eventually(t, "the others", func() bool {
				read()
				if evidence[0] == 11*all+more && evidence[1] < 99*turns+2*all { // what is left of stable's waits for one
					pods[0].count(asked{"hello-canary", "200", 1})
					more++
				}
				return evidence[0] >= 11*all && evidence[1] == 99*turns+2*all
			})
			eventually(t, "the division", func() bool { read(); return divided[0] == 10*all+more })
			if divided[1] != 90*turns+2*all {
				t.Errorf("divided as %v, want %d and %d", divided, 10*all+more, 90*turns+2*all)
			}
			if n == 1 && placebo.Canary.N+placebo.Stable.N != 0 {
				t.Errorf("one pod is compared with itself: %+v", placebo)
			}
			if n == 2 {
				looks, rest := 0, int64(0) // of stable's of each pod
				eventually(t, "the placebo", func() bool {
					read()
					few, most := min(placebo.Canary.N, placebo.Stable.N), max(placebo.Canary.N, placebo.Stable.N)
					if looks++; looks%50 == 0 { // what is left of one pod's waits for the other's
						count(0, 1, 0)
						rest++
					}
					return few >= 101 && most >= 200
				})
				few, most := min(placebo.Canary.N, placebo.Stable.N), max(placebo.Canary.N, placebo.Stable.N)
				if few > 101+rest || most > 200+2*rest || placebo.Canary.Bad != 2 || placebo.Stable.Bad != 2 {
					t.Errorf("the pods' parts are %+v", placebo)
				}
			}
		})
	}
}

// watched tells what a store was told to scrape.
type watched struct {
	*history.Store
	quick atomic.Int64 // targets that are to be scraped quickly
}

func (w *watched) SetTargets(list []history.Target) {
	var n int64
	for _, t := range list {
		if t.Quick {
			n++
		}
	}
	w.quick.Store(n)
	w.Store.SetTargets(list)
}

// TestRouterIsScrapedQuicklyAfterAFailure: all of its pods, once the canary failed a
// request, and every request counts once across the change of pace.
func TestRouterIsScrapedQuicklyAfterAFailure(t *testing.T) {
	pods := []*router{{counts: map[string]int{}}, {counts: map[string]int{}}}
	count := func(code string, n int) {
		for _, pod := range pods {
			pod.count(asked{"hello-canary", code, n}, asked{"hello-stable", "200", 9 * n})
		}
	}
	for _, pod := range pods {
		pod.count(asked{"hello-stable", "200", 100}) // before the run
	}
	store := &watched{Store: opened(t)}
	r := reading(t, store, gateways(t, pods...))
	defer r.Close()
	var canary, bad, stable int64
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("evidence of %d requests, %d failed, and %d of stable", canary, bad, stable)
		}
	})
	read := func(n int64) func() bool {
		return func() bool {
			got, err := r.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range got.Samples {
				canary, bad, stable = canary+s.Batch.Canary.N, bad+s.Batch.Canary.Bad, stable+s.Batch.Stable.N
			}
			return canary == n
		}
	}
	eventually(t, "a scrape of both", func() bool {
		up, _, err := store.Value(t.Context(), "sum(up)", time.Now())
		return err == nil && up == 2
	})
	count("200", 1)
	eventually(t, "the first ones", read(2))
	if n := store.quick.Load(); n != 0 {
		t.Errorf("%d pods are scraped quickly although no request has failed", n)
	}
	count("500", 1)
	eventually(t, "the failures", read(4))
	if n := store.quick.Load(); n != 2 {
		t.Errorf("after failures %d of two pods are scraped quickly", n)
	}
	for i := range 20 {
		count("500", 1)
		eventually(t, "one more", read(int64(6+2*i)))
	}
	more := int64(0)
	eventually(t, "stable's", func() bool {
		read(0)()
		if canary == 44+more && stable < 9*44 { // what is left of stable's waits for one
			pods[0].count(asked{"hello-canary", "200", 1})
			more++
		}
		return stable == 9*44
	})
	if bad != 42 {
		t.Errorf("%d failures of 42 are evidence", bad)
	}
}
