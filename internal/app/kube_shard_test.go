package app

import (
	"fmt"
	"strings"
	"testing"
)

// Controllers that share a cluster by --selector each work on their own
// Releases, and no two of them on one Deployment.
func TestClusterShardsDoNotShareADeployment(t *testing.T) {
	s := newShop(t)
	labelled := func(name, shard string) string {
		return strings.Replace(fmt.Sprintf(shopRelease, name), "{name: "+name+"}", "{name: "+name+", labels: {shard: "+shard+"}}", 1)
	}
	s.selector = "shard=a"
	s.controller()
	s.selector = "shard=b"
	s.controller()
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v1"), labelled("hello", "a"))
	s.until("the first shard's serves", s.serves("hello", "v1"))

	s.Cluster.Apply(t, s.ns, labelled("other", "b"))
	s.until("the second shard's is refused", s.stalled("other", "WorkloadTaken", "Release hello works with Deployment hello already"))
	if got := s.deployment().Labels["haldane.dev/release"]; got != "hello" {
		t.Errorf("the Deployment is labelled with %s", got)
	}
	s.Cluster.Apply(t, s.ns, strings.ReplaceAll(fmt.Sprintf(shopDeployment, "v1"), "hello,", "second,"),
		strings.Replace(labelled("second", "b"), "deployment: {name: hello}", "deployment: {name: second}", 1))
	s.until("a Deployment of its own serves", s.serves("second", "v1"))

	rel := s.release("hello")
	if err := s.live.Delete(t.Context(), &rel); err != nil {
		t.Fatal(err)
	}
	s.until("the Deployment is the second shard's", s.serves("other", "v1"))
}
