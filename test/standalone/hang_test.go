package standalone

import (
	"fmt"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/store"
)

// TestHangingVersionIsRolledBack: a version that is ready and does not answer,
// all requests or some, is rolled back while its requests still hang: long
// before the proxy gives them up (60 s), and although its users give up by
// themselves (after 10 s) and then count as nobody's fault.
func TestHangingVersionIsRolledBack(t *testing.T) {
	d := start(t)
	d.givesUp = 10 * time.Second
	d.apply(version{name: "v1", env: map[string]string{"LATENCY_MS": "2"}}, judged)
	d.serves("v1")
	users := d.load(200, nil)
	for i, share := range []string{"1", "0.3"} {
		name := fmt.Sprintf("bad%d", i)
		d.apply(version{name: name, env: map[string]string{"LATENCY_MS": "2", "HANGS": share}}, judged)
		rel := d.ends(name, "RolledBack")
		run := rel.Status.Run
		t.Logf("%s of the requests hang: %s", share, rel.Status.Message)
		if run.Cause != "VerdictFail" {
			t.Errorf("%s ended by %s: %s", name, run.Cause, rel.Status.Message)
		}
		for _, e := range d.events(run.Name) {
			t.Logf("%.1f s: %s", e.At.Sub(run.Started.Time).Seconds(), e.Reason)
		}
	}
	if rep := users.stop(); rep.Requests == 0 || float64(rep.Failed) > 0.1*float64(rep.Requests) {
		t.Errorf("%d of %d requests failed: %v", rep.Failed, rep.Requests, rep.ByCause)
	}
}

// events are those of one run.
func (d *daemon) events(run string) (of []store.StoredEvent) {
	d.t.Helper()
	for _, e := range allEvents(d.t, d.api) {
		if e.Run == run {
			of = append(of, e)
		}
	}
	return of
}
