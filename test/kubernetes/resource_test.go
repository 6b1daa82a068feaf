package kubernetes

import (
	"fmt"
	"strings"
	"testing"
)

// TestMemory: what a real kubelet tells of memory reaches the judge: the figures
// of metrics.k8s.io of both versions, and a container that is killed for want of
// memory, for which a version loses its traffic.
func TestMemory(t *testing.T) {
	onlyLong(t)
	w := newWorld(t, 1, "{weight: 20}")
	w.MetricsServer(t)
	w.controller()
	w.declare("{canary: {steps: [{weight: 20, hold: 1h}]}, stepDeadline: 2h}", "{name: memory, kind: gauge, source: {process: memory}, onFail: watch}, "+
		"{name: oom, kind: proportion, source: {pods: oomKills}, limit: '<= 0.1%'}")
	w.phase("v1", "Promoted")
	tr := w.load(50)
	w.deploy("v2", 1, "HOG=40", "CRASH=20")
	w.until("both versions' memory is told", func() error {
		for _, m := range w.release().Status.Run.Metrics {
			if m.Name == "memory" && strings.Contains(m.Canary, "iB") && strings.Contains(m.Stable, "iB") {
				w.Logf("memory: stable %s, canary %s", m.Stable, m.Canary)
				return nil
			}
		}
		return fmt.Errorf("%+v", w.release().Status.Run.Metrics)
	})
	w.haldane("abort", "hello")
	w.phase("v2", "Aborted")
	small := strings.Replace(manifest("v3", 1, "HOG=200", "CRASH=20"), "        ports:", "        resources: {limits: {memory: 64Mi}}\n        ports:", 1)
	w.Apply(t, w.ns, small)
	w.phase("v3", "RolledBack")
	r := w.release().Status.Run
	t.Logf("v3: %s; %+v", r.Why, r.Metrics)
	tr.end()
	if bad := lost(tr.all()); len(bad) > 10 {
		t.Errorf("%d requests were lost, the first: %+v", len(bad), bad[0])
	}
}
