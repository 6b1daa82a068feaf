package standalone

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/rollout"
)

func TestFirstVersionServes(t *testing.T) {
	d := start(t)
	d.apply(version{name: "v1"}, quick)
	d.serves("v1")
	resp, err := http.Get("http://" + d.front + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("X-Version") != "v1" {
		t.Fatalf("got %s from %q, expected 200 from v1", resp.Status, resp.Header.Get("X-Version"))
	}
}

func TestGoodVersionIsPromoted(t *testing.T) {
	d := start(t)
	d.apply(version{name: "v1"}, quick)
	d.serves("v1")
	users := d.load(200, nil)
	d.apply(version{name: "v2"}, quick)
	rel := d.serves("v2")
	rep := users.stop()
	if rel.Status.Run.Phase != "Promoted" || rep.Failed != 0 {
		t.Fatalf("run %s (%s), %d of %d requests failed: %v", rel.Status.Run.Phase, rel.Status.Run.Why, rep.Failed, rep.Requests, rep.ByCause)
	}
}

func TestBadVersionIsRolledBack(t *testing.T) {
	d := start(t)
	d.apply(version{name: "v1"}, judged)
	d.serves("v1")
	users := d.load(300, nil)
	d.apply(version{name: "v2", env: map[string]string{"ERRORS": "0.2"}}, judged)
	rel := d.ends("v2", "RolledBack")
	rep := users.stop()
	if rel.Status.Stable.Name != "v1" || rel.Status.Run.Cause != "VerdictFail" {
		t.Fatalf("stable %s, cause %s: %s", rel.Status.Stable.Name, rel.Status.Run.Cause, rel.Status.Message)
	}
	if rep.Failed != 0 {
		t.Errorf("users saw %d errors of %d requests although GET is shielded", rep.Failed, rep.Requests)
	}
	if rel.Status.Run.Evidence == "none" || !strings.Contains(rel.Status.Message, "v1 serves all of the traffic") {
		t.Errorf("evidence %q, message %q", rel.Status.Run.Evidence, rel.Status.Message)
	}
}

func TestPersonDecides(t *testing.T) {
	d := start(t)
	d.apply(version{name: "v1"}, quick)
	d.serves("v1")
	d.apply(version{name: "v2"}, quick) // no traffic: no evidence, so it waits
	d.wait("v2 to have a share", func(r v1alpha1.Release) bool { return r.Status.Weight == "20%" })
	ask := func(verb string) client.Answer {
		t.Helper()
		a, err := d.api.Ask(context.Background(), "hello", client.Ask{Verb: rollout.Verb(verb), WaitSeconds: 60})
		if err != nil || !a.Done {
			t.Fatalf("%s: %+v, %v", verb, a, err)
		}
		return a
	}
	ask("pause")
	d.wait("the pause", func(r v1alpha1.Release) bool { return r.Status.Phase == "Paused" })
	ask("resume")
	ask("promote")
	d.wait("the next step", func(r v1alpha1.Release) bool { return r.Status.Weight == "50%" })
	ask("abort")
	d.ends("v2", "Aborted")
	ask("retry")
	d.wait("the new run", func(r v1alpha1.Release) bool { return r.Status.Run.Name == "hello-3" && r.Status.Weight == "20%" })
	ask("promoteFull")
	d.serves("v2")
	ask("rollback")
	d.serves("v1")
}
