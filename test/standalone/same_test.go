package standalone

import (
	"context"
	"fmt"
	"math"
	"sync"
	"testing"

	"gonum.org/v1/gonum/mathext"

	"github.com/haldane-project/haldane/api/v1alpha1"
)

// compressed is a plan that a run passes in seconds and that looks as often as
// any other: what is counted is how often a good version is rolled back.
const compressed = `
  strategy:
    canary: {steps: [{weight: 20, minRequests: 200, require: noHarm}, {weight: 50, minRequests: 300, require: noHarm}]}
    bake: 0s
`

// promised is the share of good versions that may be rolled back by default.
const promised = 0.01

// TestIdenticalVersions: releases of the same program with 1 % errors. The
// share that is rolled back must be compatible with the promise.
func TestIdenticalVersions(t *testing.T) {
	total, lanes := long(8, 200), long(4, 8)
	data := t.TempDir()
	d := startOn(t, data, "")
	var mu sync.Mutex
	rolled, done := 0, 0
	var wg sync.WaitGroup
	for lane := range lanes {
		wg.Go(func() {
			bad, n := identicalLane(t, d, fmt.Sprintf("lane%d", lane), total/lanes)
			mu.Lock()
			defer mu.Unlock()
			rolled, done = rolled+bad, done+n
		})
	}
	wg.Wait()
	low, high := exact(rolled, done)
	t.Logf("%d of %d identical versions were rolled back: %.2f%% [%.2f%%, %.2f%%] (95%%, Clopper-Pearson); promised at most 1%%",
		rolled, done, 100*float64(rolled)/float64(done), 100*low, 100*high)
	if low > promised {
		t.Errorf("the interval excludes the promised 1%%")
	}
}

func identicalLane(t *testing.T, shared *daemon, name string, runs int) (rolled, done int) {
	d := &daemon{t: t, api: shared.api, base: shared.base, front: freeAddress(t), name: name, patience: 3 * patience}
	env := map[string]string{"ERRORS": "0.01"}
	d.apply(version{name: "v0", env: env}, compressed)
	d.serves("v0")
	stop := hammer(d.front) // as much as the machine can take, so that a busy one fails no version
	defer stop()
	for i := 1; i <= runs; i++ {
		next := fmt.Sprintf("v%d", i)
		d.apply(version{name: next, env: env}, compressed)
		rel := d.wait("the end of the run to "+next, func(r v1alpha1.Release) bool {
			return r.Status.Run != nil && r.Status.Run.To == next && r.Status.Run.Ended != nil
		})
		done++
		if rel.Status.Run.Phase == "RolledBack" {
			rolled++
			t.Logf("%s %s: %s", name, next, rel.Status.Message)
		}
	}
	if err := d.api.Delete(context.Background(), name); err != nil {
		t.Error(err)
	}
	return rolled, done
}

// exact is the Clopper-Pearson interval of a share at 95 %.
func exact(k, n int) (low, high float64) {
	low, high = 0, 1
	if k > 0 {
		low = mathext.InvRegIncBeta(float64(k), float64(n-k+1), 0.025)
	}
	if k < n {
		high = mathext.InvRegIncBeta(float64(k+1), float64(n-k), 0.975)
	}
	return math.Max(low, 0), math.Min(high, 1)
}
