package deployment

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/haldane-project/haldane/internal/rollout"
)

// versions of the small worlds.
var versions = []string{"v1", "v2", "v3"}

// TestConverges: from whatever somebody left behind, the plan and the Deployment
// controller of Kubernetes together come to rest with exactly the wanted versions
// running, and with the user's Deployment held where it would roll to another.
func TestConverges(t *testing.T) {
	wants := [][]string{{"v1"}, {"v2"}, {"v1", "v2"}, {"v2", "v3"}}
	worlds := 0
	everyWorld(func(w world) {
		for _, want := range wants {
			for _, rest := range []bool{false, true} {
				if !w.possible(want) {
					continue
				}
				worlds++
				if err := w.clone().settle(want, Options{PauseAtRest: rest}); err != nil {
					t.Errorf("%+v, wanted %v, PauseAtRest %v: %v", w, want, rest, err)
				}
			}
		}
	})
	if worlds < 1000 {
		t.Errorf("%d worlds only", worlds)
	}
}

// everyWorld is every world of three versions and full counts of three.
func everyWorld(do func(world)) {
	counts := []int32{-1, 0, 1, 3} // -1: no ReplicaSet
	for _, template := range versions {
		for _, held := range []bool{false, true} {
			for _, a := range counts {
				for _, b := range counts {
					for _, canary := range []string{"", "v1", "v2", "v3"} {
						for _, orphan := range []string{"", "v1", "v2", "v3"} {
							w := world{template: template, held: held, full: 3, sets: map[string]int32{}, orphans: map[string]int32{}, canary: canary}
							if canary != "" {
								w.count, w.ready = 1, 1
							}
							for v, n := range map[string]int32{"v1": a, "v2": b} {
								if n >= 0 {
									w.sets[v] = n
								}
							}
							if orphan != "" {
								w.orphans[orphan] = 3
							}
							do(w)
						}
					}
				}
			}
		}
	}
}

// possible reports whether the template of each wanted version is kept, what is
// being handed over is the user's own template, and, while two are wanted, the
// user's Deployment runs one of them.
func (w world) possible(want []string) bool {
	for v := range w.orphans {
		if v != w.template || w.sets[v] > 0 || w.canary != "" || !slices.Contains(want, v) {
			return false
		}
	}
	own := len(want) == 1
	if !own && !slices.Contains(want, w.template) && (!w.held || w.sets[w.template] > 0) {
		return false // it rolls to a third one
	}
	for _, v := range want {
		_, made := w.sets[v]
		if !made && w.template != v && w.canary != v && w.orphans[v] == 0 {
			return false
		}
		own = own || w.sets[v] > 0
	}
	return own
}

func (w world) clone() *world {
	w.sets, w.orphans = maps.Clone(w.sets), maps.Clone(w.orphans)
	return &w
}

// settle plans and acts until nothing changes any more.
func (w *world) settle(want []string, o Options) error {
	var groups []rollout.Group
	for _, v := range want {
		groups = append(groups, rollout.Group{Version: version(v), Replicas: 3})
	}
	var told []string
	for range 40 {
		before := fmt.Sprintf("%+v", *w)
		acts := plan(w.state(), groups, o)
		for _, a := range acts {
			told = append(told, a.what)
			w.do(a)
		}
		w.kubernetes()
		if fmt.Sprintf("%+v", *w) == before {
			if err := w.wrong(want, acts); err != nil {
				return fmt.Errorf("%w in %+v after %q", err, *w, told)
			}
			return nil
		}
	}
	return fmt.Errorf("no rest: %+v after %q", *w, told)
}

// wrong says what is not as it is wanted.
func (w *world) wrong(want []string, acts []act) error {
	if len(acts) > 0 {
		return fmt.Errorf("it writes %q for ever", acts[0].what)
	}
	for _, v := range versions {
		runs := w.sets[v] > 0 || w.canary == v && w.count > 0 || w.orphans[v] > 0
		if runs != slices.Contains(want, v) {
			return fmt.Errorf("%s runs: %v", v, runs)
		}
	}
	if len(want) == 1 && w.sets[want[0]] != w.full {
		return fmt.Errorf("%s is not what the user's Deployment runs", want[0])
	}
	if !w.held && w.sets[w.template] != w.full {
		return fmt.Errorf("the user's Deployment is not held")
	}
	return nil
}

func (w *world) do(a act) {
	image := a.version.Name
	switch a.kind {
	case hold:
		w.held = true
	case let:
		w.held = false
	case dropCanary:
		w.canary, w.count, w.ready = "", 0, 0
	case create:
		w.canary, w.count, w.ready = image, a.count, 0
	case scale:
		w.count = a.count
	case retemplate:
		w.template = image
	case forget:
		delete(w.sets, image)
	case orphan:
		w.orphans[w.canary] += w.count
		w.canary, w.count, w.ready = "", 0, 0
	case retract:
		for v := range w.sets {
			if version(v).ID == a.version.ID {
				w.sets[v] = 0
			}
		}
	}
}

// kubernetes is what its Deployment controller does next (pkg/controller/deployment:
// getReplicaSetsForDeployment adopts, sync and scale serve a paused Deployment,
// rolloutRolling one that is not), with pods that are ready at once.
func (w *world) kubernetes() {
	w.ready = w.count
	for v, n := range w.orphans {
		w.sets[v] += n
		delete(w.orphans, v)
	}
	if !w.held {
		w.toTemplate()
		return
	}
	var active []string
	sum := int32(0)
	for v, n := range w.sets {
		if n > 0 {
			active, sum = append(active, v), sum+n
		}
	}
	slices.SortFunc(active, func(a, b string) int { return int(w.sets[b] - w.sets[a]) })
	_, made := w.sets[w.template]
	switch {
	case len(active) == 1:
		w.sets[active[0]] = w.full
	case len(active) == 0 && made:
		w.sets[w.template] = w.full
	case len(active) == 0 && len(w.sets) > 0:
		w.sets[slices.Max(slices.Collect(maps.Keys(w.sets)))] = w.full
	case len(active) > 1 && w.sets[w.template] == w.full:
		w.toTemplate()
	case len(active) > 1: // in proportion, with one more than full
		w.sets[active[0]] += w.full + 1 - sum
	}
}

// toTemplate gives the template all instances.
func (w *world) toTemplate() {
	for v := range w.sets {
		w.sets[v] = 0
	}
	w.sets[w.template] = w.full
}
