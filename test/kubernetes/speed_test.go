package kubernetes

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/haldane-project/haldane/internal/load"
	"github.com/haldane-project/haldane/test/cluster"
)

// plain is a Release that leaves to the defaults what it can: the metrics are
// errors and latency.
const plain = `
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: {name: hello}
spec:
  workload: {deployment: {name: hello}}
  traffic: {gatewayAPI: {service: hello, routes: [{name: hello}]}}
  strategy: {canary: {steps: [{weight: 10}, {weight: 50}]}}
  analysis: {%s}
`

// TestTimeToRollback: 20 % errors at 10 % of 200 requests a second, with the
// controller's own scraping of the gateway, by itself and beside idle releases.
func TestTimeToRollback(t *testing.T) {
	w := newWorld(t, 2, "{weight: 10}")
	w.Apply(t, w.ns, fmt.Sprintf(plain, fmt.Sprintf(`scrape: {addresses: ["%s"], layout: traefik}`, scraped(w.traefik))))
	w.timesToRollback(long(3, 20))
}

// TestTimeToRollbackThroughPrometheus: the same evidence by way of a Prometheus
// server that scrapes the gateway every second.
func TestTimeToRollbackThroughPrometheus(t *testing.T) {
	w := newWorld(t, 2, "{weight: 10}")
	server := w.prometheus()
	w.Apply(t, w.ns, fmt.Sprintf(plain, fmt.Sprintf(`prometheus: {address: %q, layout: traefik, interval: 1s}`, server)))
	w.timesToRollback(long(3, 20))
}

// prometheus starts a server that scrapes the gateway every second.
func (w *world) prometheus() string {
	w.Helper()
	return cluster.Prometheus(w.T, fmt.Sprintf(`
global: {scrape_interval: 1s, scrape_timeout: 900ms}
scrape_configs:
- {job_name: gateway, static_configs: [{targets: ["%s"]}]}
`, scraped(w.traefik)))
}

// timesToRollback measures from the first bad answer to the last answer of the
// bad version at the client, and how many were bad. The times are figures for the
// log.
func (w *world) timesToRollback(runs int) {
	w.Helper()
	w.controller()
	w.phase("v1", "Promoted")
	w.measure("alone", runs)
	n := long(50, 500)
	w.idle(n)
	w.measure(fmt.Sprintf("beside-%d-idle", n), runs)
}

// measure releases bad versions one after the other.
func (w *world) measure(name string, runs int) {
	w.Helper()
	tr := w.load(200)
	var times []course
	for i := range runs {
		c := w.badVersion(tr, fmt.Sprintf("%s-%d", name, i))
		w.Logf("%s: %v", name, c)
		times = append(times, c)
	}
	tr.end()
	if lost := lost(tr.all()); len(lost) > 0 {
		w.Errorf("%d requests were answered by no version, the first: %+v", len(lost), lost[0])
	}
	of := func(part func(course) time.Duration) time.Duration {
		var list []time.Duration
		for _, c := range times {
			list = append(list, part(c))
		}
		return median(list)
	}
	var bad []int
	for _, c := range times {
		bad = append(bad, c.bad)
	}
	w.Logf("%s, median of %d: off after %v, %d bad answers; the route is written after %v, the status after %v", name, runs,
		of(func(c course) time.Duration { return c.off }), median(bad),
		of(func(c course) time.Duration { return c.written }), of(func(c course) time.Duration { return c.decided }))
	if n := median(bad); n > mostBad {
		w.Errorf("the median of the bad answers is %d, at most %d", n, mostBad)
	}
}

// mostBad of 4 bad answers a second is what a busy machine makes of the figures
// in docs/kubernetes.md, and far from what waiting for a fixed sample would be.
const mostBad = 40

// course is what became of one bad version, as times since its first bad answer
// at the client.
type course struct {
	written time.Duration // the route has lost it
	decided time.Duration // the status says so
	off     time.Duration // its last answer
	bad     int           // answers
	why     string
}

func (c course) String() string {
	return fmt.Sprintf("off after %v, %d bad answers; route written after %v, status after %v: %s", c.off, c.bad, c.written, c.decided, c.why)
}

// badVersion releases one and waits until it is rolled back.
func (w *world) badVersion(tr *traffic, version string) course {
	w.Helper()
	decided := w.when(releases, func(u *unstructured.Unstructured) bool {
		to, _, _ := unstructured.NestedString(u.Object, "status", "run", "to")
		phase, _, _ := unstructured.NestedString(u.Object, "status", "run", "phase")
		return to == version && (phase == "RollingBack" || phase == "RolledBack")
	})
	written := w.withdrawn()
	w.deploy(version, 2, "ERRORS=0.2")
	w.phase(version, "RolledBack")
	shots := tr.all()
	first := firstFailure(shots, version)
	off, failed, _ := span(shots, version)
	return course{off: off, bad: failed, written: (<-written).Sub(first), decided: (<-decided).Sub(first), why: w.release().Status.Run.Why}
}

// withdrawn tells when the route has led to a canary and does no longer.
func (w *world) withdrawn() <-chan time.Time {
	w.Helper()
	had := false
	return w.when(httpRoutes, func(u *unstructured.Unstructured) bool {
		to := contains(fmt.Sprint(u.Object["spec"]), "hello-canary")
		had = had || to
		return had && !to
	})
}

// when tells the moment at which an object hello was first seen to be so.
func (w *world) when(gvr schema.GroupVersionResource, is func(*unstructured.Unstructured) bool) <-chan time.Time {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w.Cleanup(cancel)
	events, err := w.Dynamic.Resource(gvr).Namespace(w.ns).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=hello"})
	if err != nil {
		w.Fatal(err)
	}
	out := make(chan time.Time, 1)
	go func() {
		defer events.Stop()
		for e := range events.ResultChan() {
			at := time.Now()
			if u, ok := e.Object.(*unstructured.Unstructured); ok && e.Type != watch.Bookmark && is(u) {
				out <- at
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
