package prometheus

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/metric/query"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/telemetry/history"
)

// shop reads, with a layout, what a real store scraped of one page, as a
// Prometheus server is read that scrapes a cluster. The names of the canary's
// pods may be changed.
func shop(t *testing.T, p *page, layout string, canaryPods *atomic.Pointer[string], metrics ...release.Metric) (metric.Reader, *Provider) {
	t.Helper()
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	store, err := history.Open(history.Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), Interval: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	store.SetTargets([]history.Target{{Instance: "cluster", URL: server.URL}})
	provider, err := New(Options{
		URL: "http://inside", Transport: Inside(store.QueryHandler()), Scraped: "up", Interval: 50 * time.Millisecond,
		Layout: Layouts[layout], Own: `namespace="$namespace",pod=~"$pods"`,
		Cluster: func(_ context.Context, _ release.Release, role string, _ release.VersionID) (*query.Cluster, error) {
			c := &query.Cluster{Namespace: "shop", Service: "hello-" + role, Pods: "hello-canary-1a-[a-z0-9]+"}
			if role == "canary" {
				c.Pods = *canaryPods.Load()
			}
			return c, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "two scrapes that succeeded", func() bool {
		v, ok, err := store.Value(t.Context(), "sum_over_time(up[1m])", time.Now())
		return err == nil && ok && v >= 2
	})
	r, err := provider.Open(t.Context(), subject(metrics...), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	eventually(t, "polls", func() bool { return provider.polls.Load() > 2 })
	return r, provider
}

// ownSeries are the counters of the systems whose series stand on the versions'
// own pods, as a server labels them: good and failed ones of one pod.
var ownSeries = map[string]string{
	"http": "http_server_request_duration_seconds_count{http_response_status_code=\"200\",%[1]s} %[2]d\n" +
		"http_server_request_duration_seconds_count{http_response_status_code=\"500\",%[1]s} %[3]d\n",
	"istio": "istio_requests_total{reporter=\"destination\",destination_workload=\"hello-canary\",response_code=\"200\",grpc_response_status=\"0\",%[1]s} %[2]d\n" +
		"istio_requests_total{reporter=\"destination\",destination_workload=\"hello-canary\",response_code=\"200\",grpc_response_status=\"13\",%[1]s} %[3]d\n",
	"linkerd": "response_total{direction=\"inbound\",deployment=\"hello-canary\",classification=\"success\",%[1]s} %[2]d\n" +
		"response_total{direction=\"inbound\",deployment=\"hello-canary\",classification=\"failure\",%[1]s} %[3]d\n",
}

// TestOwnPodsTellTheVersionsApart: after a promotion the pods that serve are
// those of the Deployment hello-canary that is gone, and the next run's canary
// has a Deployment of that name again; its pods are started when the run is
// under way.
func TestOwnPodsTellTheVersionsApart(t *testing.T) {
	for _, layout := range slices.Sorted(maps.Keys(ownSeries)) {
		t.Run(layout, func(t *testing.T) {
			pods := func(counts map[string][2]int) string {
				var b strings.Builder
				for _, pod := range slices.Sorted(maps.Keys(counts)) {
					fmt.Fprintf(&b, ownSeries[layout], fmt.Sprintf("namespace=%q,pod=%q", "shop", pod), counts[pod][0], counts[pod][1])
				}
				return b.String()
			}
			p, canaryPods := &page{}, &atomic.Pointer[string]{}
			nothing, some := "_", "hello-canary-2b-[a-z0-9]+"
			canaryPods.Store(&nothing)
			before := map[string][2]int{"hello-canary-1a-x7k2m": {500, 4}, "hello-canary-1a-p9q4z": {300, 2}}
			p.write("%s", pods(before))
			r, _ := shop(t, p, layout, canaryPods, release.Metric{Name: "errors", Kind: release.Errors})
			canaryPods.Store(&some)
			p.write("%s", pods(map[string][2]int{
				"hello-canary-1a-x7k2m": {520, 5}, "hello-canary-1a-p9q4z": {310, 2}, "hello-canary-2b-c8d3w": {6, 3}, "my-hello-canary-2b-c8d3w": {9, 9},
			}))
			sum := gather(t, r, func(s judge.Side) int64 { return s.N }, 31, 9)
			if sum[stable].Bad != 1 || sum[canary].Bad != 3 {
				t.Errorf("%d failed of stable and %d of the canary, want 1 and 3", sum[stable].Bad, sum[canary].Bad)
			}
		})
	}
}

// TestOwnPodsNeedACluster: $pods has no value elsewhere.
func TestOwnPodsNeedACluster(t *testing.T) {
	p, err := New(Options{URL: "http://127.0.0.1:1", Layout: Layouts["istio"], Own: `pod=~"$pods"`})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Open(t.Context(), subject(release.Metric{Name: "errors", Kind: release.Errors}), nil); err == nil || !contains(err.Error(), "on Kubernetes only") {
		t.Errorf("without a cluster: %v", err)
	}
}

// TestRoutersTellTheVersionsApart: what the routers' pages say, with the Services
// of other releases beside it; my-hello is one, hello-stable-2 another.
func TestRoutersTellTheVersionsApart(t *testing.T) {
	const (
		envoy = "envoy_cluster_upstream_rq{envoy_response_code=\"%[2]s\",envoy_cluster_name=\"%[1]s\"} %[3]d\n"
		nginx = "nginx_ingress_controller_requests{%[1]s,controller_class=\"k8s.io/ingress-nginx\",method=\"GET\",path=\"/\",status=\"%[2]s\"} %[3]d\n"
	)
	for name, c := range map[string]struct {
		layout, series         string
		stable, canary, others []string
	}{
		"contour": {"envoy", envoy, []string{"shop_hello-stable_80"}, []string{"shop_hello-canary_80"},
			[]string{"shop_my-hello-stable_80", "my-shop_hello-stable_80", "shop_hello-stable-2_80", "shop_my-hello-canary_80", "other_hello-canary_80"}},
		"kgateway": {"envoy", envoy, []string{"kube_shop_hello-stable_80"}, []string{"kube_shop_hello-canary_80"},
			[]string{"kube_shop_my-hello-stable_80", "kube_shop_my-hello-canary_80"}},
		"gloo": {"envoy", envoy, []string{"shop-hello-stable-80_gloo-system"}, []string{"shop-hello-canary-80_gloo-system"},
			[]string{"shop-my-hello-stable-80_gloo-system", "shop-my-hello-canary-80_gloo-system", "my-shop-hello-stable-80_gloo-system", "shop-hello-stable-2-80_gloo-system"}},
		"cilium": {"envoy", envoy, []string{"shop/cilium-gateway-public/shop:hello-stable:80"}, []string{"shop/cilium-gateway-public/shop:hello-canary:80"},
			[]string{"shop/cilium-gateway-hello-stable/shop:my-hello-stable:80", "shop/cilium-gateway-public/shop:my-hello-canary:80"}},
		"envoy gateway, which has one cluster for both": {"envoy", envoy, []string{"shop_hello-stable_80"}, []string{"shop_hello-canary_80"}, []string{"httproute/shop/hello/rule/0", "httproute/shop/my-hello/rule/0"}},
		"ingress-nginx": {"nginx", nginx,
			[]string{`canary="",exported_namespace="shop",ingress="hello",exported_service="hello-stable",namespace="ingress-nginx",service="metrics"`},
			[]string{`canary="shop-hello-canary-http",exported_namespace="shop",ingress="hello",exported_service="hello-stable",namespace="ingress-nginx",service="metrics"`},
			[]string{`canary="",exported_namespace="shop",ingress="my-hello",exported_service="my-hello-stable"`, `canary="shop-my-hello-canary-80",exported_namespace="shop",ingress="my-hello",exported_service="my-hello-stable"`}},
	} {
		t.Run(name, func(t *testing.T) {
			write := func(p *page, names []string, good, failed int) {
				for _, n := range names {
					p.text += fmt.Sprintf(c.series, n, "200", good) + fmt.Sprintf(c.series, n, "503", failed)
				}
			}
			p, pods := &page{}, &atomic.Pointer[string]{}
			none := "_"
			pods.Store(&none)
			write(p, c.stable, 100, 3)
			write(p, c.canary, 0, 0)
			write(p, c.others, 0, 0)
			r, _ := shop(t, p, c.layout, pods, release.Metric{Name: "errors", Kind: release.Errors})
			p.mu.Lock()
			p.text = ""
			write(p, c.stable, 120, 5)
			write(p, c.canary, 6, 3)
			write(p, c.others, 70, 70)
			p.mu.Unlock()
			sum := gather(t, r, func(s judge.Side) int64 { return s.N }, 22, 9)
			if sum[stable].Bad != 2 || sum[canary].Bad != 3 {
				t.Errorf("%d failed of stable and %d of the canary, want 2 and 3", sum[stable].Bad, sum[canary].Bad)
			}
		})
	}
}

// TestFailuresOfGRPCBehindTraefik: NOT_FOUND (5) is the client's matter.
func TestFailuresOfGRPCBehindTraefik(t *testing.T) {
	l, err := Layouts["traefik"].compile()
	if err != nil {
		t.Fatal(err)
	}
	for code, want := range map[string]bool{"200": false, "404": false, "503": true, "0": false, "2": false, "5": false, "13": true, "14": true} {
		if got := l.isFailed(map[string]string{"code": code}); got != want {
			t.Errorf("code %s is a failure: %v, want %v", code, got, want)
		}
	}
}

// TestNothingIsRenamedForTheOwnScraper: no label of its targets stands in the way.
func TestNothingIsRenamedForTheOwnScraper(t *testing.T) {
	l := Layouts["nginx"].Unrenamed()
	want := `nginx_ingress_controller_requests{namespace="$namespace",service="$service",canary=~"-?"}`
	if l.Requests != want || strings.Contains(l.Buckets+l.Canary.Requests+l.Canary.Buckets, "exported_") {
		t.Errorf("got %+v and %+v", l, *l.Canary)
	}
	if !strings.Contains(Layouts["nginx"].Canary.Requests, "exported_") {
		t.Error("the known layout was changed")
	}
}
