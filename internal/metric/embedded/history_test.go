package embedded_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/haldane-project/haldane/internal/metric/embedded"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/telemetry/history"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestQueryOnTheRealStore scrapes two real servers and reads what a declared
// query says of them.
func TestQueryOnTheRealStore(t *testing.T) {
	w := newWorld(release.Metric{Name: "queue", Kind: release.Gauge,
		Source: release.Source{Prometheus: `avg(queue_length{release="$release",version="$version"})`}})
	store, err := history.Open(history.Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), Interval: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var targets []history.Target
	for value, version := range map[int]release.VersionID{3: w.subject.Stable.ID, 8: w.subject.Canary.ID} {
		server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(out, "queue_length %d\n", value)
		}))
		defer server.Close()
		targets = append(targets, history.Target{Release: "hello", Version: string(version), Instance: "0", URL: server.URL + "/metrics"})
	}
	store.SetTargets(targets)
	r := w.open(t, embedded.New(w.recorder, store), nil)
	defer r.Close()
	deadline := time.After(5 * time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-deadline:
			t.Fatalf("no value within five minutes: %+v", read(t, r))
		case <-tick.C:
		}
		if got := values(read(t, r), 0); len(got) > 0 {
			if got[0] != [2]float64{3, 8} {
				t.Errorf("read %v, want [3 8]", got[0])
			}
			return
		}
	}
}
