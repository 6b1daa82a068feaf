package kubernetes

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/load"
)

// TestControllerKilledWithABadVersionLive: of two controllers the one that works
// is killed as soon as the bad version answers; the other one takes the traffic
// off.
func TestControllerKilledWithABadVersionLive(t *testing.T) {
	w := newWorld(t, 2, "{weight: 10}, {weight: 50}")
	first := w.controller("--leader-elect", "--leader-namespace", w.ns)
	w.phase("v1", "Promoted")
	w.controller("--leader-elect", "--leader-namespace", w.ns)
	tr := w.load(200)
	w.deploy("v2", 2, "ERRORS=0.2")
	w.until("v2 answers", func() error { return answered(tr, "v2") })
	first.kill()
	killed := time.Now()
	w.phase("v2", "RolledBack")
	tr.end()
	shots := tr.all()
	if bad := lost(shots); len(bad) > 0 {
		t.Errorf("%d of %d requests were answered by no version, the first: %+v", len(bad), len(shots), bad[0])
	}
	off, failed, all := span(shots, "v2")
	late := 0
	for _, s := range shots {
		if s.Version == "v2" && s.Due.After(killed) {
			late++
		}
	}
	t.Logf("%d requests; v2 answered %d, %d of them failed; from its first failure to its last answer %v; %d answers and %v after the kill",
		len(shots), all, failed, off, late, last(shots, "v2").Sub(killed))
	if late > takeover {
		t.Errorf("v2 answered %d requests after the kill, at most %d", late, takeover)
	}
}

// takeover bounds the answers of a bad version after the kill: the other
// controller may lead 5 s after the last renewal of the lease, in which v2 gets a
// tenth of 200 requests/s, and has as long again to find what is wrong.
const takeover = 2 * 5 * 200 / 10

// TestCanaryCrashesUnderTraffic: pods that die under load lose their traffic by
// their own end, and the route stays whole for the others. How many requests that
// costs is a figure for the log.
func TestCanaryCrashesUnderTraffic(t *testing.T) {
	w := newWorld(t, 2, "{weight: 10}, {weight: 50}")
	w.controller()
	w.phase("v1", "Promoted")
	var counts []int
	for i := range long(1, 10) {
		counts = append(counts, w.crash(fmt.Sprintf("v2-%d", i)))
	}
	t.Logf("median of %d: %d requests got no answer while the pods died", len(counts), median(counts))
}

// crash releases a version that ends under load and returns how many requests got
// no answer.
func (w *world) crash(version string) int {
	w.Helper()
	tr := w.load(200)
	taken := w.withdrawn()
	w.deploy(version, 2, "CRASH=20")
	w.phase(version, "RolledBack")
	why := w.release().Status.Run.Why
	tr.end()
	shots := tr.all()
	slices.SortFunc(shots, func(a, b load.Shot) int { return a.Due.Compare(b.Due) })
	bad := lost(shots)
	if len(bad) == 0 {
		w.Fatalf("%s ended under load and no request noticed", version)
	}
	begin := bad[0].Due.Add(bad[0].Latency)
	_, _, all := span(shots, version)
	w.Logf("%s: %d requests; it answered %d; %d got no answer while its pods died, the last %v after the first; the route was written after %v: %s",
		version, len(shots), all, len(bad), bad[len(bad)-1].Due.Sub(begin), (<-taken).Sub(begin), why)
	for _, s := range shots {
		if s.Version == "v1" && s.Failed() {
			w.Errorf("a request to v1 failed: %+v", s)
			break
		}
	}
	w.routeKept(shots)
	return len(bad)
}

// routeKept asserts that a version without pods took its own share only: one of
// three requests at most, so that twenty in a row are the route as a whole.
func (w *world) routeKept(shots []load.Shot) {
	w.Helper()
	sorted := slices.SortedFunc(slices.Values(shots), func(a, b load.Shot) int { return a.Due.Compare(b.Due) })
	row := 0
	for _, s := range sorted {
		if row++; s.Version != "" && s.Err == nil {
			row = 0
		}
		if row == 20 {
			w.Errorf("no version answered %d requests in a row, to %+v", row, s)
			return
		}
	}
}

// TestImageThatDoesNotExist: a version that never starts sees no traffic, and
// says why.
func TestImageThatDoesNotExist(t *testing.T) {
	w := newWorld(t, 1, "{weight: 10}")
	w.controller()
	w.phase("v1", "Promoted")
	tr := w.load(50)
	w.deployImage("v2", "haldane.test/absent:1", 1)
	w.phase("v2", "RolledBack")
	tr.end()
	shots := tr.all()
	if bad := lost(shots); len(bad) > 0 || answered(tr, "v2") == nil {
		t.Errorf("%d requests were lost; v2 answered: %v", len(bad), answered(tr, "v2") == nil)
	}
	why := w.release().Status.Run.Why
	t.Log(why)
	if !contains(why, "ErrImageNeverPull") {
		t.Errorf("the reason is %q", why)
	}
}
