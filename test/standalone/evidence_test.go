package standalone

import (
	"bytes"
	"context"
	"io"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/manifest"
	"github.com/haldane-project/haldane/internal/rollout"
)

// policy is what a run of the manifest is judged by.
func (d *daemon) policy(rest string) judge.Policy {
	d.t.Helper()
	_, rel, err := manifest.Parse("release.yaml", d.manifest(version{name: "v2"}, rest))
	if err != nil {
		d.t.Fatal(err)
	}
	return rollout.Policy(rel.Analysis, rel.Strategy.Compile(rel.Analysis, rel.Replicas))
}

// evidence is what the judge of a run took in.
func (d *daemon) evidence(run string) []byte {
	d.t.Helper()
	e, err := d.api.Evidence(context.Background(), run)
	if err != nil {
		d.t.Fatal(err)
	}
	defer e.Close()
	lines, err := io.ReadAll(e)
	if err != nil || e.Cut || len(lines) == 0 {
		d.t.Fatalf("the evidence of %s: %d bytes, cut: %v, %v", run, len(lines), e.Cut, err)
	}
	return lines
}

func (d *daemon) last(run string) judge.Report {
	d.t.Helper()
	looks, err := d.api.Looks(context.Background(), run, 1)
	if err != nil || len(looks) != 1 {
		d.t.Fatalf("the last look of %s: %d, %v", run, len(looks), err)
	}
	return looks[0].Report
}

func replay(t *testing.T, p judge.Policy, lines []byte) judge.Replayed {
	t.Helper()
	r, err := judge.Replay(p, bytes.NewReader(lines), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// needed is how many canary requests a run took to fail, as its evidence tells: at
// most what the judge had by then, and at least one more than it had before the
// batch that decided. How many come in one batch is a matter of how soon a busy
// machine lets it look.
type needed struct {
	least, most int64
	at          float64 // seconds
}

func (d *daemon) needed(p judge.Policy, lines []byte) needed {
	d.t.Helper()
	before := map[string]int64{} // by metric
	var n needed
	_, err := judge.Replay(p, bytes.NewReader(lines), 0, func(l judge.Look) error {
		if n.most == 0 && l.Verdict == judge.Fail {
			n = needed{least: before[l.Metric] + 1, most: l.Canary, at: l.At}
		}
		before[l.Metric] = l.Canary
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
	if n.most == 0 {
		d.t.Fatal("the run was rolled back, its evidence does not say why")
	}
	return n
}

// TestEvidenceIsReplayed: the evidence of a run that was rolled back, judged
// again by its policy, fails for the same reason with the same figures; by a
// policy that tolerates what the version did, it does not.
func TestEvidenceIsReplayed(t *testing.T) {
	d := start(t)
	d.apply(version{name: "v1", env: map[string]string{"ERRORS": "0.01"}}, judged)
	d.serves("v1")
	users := d.load(300, nil)
	d.apply(version{name: "v2", env: map[string]string{"ERRORS": "0.2"}}, judged)
	rel := d.ends("v2", "RolledBack")
	users.stop()
	run := rel.Status.Run.Name
	lines, seen := d.evidence(run), d.last(run)
	again := replay(t, d.policy(judged), lines)
	t.Logf("%d lines, %d bytes; then %s at %.9g nats, again %s at %.9g nats, decided at line %d after %.1f s",
		bytes.Count(lines, []byte("\n")), len(lines), seen.Verdict, seen.LogE, again.Report.Verdict, again.Report.LogE, again.Deciding.Line, again.Deciding.At)
	if again.Report.Verdict != judge.Fail || !cmp.Equal(again.Report.Blame, seen.Blame) {
		t.Errorf("it was %s for %v, again it is %s for %v", seen.Verdict, seen.Blame, again.Report.Verdict, again.Report.Blame)
	}
	if again.Report.Canary != seen.Canary || again.Report.Stable != seen.Stable {
		t.Errorf("%d and %d requests were judged, again it is %d and %d", seen.Canary, seen.Stable, again.Report.Canary, again.Report.Stable)
	}
	for i, m := range seen.Metrics {
		if math.Abs(m.LogE-again.Report.Metrics[i].LogE) > 1e-6 {
			t.Errorf("%s spoke with %v nats, again it is %v", m.Name, m.LogE, again.Report.Metrics[i].LogE)
		}
	}
	other := judged + `
  analysis: {metrics: [{name: errors, kind: errors, onFail: watch}, {name: latency, kind: latency, onFail: watch}]}
`
	if r := replay(t, d.policy(other), lines); r.Deciding != nil && r.Deciding.Verdict == judge.Fail {
		t.Errorf("by a policy that only watches it fails: %+v", r.Deciding)
	}
}

// TestEvidenceOutlivesKills: kill -9 at some moments of a run; the evidence
// that is kept is that of the judge, neither more nor less, and no more
// requests than the version got.
func TestEvidenceOutlivesKills(t *testing.T) {
	const plan = `
  strategy:
    canary: {steps: [{weight: 20, minRequests: 100000}]}
  analysis: {falseRollback: 0.01%}
`
	data, front := t.TempDir(), freeAddress(t)
	hits := filepath.Join(t.TempDir(), "hits")
	p := spawn(t, data, front)
	p.d.apply(version{name: "v1"}, plan)
	p.d.serves("v1")
	stop := hammer(front)
	defer stop()
	p.d.apply(version{name: "v2", env: map[string]string{"HITS": hits}}, plan)
	const run = "hello-2"
	for i := range int64(long(3, 20)) {
		p.d.wait("evidence", func(r v1alpha1.Release) bool {
			return r.Status.Run != nil && r.Status.Run.Name == run && r.Status.Run.CanaryRequests > 20*(i+1)
		})
		time.Sleep(time.Duration(i*370%1000) * time.Millisecond) // some moment between two saves, not a wait for anything
		p.kill()
		p = spawn(t, data, front)
	}
	p.d.ask(rollout.AskPause)
	p.d.ask(rollout.AskAbort)
	p.d.ends("v2", "Aborted")
	stop()
	lines, seen := p.d.evidence(run), p.d.last(run)
	again := replay(t, p.d.policy(plan), lines).Report
	real := int64(len(readHits(t, hits)))
	t.Logf("v2 got %d requests, %d were judged, %d are in %d bytes of evidence", real, seen.Canary, again.Canary, len(lines))
	if again.Canary != seen.Canary || again.Stable != seen.Stable || again.Verdict != seen.Verdict {
		t.Errorf("%d and %d requests were judged (%s), in the evidence are %d and %d (%s)", seen.Canary, seen.Stable, seen.Verdict, again.Canary, again.Stable, again.Verdict)
	}
	if again.Canary > real {
		t.Errorf("the evidence has %d requests of v2, which got %d", again.Canary, real)
	}
	if n := strings.Count(string(lines), `"history":true`); n == 0 || n > 3 {
		t.Errorf("stable's history is there %d times", n)
	}
	p.kill()
}
