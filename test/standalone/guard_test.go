package standalone

import (
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/load"
)

// TestWhatBothVersionsShare: a version that breaks what both share makes both
// fail alike. No comparison can see that; the guard pauses the run, and blames
// neither version.
func TestWhatBothVersionsShare(t *testing.T) {
	const plan = `
  strategy:
    canary: {steps: [{weight: 20, minRequests: 1000000}]}
  analysis: {falseRollback: 0.01%, metrics: [{name: errors, kind: errors}]}
`
	shared := filepath.Join(t.TempDir(), "broken")
	d := start(t)
	d.apply(version{name: "v1", env: map[string]string{"SHARED": shared}}, plan)
	d.serves("v1")
	before := make(chan struct{})
	var n atomic.Int64
	users := d.load(200, func(load.Shot) {
		if n.Add(1) == 600 {
			close(before)
		}
	})
	defer users.stop()
	<-before // stable has a history
	d.apply(version{name: "v2", env: map[string]string{"SHARED": shared, "HURTS": "yes"}}, plan)
	rel := d.wait("the guard", func(r v1alpha1.Release) bool {
		return r.Status.Run != nil && r.Status.Run.To == "v2" && (r.Status.Phase == "Paused" || r.Status.Run.Phase == "RolledBack")
	})
	if rel.Status.Phase != "Paused" || !strings.Contains(rel.Status.Message, "both versions are much worse than stable was before the run") {
		t.Errorf("%s: %s; want a pause by the guard", rel.Status.Phase, rel.Status.Message)
	}
	d.ask("abort")
	d.ends("v2", "Aborted")
}
