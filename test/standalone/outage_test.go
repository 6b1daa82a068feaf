package standalone

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestTotalOutage: a version that fails every request at a weight of 10 % is
// taken off by at most 5 of its requests on average, and users see no error,
// since GET is shielded. How many come until a machine has looked, and until the
// traffic is off, is logged.
func TestTotalOutage(t *testing.T) {
	runs := long(5, 50)
	d := start(t)
	d.apply(version{name: "v1", env: map[string]string{"ERRORS": "0"}}, judged)
	d.serves("v1")
	users := d.load(300, nil)
	var sum, least int64
	var late []time.Duration
	for i := range runs {
		file := filepath.Join(t.TempDir(), "hits")
		name := fmt.Sprintf("bad%d", i)
		d.apply(version{name: name, env: map[string]string{"ERRORS": "1", "HITS": file}}, judged)
		rel := d.ends(name, "RolledBack")
		if rel.Status.Run.Cause != "VerdictFail" {
			t.Fatalf("run %d ended by %s: %s", i, rel.Status.Run.Cause, rel.Status.Message)
		}
		h := readHits(t, file)
		sum += int64(len(h))
		least += d.needed(d.policy(judged), d.evidence(rel.Status.Run.Name)).least
		if len(h) == 0 || rel.Status.Run.CanaryRequests == 0 {
			t.Fatalf("run %d ended without a request of the canary: %s", i, rel.Status.Message)
		}
		deciding := int(min(rel.Status.Run.CanaryRequests, int64(len(h))))
		late = append(late, h[len(h)-1].Sub(h[deciding-1]))
	}
	rep := users.stop()
	slices.Sort(late)
	mean := float64(least) / float64(runs)
	t.Logf("%d runs: %.2f canary requests on average needed, %.2f until traffic was off; last request after the deciding one: median %v, worst %v; users saw %d errors in %d requests",
		runs, mean, float64(sum)/float64(runs), late[len(late)/2], late[len(late)-1], rep.Failed, rep.Requests)
	if mean > 5 {
		t.Errorf("%.2f canary requests were needed on average, expected at most 5", mean)
	}
	if rep.Failed != 0 {
		t.Errorf("users saw %d errors of %d requests: %v %v", rep.Failed, rep.Requests, rep.ByStatus, rep.ByCause)
	}
}
