package standalone

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/rollout"
)

// answersTo reports which version answers a request with a header.
func (d *daemon) answersTo(header, value string) string {
	d.t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+d.front+"/", nil)
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set(header, value)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.Header.Get("X-Version")
}

func (d *daemon) ask(verb rollout.Verb) {
	d.t.Helper()
	a, err := d.api.Ask(context.Background(), d.name, client.Ask{Verb: verb, WaitSeconds: 60})
	if err != nil || !a.Done {
		d.t.Fatalf("%s: %+v, %v", verb, a, err)
	}
}

// TestBlueGreen: users stay with the old version while a preview sees the new
// one; a person switches all of them at once, and back during the bake.
func TestBlueGreen(t *testing.T) {
	const plan = `
  strategy:
    blueGreen: {preview: {headers: [{name: X-Preview, exact: "yes"}]}, gates: [{person: true}]}
    bake: 30m
`
	d := start(t)
	d.apply(version{name: "blue"}, plan)
	d.serves("blue")
	d.apply(version{name: "green"}, plan)
	d.wait("the gate", func(r v1alpha1.Release) bool { return r.Status.Canary != nil && r.Status.Canary.Ready == 2 })
	d.wait("the preview", func(v1alpha1.Release) bool { return d.answersTo("X-Preview", "yes") == "green" })
	for range 50 {
		d.mustServe("blue")
	}
	d.ask(rollout.AskPromote)
	d.wait("the switch", func(r v1alpha1.Release) bool { return r.Status.Phase == "Baking" })
	d.mustServe("green")
	d.ask(rollout.AskAbort)
	d.mustServe("blue")
	d.ends("green", "Aborted")
}

// TestAB: users who match get the new version, the others do not, until it is
// proven; both sides keep their users.
func TestAB(t *testing.T) {
	const plan = `
  strategy:
    ab: {matches: [{headers: [{name: X-Group, exact: beta}]}], share: 30, hold: 1s, require: noHarm}
    bake: 0s
  analysis: {falseRollback: 0.01%, metrics: [{name: errors, kind: errors}]}
`
	d := start(t)
	d.apply(version{name: "a"}, plan)
	d.serves("a")
	d.apply(version{name: "b"}, plan)
	d.wait("the comparison", func(r v1alpha1.Release) bool {
		return r.Status.Weight == "30%" && !strings.Contains(r.Status.Run.Why, "the router") // it is saved before it is in force
	})
	if got := d.answersTo("X-Group", "beta"); got != "b" {
		t.Errorf("a user of the group got %s, expected b", got)
	}
	users := d.load(200, nil)
	d.serves("b")
	if rep := users.stop(); rep.Failed != 0 || rep.ByHeader["a"] == 0 || rep.ByHeader["b"] == 0 {
		t.Errorf("failed %d, by version %v", rep.Failed, rep.ByHeader)
	}
}

// TestShadow: the new version gets copies; no user ever sees its answers, not
// even its errors, until the switch.
func TestShadow(t *testing.T) {
	const plan = `
  strategy:
    shadow: {share: 100, hold: 1s, require: none, gates: [{person: true}]}
    bake: 0s
`
	d := start(t)
	hits := filepath.Join(t.TempDir(), "hits")
	d.apply(version{name: "v1"}, plan)
	d.serves("v1")
	users := d.load(200, nil)
	d.apply(version{name: "v2", env: map[string]string{"ERRORS": "1", "HITS": hits}}, plan)
	d.ends("v2", "RolledBack") // its copies failed
	rep := users.stop()
	if rep.Failed != 0 || rep.ByHeader["v2"] != 0 {
		t.Errorf("users saw %d errors and %d answers of the shadow", rep.Failed, rep.ByHeader["v2"])
	}
	if len(readHits(t, hits)) == 0 {
		t.Error("no copy reached the shadow")
	}
	d.mustServe("v1")
}

// TestThirdVersionMidway: a third version ends the second's run and starts its
// own from the first step; users never see two new versions at once.
func TestThirdVersionMidway(t *testing.T) {
	const plan = `
  strategy:
    canary: {steps: [{weight: 30, minRequests: 50}, {weight: 60, gates: [{person: true}], require: noHarm}]}
    bake: 0s
  analysis: {falseRollback: 0.01%, metrics: [{name: errors, kind: errors}]}
`
	d := start(t)
	d.apply(version{name: "v1"}, plan)
	d.serves("v1")
	users := d.load(200, nil)
	d.apply(version{name: "v2"}, plan)
	d.wait("v2 at its gate", func(r v1alpha1.Release) bool { return r.Status.Weight == "60%" })
	d.apply(version{name: "v3"}, plan)
	rel := d.wait("v3's first step", func(r v1alpha1.Release) bool {
		return r.Status.Run.To == "v3" && r.Status.Run.Phase == "Progressing"
	})
	if rel.Status.Weight != "30%" && rel.Status.Weight != "60%" {
		t.Errorf("v3 began at %s", rel.Status.Weight)
	}
	d.wait("v3 at its gate", func(r v1alpha1.Release) bool { return r.Status.Weight == "60%" })
	d.ask(rollout.AskPromote)
	d.serves("v3")
	if rep := users.stop(); rep.Failed != 0 {
		t.Errorf("users saw %d errors of %d requests: %v", rep.Failed, rep.Requests, rep.ByCause)
	}
	runs, err := d.api.Runs(context.Background(), d.name, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range runs {
		if r.Status.To == "v2" && r.Status.Phase != "Superseded" {
			t.Errorf("v2's run ended as %s, expected Superseded", r.Status.Phase)
		}
	}
}
