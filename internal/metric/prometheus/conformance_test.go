package prometheus

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/metric/metrictest"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/telemetry/history"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// app is a version's process: it counts its requests as OpenTelemetry does.
type app struct {
	mu     sync.Mutex
	counts map[string]int
}

func (a *app) serve(good, failed int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.counts["200"] += good
	a.counts["503"] += failed
}

func (a *app) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for code, n := range a.counts {
		if n > 0 {
			fmt.Fprintf(w, "http_server_request_duration_seconds_count{http_response_status_code=%q} %d\n", code, n)
		}
	}
}

func subject(metrics ...release.Metric) metric.Subject {
	return metric.Subject{
		Release: release.Release{Name: "hello"}, Run: "hello-1", Started: time.Now(), Metrics: metrics,
		Stable: release.Version{ID: "stable0000", Name: "v1"}, Canary: release.Version{ID: "canary0000", Name: "v2"},
	}
}

// TestConformance runs the suite against a real store behind the real HTTP API,
// which scrapes two real servers.
func TestConformance(t *testing.T) {
	here := func(t *testing.T, f func(*testing.T)) { f(t) }
	metrictest.Run(t, here, func(t *testing.T) metrictest.Harness {
		s := subject(release.Metric{Name: "errors", Kind: release.Errors}, release.Metric{Name: "again", Kind: release.Errors})
		store, err := history.Open(history.Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), Interval: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close() })
		apps := map[release.VersionID]*app{}
		var targets []history.Target
		for _, v := range []release.VersionID{s.Stable.ID, s.Canary.ID} {
			apps[v] = &app{counts: map[string]int{}}
			server := httptest.NewServer(apps[v])
			t.Cleanup(server.Close)
			targets = append(targets, history.Target{Release: "hello", Version: string(v), Instance: "0", URL: server.URL})
		}
		apps[s.Stable.ID].serve(100, 3) // stable ran before
		store.SetTargets(targets)
		server := httptest.NewServer(store.QueryHandler())
		t.Cleanup(server.Close)
		p, err := New(Options{URL: server.URL, Interval: 50 * time.Millisecond, Stale: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.client.http.CloseIdleConnections)
		ask := func(query string) string {
			resp, err := server.Client().Get(server.URL + "/api/v1/query?query=" + url.QueryEscape(query))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		total := func() string { return ask("sum(http_server_request_duration_seconds_count)") }
		eventually(t, "the first scrape", func() bool { return contains(total(), `"103"`) })
		sum := 103
		return metrictest.Harness{
			Provider: p, Subject: s,
			Serve: func(v release.VersionID, good, failed int) {
				// One that is under way began before the reader was opened, and may yet
				// read what is served now.
				now := fmt.Sprintf("%.3f", seconds(time.Now()))
				eventually(t, "scrapes that began later", func() bool { return contains(ask("count(timestamp(up) > "+now+")"), `"2"`) })
				sum += good + failed
				apps[v].serve(good, failed)
				eventually(t, "the scrape", func() bool { return contains(total(), fmt.Sprintf("%q", fmt.Sprint(sum))) })
				seen := p.polls.Load()
				eventually(t, "the poll", func() bool { return p.polls.Load() >= seen+2 })
			},
			Silence: func() { // what came is old from now on, but for some scrapes
				p.options.Stale = time.Nanosecond
				seen := p.polls.Load()
				eventually(t, "polls that bring nothing", func() bool { return p.polls.Load() >= seen+10 })
			},
		}
	})
}

// eventually polls: servers and scrapes are real.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-deadline:
			t.Fatalf("%s: not within ten minutes", what)
		case <-tick.C:
		}
	}
}
