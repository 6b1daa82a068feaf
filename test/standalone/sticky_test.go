package standalone

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/judge"
)

// sticky is a plan of one long step whose users keep their version.
const sticky = `, sticky: {header: X-User}}
  strategy:
    canary: {steps: [{weight: 50, hold: 30m}]}
    bake: 200ms
  analysis: {metrics: [{name: errors, kind: errors}]}
`

// applySticky applies a version of the sticky release.
func (d *daemon) applySticky(v version) {
	d.t.Helper()
	text := string(d.manifest(v, ""))
	text = strings.TrimSuffix(strings.TrimRight(text, "\n"), "}") + sticky
	if _, err := d.api.Apply(context.Background(), d.name, []byte(text), client.ApplyOptions{}); err != nil {
		d.t.Fatalf("apply %s: %v", v.name, err)
	}
}

// post sends a request of a user, one that is not shielded, and returns the
// version that answered.
func (d *daemon) post(user string) string {
	d.t.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://"+d.front+"/", nil)
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("X-User", user)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.Header.Get("X-Version")
}

// until waits for a look of a run.
func (d *daemon) until(run, what string, ok func(judge.Report) bool) judge.Report {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if looks, err := d.api.Looks(ctx, run, 1); err == nil && len(looks) == 1 && ok(looks[0].Report) {
			return looks[0].Report
		}
		select {
		case <-ctx.Done():
			d.t.Fatalf("waited for %s", what)
		case <-tick.C:
		}
	}
}

// TestOneUserIsOneUnit: a user of a sticky release whose hundred requests to the
// canary all fail, as they would with stable, is one unit and rolls nothing
// back; a version that fails many users does.
func TestOneUserIsOneUnit(t *testing.T) {
	d := start(t)
	d.applySticky(version{name: "v1", env: map[string]string{"FAILS_FOR": "broken"}})
	d.serves("v1")
	d.applySticky(version{name: "v2", env: map[string]string{"FAILS_FOR": "broken,new"}})
	rel := d.wait("v2 to have half of the users", func(r v1alpha1.Release) bool {
		return r.Status.Run != nil && r.Status.Run.To == "v2" && r.Status.Phase == "Progressing" && r.Status.Weight == "50%"
	})
	for i := range 400 {
		d.post(fmt.Sprintf("good-%d", i))
	}
	user := ""
	for i := 0; user == ""; i++ {
		if name := fmt.Sprintf("broken-%d", i); d.post(name) == "v2" {
			user = name
		}
	}
	for range 100 {
		if v := d.post(user); v != "v2" {
			t.Fatalf("%s was answered by %s, users keep their version", user, v)
		}
	}
	rep := d.until(rel.Status.Run.Name, "the hundred failures to be judged", func(r judge.Report) bool {
		return len(r.Metrics) == 1 && r.Metrics[0].Canary.Bad >= 101
	})
	t.Logf("%d of %d canary requests failed, %.2f of %.2f nats against it; %s", rep.Metrics[0].Canary.Bad, rep.Canary, rep.LogE, rep.Threshold, rep.Placebo.Finding)
	if rep.Verdict == judge.Fail || rep.Pause != "" {
		t.Errorf("one user's failures made it %s, pause %q", rep.Verdict, rep.Pause)
	}
	for i := range 60 {
		d.post(fmt.Sprintf("new-%d", i))
	}
	d.ends("v2", "RolledBack")
}
