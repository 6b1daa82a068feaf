package kubernetes

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/haldane-project/haldane/internal/load"
	"github.com/haldane-project/haldane/test/cluster"
)

// TestTimeToRollback: 20 % errors at 10 % of 200 requests a second, with the
// controller's own scraping of the gateway.
func TestTimeToRollback(t *testing.T) {
	newWorld(t, 2, "{weight: 10}, {weight: 50}").timesToRollback(long(3, 20))
}

// TestTimeToRollbackThroughPrometheus: the same evidence by way of a Prometheus
// server that scrapes the gateway every second.
func TestTimeToRollbackThroughPrometheus(t *testing.T) {
	w := newWorld(t, 2, "{weight: 10}, {weight: 50}")
	server := cluster.Prometheus(t, fmt.Sprintf(`
global: {scrape_interval: 1s, scrape_timeout: 900ms}
scrape_configs:
- {job_name: gateway, static_configs: [{targets: ["%s"]}]}
`, scraped(w.traefik)))
	w.declareFrom(fmt.Sprintf(`prometheus: {address: %q, layout: traefik, interval: 1s}`, server), canary("{weight: 10}, {weight: 50}"), errorsOnly)
	w.timesToRollback(long(3, 20))
}

// timesToRollback measures from the first bad answer to the last answer of the
// bad version at the client, and how many were bad. The times are figures for the
// log.
func (w *world) timesToRollback(runs int) {
	w.Helper()
	w.controller()
	w.phase("v1", "Promoted")
	tr := w.load(200)
	var offs, decisions []time.Duration
	var bad []int
	for i := range runs {
		version := fmt.Sprintf("bad-%d", i)
		decided := w.when(func(phase string) bool { return phase == "RollingBack" || phase == "RolledBack" }, version)
		w.deploy(version, 2, "ERRORS=0.2")
		w.phase(version, "RolledBack")
		shots := tr.all()
		off, failed, _ := span(shots, version)
		offs, bad = append(offs, off), append(bad, failed)
		decisions = append(decisions, (<-decided).Sub(firstFailure(shots, version)))
		w.Logf("%s: off after %v, %d bad answers, decided after %v: %s", version, off, failed, decisions[i], w.release().Status.Run.Why)
	}
	tr.end()
	if lost := lost(tr.all()); len(lost) > 0 {
		w.Errorf("%d requests were answered by no version, the first: %+v", len(lost), lost[0])
	}
	w.Logf("median: off after %v, %d bad answers, decided after %v", median(offs), median(bad), median(decisions))
}

// when tells the moment at which the release's run of a version was first seen
// in a phase.
func (w *world) when(is func(phase string) bool, version string) <-chan time.Time {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w.Cleanup(cancel)
	watch, err := w.Dynamic.Resource(releases).Namespace(w.ns).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	out := make(chan time.Time, 1)
	go func() {
		defer watch.Stop()
		for range watch.ResultChan() {
			if s := w.release().Status.Run; s != nil && s.To == version && is(s.Phase) {
				out <- time.Now()
				return
			}
		}
	}()
	return out
}

func firstFailure(shots []load.Shot, version string) time.Time {
	var at time.Time
	for _, s := range shots {
		if end := s.Due.Add(s.Latency); s.Version == version && s.Failed() && (at.IsZero() || end.Before(at)) {
			at = end
		}
	}
	return at
}

func median[T int | time.Duration](list []T) T {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}
