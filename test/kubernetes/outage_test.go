package kubernetes

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/load"
	"github.com/haldane-project/haldane/test/cluster"
)

// TestOutages: midway in a run, under load, the Prometheus server is away, then
// the API server, then both at once. A good version has the share that it had and
// is promoted once they are back; one that turns bad while both are away loses
// its traffic as soon as the controller can write.
func TestOutages(t *testing.T) {
	onlyLong(t)
	w := newWorld(t, 2, "{weight: 10}")
	server := w.prometheus()
	evidence := cluster.NewWire(t, strings.TrimPrefix(server, "http://"))
	api := cluster.NewWire(t, strings.TrimPrefix(w.Config.Host, "https://"))
	const away = time.Minute
	strategy := fmt.Sprintf("{canary: {steps: [{weight: 20, hold: %v}, {weight: 50}]}, bake: 2s}", away/2)
	w.declareFrom(fmt.Sprintf(`prometheus: {address: "http://%s", layout: traefik, interval: 1s}`, evidence.Address), strategy, errorsOnly)
	w.through(api)
	w.phase("v1", "Promoted")
	tr := w.load(100)
	outage := func(version string, cut ...*cluster.Wire) {
		t.Helper()
		w.deploy(version, 2)
		w.until(version+" has its share", func() error { return answered(tr, version) })
		for _, x := range cut {
			x.Cut()
		}
		began := time.Now()
		time.Sleep(away) // the outage
		held(w, tr.all(), version, began.Add(2*time.Second))
		for _, x := range cut {
			x.Mend()
		}
	}
	outage("v2", evidence)
	w.phase("v2", "Promoted")
	outage("v3", api)
	w.phase("v3", "Promoted")
	outage("v4", api, evidence)
	w.phase("v4", "Promoted")

	w.deploy("v5", 2)
	w.until("v5 has its share", func() error { return answered(tr, "v5") })
	api.Cut()
	evidence.Cut()
	w.fail("v5")
	time.Sleep(away) // the outage
	evidence.Mend()
	api.Mend()
	back := time.Now()
	w.phase("v5", "RolledBack")
	tr.end()
	w.onlyBad(tr, "v5")
	t.Logf("the traffic of the version that failed meanwhile was off %v after both were back",
		last(tr.all(), "v5").Sub(back).Round(10*time.Millisecond))
}

// TestPrometheusStandsBy: the controller's own scraping is lost midway, for good.
// The run goes on with what a Prometheus server tells of the same gateway: a good
// version is proven and promoted, and one that fails is off.
func TestPrometheusStandsBy(t *testing.T) {
	w := newWorld(t, 2, "{weight: 10}")
	server := w.prometheus()
	own := cluster.NewWire(t, scraped(w.traefik))
	sources := fmt.Sprintf(`scrape: {addresses: ["%s"], layout: traefik}
    prometheus: {address: %q, layout: traefik, interval: 1s}`, own.Address, server)
	w.declareFrom(sources, "{canary: {steps: [{weight: 20, hold: 20s}, {weight: 50}]}, bake: 2s}", errorsOnly)
	w.controller()
	w.phase("v1", "Promoted")
	tr := w.load(200)

	w.deploy("v2", 2)
	w.until("v2 answers", func() error { return answered(tr, "v2") })
	w.until("what the controller scrapes is evidence", w.compared)
	own.Cut()
	w.phase("v2", "Promoted")

	w.deploy("v3", 2, "ERRORS=0.3")
	w.phase("v3", "RolledBack")
	tr.end()
	w.Logf("v3: %s", w.release().Status.Run.Why)
	w.onlyBad(tr, "v3")
}

// compared tells an error until requests of both versions were compared.
func (w *world) compared() error {
	run := w.release().Status.Run
	if run == nil {
		return errors.New("there is no run")
	}
	for _, m := range run.Metrics {
		if run.CanaryRequests > 0 && run.StableRequests > 0 && m.Canary != "" && m.Canary != "no data" {
			return nil
		}
	}
	return fmt.Errorf("the metrics are %+v", run.Metrics)
}

// held asserts that a version's share stayed a fifth while something was away.
func held(w *world, shots []load.Shot, version string, since time.Time) {
	w.Helper()
	n, all := 0, 0
	for _, s := range shots {
		if s.Due.Before(since) {
			continue
		}
		all++
		if s.Version == version {
			n++
		}
	}
	if share := float64(n) / float64(max(all, 1)); share < 0.1 || share > 0.3 {
		w.Errorf("%s answered %d of %d requests during the outage, expected about a fifth", version, n, all)
	}
}

// through starts a controller that reaches the API server by a wire and leads by
// a lease.
func (w *world) through(api *cluster.Wire) {
	w.Helper()
	config := w.account()
	config.Host, config.ServerName = "https://"+api.Address, "kubernetes.default.svc"
	w.keep(writeKubeconfig(w.T, config), "-n", w.ns, "--leader-elect", "--leader-namespace", w.ns)
}
