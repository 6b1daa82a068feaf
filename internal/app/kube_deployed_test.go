package app

import (
	"errors"
	"fmt"
	"testing"
)

// What was just deployed is told from what serves, though its image has the same tag.
func TestClusterTellsDeployedVersionsOfOneTagApart(t *testing.T) {
	s := newShop(t)
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v1"), fmt.Sprintf(shopRelease, "hello"))
	s.controller()
	s.until("v1 serves", s.serves("hello", "v1"))
	s.until("the API server has taken the policy in", s.policyHolds)
	at := Cluster{Kubeconfig: s.kubeconfig, Namespace: s.ns}
	deployed := func() string {
		t.Helper()
		id, err := Deployed(t.Context(), at, "hello")
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	old := deployed()
	if st := s.release("hello").Status; st.Stable.ID != old || st.Run.ToID != old {
		t.Fatalf("%s was deployed; %s serves, after a run to %s", old, st.Stable.ID, st.Run.ToID)
	}
	s.patchDeployment("hello", `{"spec":{"template":{"spec":{"containers":[{"name":"app","image":"hello:v1","env":[{"name":"GREETING","value":"Hi"}]}]}}}}`)
	now := deployed()
	if now == old {
		t.Fatalf("both templates are %s", now)
	}
	s.until("a run to it begins", func() error {
		if run := s.release("hello").Status.Run; run.ToID != now || run.To != "v1" {
			return errors.New("the run is to " + run.To + " " + run.ToID)
		}
		return nil
	})
}
