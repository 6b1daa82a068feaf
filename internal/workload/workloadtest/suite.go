// Package workloadtest is the suite that every workload.Runtime must pass. It
// waits for Changed alone, so that a change that is not told fails a test. It
// knows no adapter. suite.go is all of it.
package workloadtest

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/workload"
)

// Subject is a runtime under test with versions that it can run.
type Subject struct {
	Runtime workload.Runtime
	// Good makes a version of n instances that get ready; other names, other versions.
	Good func(name string, n int) release.Version
	// Bad is a version that never gets ready, of one instance.
	Bad release.Version
	// Foreign is a version of a kind that the runtime cannot run.
	Foreign release.Version
	// Scales: the number of instances follows the group's replicas.
	Scales bool
}

// Run tests the subject that make returns; make is called for every test and
// cleans up with t.Cleanup.
func Run(t *testing.T, make func(t *testing.T) Subject) {
	for name, test := range map[string]func(*suite){
		"an unknown release has nothing":            (*suite).unknown,
		"instances get ready and are told":          (*suite).ready,
		"applying again changes nothing":            (*suite).idempotent,
		"several versions side by side, sorted":     (*suite).several,
		"what is not listed stops":                  (*suite).stops,
		"releases do not disturb each other":        (*suite).apart,
		"a bad version is told, a good one stays":   (*suite).bad,
		"a foreign version is refused, others stay": (*suite).foreign,
		"a version comes back":                      (*suite).comesBack,
		"replicas grow and shrink":                  (*suite).scales,
	} {
		t.Run(name, func(t *testing.T) { test(&suite{T: t, Subject: make(t)}) })
	}
}

type suite struct {
	*testing.T
	Subject
}

func named(name string) release.Release { return release.Release{Name: name} }

func (s *suite) apply(name string, want ...rollout.Group) {
	s.Helper()
	if err := s.Runtime.Apply(s.Context(), named(name), want); err != nil {
		s.Fatalf("applying release %s: %v", name, err)
	}
}

func (s *suite) observe(name string) workload.Fleet {
	s.Helper()
	fleet, err := s.Runtime.Observe(s.Context(), named(name))
	if err != nil {
		s.Fatalf("observing release %s: %v", name, err)
	}
	return fleet
}

// Patience is how long a test waits for something that must happen; it is no figure.
const Patience = 2 * time.Minute

// until waits for changes until the fleet is as wanted.
func (s *suite) until(name, what string, ok func(workload.Fleet) bool) workload.Fleet {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), Patience)
	defer cancel()
	for {
		fleet := s.observe(name)
		if ok(fleet) {
			return fleet
		}
		select {
		case <-s.Runtime.Changed():
		case <-ctx.Done():
			s.Fatalf("release %s: not within %v: %s; it is %+v", name, Patience, what, fleet)
		}
	}
}

// serving is a fleet in which the version has n ready instances.
func serving(v release.Version, n int) func(workload.Fleet) bool {
	return func(f workload.Fleet) bool { return len(addresses(f, v)) == n && group(f, v).Ready == n }
}

func group(f workload.Fleet, v release.Version) rollout.ObservedGroup {
	for _, g := range f.Groups {
		if g.Version == v.ID {
			return g
		}
	}
	return rollout.ObservedGroup{}
}

func addresses(f workload.Fleet, v release.Version) []string {
	for _, b := range f.Backends {
		if b.Version == v.ID {
			return b.Addresses
		}
	}
	return nil
}

func (s *suite) unknown() {
	if fleet := s.observe("nobody"); len(fleet.Groups)+len(fleet.Backends) > 0 {
		s.Errorf("an unknown release has %+v", fleet)
	}
}

func (s *suite) ready() {
	v := s.Good("v1", 2)
	s.apply("shop", rollout.Group{Version: v, Replicas: 2})
	fleet := s.until("shop", "two ready instances", serving(v, 2))
	want := rollout.ObservedGroup{Version: v.ID, Ready: 2, Total: 2}
	if diff := cmp.Diff(want, group(fleet, v)); diff != "" {
		s.Errorf("observed group (-want +got):\n%s", diff)
	}
	list := addresses(fleet, v)
	if !slices.IsSorted(list) || slices.ContainsFunc(list, func(a string) bool { return !strings.Contains(a, "://") }) {
		s.Errorf("addresses %v: want scheme://host:port, sorted", list)
	}
	if diff := cmp.Diff(v.Workload.Rewrite, fleet.Backends[0].Rewrite); diff != "" {
		s.Errorf("rewrite (-want +got):\n%s", diff)
	}
}

func (s *suite) idempotent() {
	v := s.Good("v1", 1)
	g := rollout.Group{Version: v, Replicas: 1}
	s.apply("shop", g)
	before := s.until("shop", "one ready instance", serving(v, 1))
	s.apply("shop", g)
	s.apply("shop", g)
	if diff := cmp.Diff(before, s.observe("shop")); diff != "" {
		s.Errorf("applying the same again (-before +after):\n%s", diff)
	}
}

func (s *suite) several() {
	a, b := s.Good("v1", 1), s.Good("v2", 1)
	s.apply("shop", rollout.Group{Version: a, Replicas: 1}, rollout.Group{Version: b, Replicas: 1})
	fleet := s.until("shop", "both ready", func(f workload.Fleet) bool { return serving(a, 1)(f) && serving(b, 1)(f) })
	var groups, backends []string
	for _, g := range fleet.Groups {
		groups = append(groups, string(g.Version))
	}
	for _, b := range fleet.Backends {
		backends = append(backends, string(b.Version))
	}
	if !slices.IsSorted(groups) || !slices.Equal(groups, backends) {
		s.Errorf("groups %v and backends %v: want both sorted by version", groups, backends)
	}
}

func (s *suite) stops() {
	a, b := s.Good("v1", 1), s.Good("v2", 1)
	s.apply("shop", rollout.Group{Version: a, Replicas: 1}, rollout.Group{Version: b, Replicas: 1})
	before := s.until("shop", "both ready", func(f workload.Fleet) bool { return serving(a, 1)(f) && serving(b, 1)(f) })
	s.apply("shop", rollout.Group{Version: b, Replicas: 1})
	if left := addresses(s.until("shop", "no backend of v1", serving(a, 0)), b); !slices.Equal(left, addresses(before, b)) {
		s.Errorf("the version that stays moved from %v to %v", addresses(before, b), left)
	}
	s.until("shop", "v1 gone", func(f workload.Fleet) bool { return len(f.Groups) == 1 })
	s.apply("shop")
	s.until("shop", "nothing left", func(f workload.Fleet) bool { return len(f.Groups)+len(f.Backends) == 0 })
}

func (s *suite) apart() {
	v := s.Good("v1", 1)
	s.apply("shop", rollout.Group{Version: v, Replicas: 1})
	s.apply("bank", rollout.Group{Version: v, Replicas: 1})
	// Names may arrive for either; each is asked for in turn.
	s.until("shop", "shop ready", serving(v, 1))
	before := s.until("bank", "bank ready", serving(v, 1))
	s.apply("shop")
	s.until("shop", "shop gone", func(f workload.Fleet) bool { return len(f.Groups) == 0 })
	if diff := cmp.Diff(before, s.observe("bank")); diff != "" {
		s.Errorf("the other release changed (-before +after):\n%s", diff)
	}
}

func (s *suite) bad() {
	good := s.Good("v1", 1)
	s.apply("shop", rollout.Group{Version: good, Replicas: 1}, rollout.Group{Version: s.Bad, Replicas: 1})
	fleet := s.until("shop", "an error of the bad version", func(f workload.Fleet) bool {
		return group(f, s.Bad).Error != "" && serving(good, 1)(f)
	})
	if g := group(fleet, s.Bad); g.Ready != 0 || g.Total != 1 || len(addresses(fleet, s.Bad)) != 0 {
		s.Errorf("the bad version is %+v with addresses %v: want one instance, none ready", g, addresses(fleet, s.Bad))
	}
}

func (s *suite) foreign() {
	good := s.Good("v1", 1)
	err := s.Runtime.Apply(s.Context(), named("shop"), []rollout.Group{{Version: s.Foreign, Replicas: 1}, {Version: good, Replicas: 1}})
	if err == nil || !strings.Contains(err.Error(), s.Foreign.Name) {
		s.Errorf("error %v, want one that names version %s", err, s.Foreign.Name)
	}
	s.until("shop", "the good version ready", serving(good, 1))
}

func (s *suite) comesBack() {
	v := s.Good("v1", 1)
	s.apply("shop", rollout.Group{Version: v, Replicas: 1})
	s.until("shop", "ready", serving(v, 1))
	s.apply("shop")
	s.apply("shop", rollout.Group{Version: v, Replicas: 1})
	s.until("shop", "ready again, nothing else left", func(f workload.Fleet) bool {
		return serving(v, 1)(f) && group(f, v).Total == 1
	})
}

func (s *suite) scales() {
	if !s.Scales {
		s.Skip("the number of instances does not follow replicas here")
	}
	v := s.Good("v1", 1)
	s.apply("shop", rollout.Group{Version: v, Replicas: 1})
	one := addresses(s.until("shop", "one", serving(v, 1)), v)
	s.apply("shop", rollout.Group{Version: v, Replicas: 3})
	three := addresses(s.until("shop", "three", serving(v, 3)), v)
	if !slices.Contains(three, one[0]) {
		s.Errorf("growing moved the first instance from %v to %v", one, three)
	}
	s.apply("shop", rollout.Group{Version: v, Replicas: 1})
	fleet := s.until("shop", "one of one", func(f workload.Fleet) bool { return serving(v, 1)(f) && group(f, v).Total == 1 })
	if !slices.Equal(addresses(fleet, v), one) {
		s.Errorf("shrinking kept %v, want the first instance %v", addresses(fleet, v), one)
	}
	s.apply("shop", rollout.Group{Version: v, Replicas: 0})
	s.until("shop", "none", func(f workload.Fleet) bool { return group(f, v).Total == 0 })
}

// Groups wants one instance of each of the versions.
func Groups(versions ...release.Version) []rollout.Group {
	var list []rollout.Group
	for _, v := range versions {
		list = append(list, rollout.Group{Version: v, Replicas: 1})
	}
	return list
}
