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
	eventually(t, "two scrapes", func() bool {
		v, ok, err := store.Value(t.Context(), "count_over_time(up[1m])", time.Now())
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
