package scraped_test

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
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

// BenchmarkVerdict: from the moment in which a router counted the third failure of
// the canary, mostly the last that the judge needs, to its verdict, for intervals
// between scrapes, and the processor time of scraping and reading a router's page of
// a thousand series.
func BenchmarkVerdict(b *testing.B) {
	for _, every := range []time.Duration{250 * time.Millisecond, 100 * time.Millisecond} {
		b.Run(every.String(), func(b *testing.B) {
			gateway := &router{counts: map[string]int{}}
			for i := range 1000 {
				gateway.counts[fmt.Sprintf("traefik_service_request_duration_seconds_bucket{service=\"other-%d\",le=\"0.1\"}", i)] = i
			}
			server := httptest.NewServer(http.HandlerFunc(gateway.ServeHTTP))
			defer server.Close()
			store, err := history.Open(history.Options{Dir: b.TempDir(), Log: slog.New(slog.DiscardHandler), Interval: every})
			if err != nil {
				b.Fatal(err)
			}
			defer store.Close()
			p := scraped.New(scraped.Options{Store: store, Provider: func(_ release.Release, base prometheus.Options) (*prometheus.Provider, error) {
				base.Layout = prometheus.Layouts["traefik"]
				base.Cluster = func(_ context.Context, _ release.Release, role string, _ release.VersionID) (*query.Cluster, error) {
					return &query.Cluster{Namespace: "shop", Service: "hello-" + role}, nil
				}
				return prometheus.New(base)
			}})
			rel := release.Release{Name: "shop/hello", Analysis: release.Analysis{Scrape: &release.Scrape{
				Addresses: []string{strings.TrimPrefix(server.URL, "http://")}, Path: "/metrics", Interval: every}}}
			var took []float64
			var before, after syscall.Rusage
			_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
			began := time.Now()
			for range b.N {
				took = append(took, float64(verdictAfter(b, p, rel, gateway).Microseconds())/1000)
			}
			_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
			slices.Sort(took)
			b.ReportMetric(took[len(took)/2], "ms-median")
			b.ReportMetric(took[len(took)*9/10], "ms-p90")
			cpu := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
			b.ReportMetric(100*cpu.Seconds()/time.Since(began).Seconds(), "%cpu")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// verdictAfter lets the canary fail three times, as often as a fifth of its requests
// would, from some moment of a new run on.
func verdictAfter(b *testing.B, p *scraped.Provider, rel release.Release, gateway *router) time.Duration {
	b.Helper()
	metrics := []release.Metric{{Name: "errors", Kind: release.Errors}}
	r, err := p.Open(context.Background(), metric.Subject{
		Release: rel, Run: "shop/hello-1", Started: time.Now(), Metrics: metrics,
		Stable: release.Version{ID: "stable", Name: "v1"}, Canary: release.Version{ID: "canary", Name: "v2"},
	}, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	run, err := judge.New(judge.Policy{Alpha: 0.01, AlphaPromote: 0.05, Horizon: 1800, Looseness: []float64{1},
		Metrics: []judge.Metric{{Name: "errors", Kind: judge.Proportion, Share: 1, Limit: math.NaN()}}}, []judge.History{{N: 10_000, Bad: 10}})
	if err != nil {
		b.Fatal(err)
	}
	serve := func(good, bad int) {
		gateway.count(asked{"hello-canary", "200", good}, asked{"hello-canary", "500", bad}, asked{"hello-stable", "200", 9 * (good + bad)})
	}
	failed, failing, limit := 0, time.Time{}, time.After(30*time.Second)
	next := time.After(time.Second + time.Duration(rand.IntN(250))*time.Millisecond)
	load := time.NewTicker(50 * time.Millisecond) // 200 requests a second, a tenth of them to the canary
	defer load.Stop()
	for {
		select {
		case <-limit:
			b.Fatal("no verdict")
		case <-load.C:
			serve(1, 0)
		case <-next:
			serve(0, 1)
			failed, failing = failed+1, time.Now()
			next = time.After(time.Duration(125+rand.IntN(250)) * time.Millisecond)
			if failed == 3 {
				next = time.After(time.Second) // the third is mostly enough
			}
		case <-r.Wake():
			got, err := r.Read(context.Background())
			if err != nil {
				b.Fatal(err)
			}
			for _, s := range got.Samples {
				if err := run.Update(0, s.Batch); err != nil {
					b.Fatal(err)
				}
			}
			if run.Report(0).Verdict == judge.Fail {
				return time.Since(failing)
			}
		}
	}
}
