package deployment

import (
	"fmt"

	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
)

// act is one write.
type act struct {
	kind    kind
	what    string // for people
	version release.Version
	count   int32
}

type kind int

const (
	hold         kind = iota // pause the user's Deployment and mark it
	let                      // un-pause it
	dropCanary               // delete the second Deployment with its pods
	create                   // create the second Deployment
	scale                    // set its replicas
	retemplate               // make the user's template that of an earlier version
	forget                   // delete the user's empty ReplicaSets of a version
	orphan                   // delete the second Deployment, leave its ReplicaSet to the user's
	retract                  // scale the user's ReplicaSet of a version to nothing
	unknownTempl             // the template is not kept
)

// plan says what is to be written, in order, so that the wanted groups run. It
// is pure: the same state gives the same plan, and none once all is as wanted.
func plan(s *state, want []rollout.Group, o Options) []act {
	if len(want) == 1 && !s.inUser(want[0].Version.ID) && s.inCanary(want[0].Version.ID) {
		return adopt(s, want[0].Version)
	}
	var acts []act
	held := s.mustHold(want, o)
	if held {
		acts = s.heldUnless(acts)
	}
	if x := s.stray(want); x != nil {
		return append(acts, act{kind: retract, what: "take back pods that are not to run there", version: release.Version{ID: x.version}})
	}
	second := s.second(want)
	switch {
	case s.canary != nil && !s.keepsSecond(second, want):
		acts = append(acts, act{kind: dropCanary, what: "take down the second Deployment"})
		if second != nil { // its name is free with the next look
			return acts
		}
	case second == nil:
	case s.canary == nil:
		acts = append(acts, s.start(*second))
	case replicas(s.canary.Spec.Replicas) != int32(second.Replicas): //nolint:gosec // a bounded count
		acts = append(acts, act{kind: scale, what: "scale the second Deployment", count: int32(second.Replicas)}) //nolint:gosec // a bounded count
	}
	if !held {
		acts = s.freeUnless(acts)
	}
	return acts
}

// keepsSecond reports whether the second Deployment is to stay: it is of the version
// that is to run there, or of one that the user's Deployment has yet to roll to.
func (s *state) keepsSecond(second *rollout.Group, want []rollout.Group) bool {
	v := cluster.TemplateID(s.canary.Spec.Template)
	if second != nil {
		return second.Version.ID == v
	}
	return listed(want, v) && (s.full() == 0 || s.instances(v) < s.full())
}

// instances are those of a version in the user's Deployment.
func (s *state) instances(v release.VersionID) int32 {
	n := int32(0)
	for _, x := range s.sets {
		if x.version == v && x.owner == s.user.UID {
			n += replicas(x.Spec.Replicas)
		}
	}
	return n
}

// adopt hands the second Deployment's ReplicaSet to the user's Deployment, which
// then scales its old one to nothing because the new one has all instances.
func adopt(s *state, v release.Version) []act {
	acts := s.heldUnless(nil)
	if s.canary.DeletionTimestamp != nil {
		return acts // it is being handed over
	}
	if s.current() != v.ID {
		acts = append(acts, act{kind: retemplate, what: "go back to the template of " + v.Name, version: v})
	}
	if replicas(s.canary.Spec.Replicas) != s.full() {
		return append(acts, act{kind: scale, what: "scale the second Deployment", count: s.full()})
	}
	if s.canary.Status.AvailableReplicas < s.full() || s.canary.Status.ObservedGeneration < s.canary.Generation {
		return acts // told when they are
	}
	for _, x := range s.sets {
		if x.version == v.ID && x.owner == s.user.UID { // empty, and older: it would be taken for the new one
			acts = append(acts, act{kind: forget, what: "forget the empty ReplicaSet of " + v.Name, version: v})
			break
		}
	}
	return append(acts, act{kind: orphan, what: "hand over the pods of " + v.Name, version: v})
}

// mustHold reports whether the user's Deployment may not roll by itself: its
// template is not the only version that is wanted, or is not yet all that runs.
func (s *state) mustHold(want []rollout.Group, o Options) bool {
	if s.rolls(want) {
		return false
	}
	if o.PauseAtRest {
		return true
	}
	if len(want) != 1 || want[0].Version.ID != s.current() {
		return true
	}
	return s.held() && !s.settled(s.current())
}

// rolls reports whether the user's Deployment has to roll by itself to what is
// wanted: its template alone, which is neither adopted from the second Deployment
// nor being handed over. So it is where the template changed before any version
// served, and with a Deployment that has no ReplicaSet yet: paused, it would never
// make one.
func (s *state) rolls(want []rollout.Group) bool {
	v := s.current()
	n := s.instances(v)
	if len(want) != 1 || want[0].Version.ID != v || s.full() == 0 || n == 0 && s.inCanary(v) || s.passing {
		return false
	}
	made, older := false, false
	for _, x := range s.sets {
		switch {
		case x.version != v:
			older = older || x.owner == s.user.UID && replicas(x.Spec.Replicas) > 0
		case x.owner == s.user.UID:
			made = true
		case x.owner == "" && replicas(x.Spec.Replicas) > 0:
			return false // it is adopted as soon as it is seen
		}
	}
	return !made || older && n < s.full()
}

// stray is a ReplicaSet of the user's Deployment that is to go while another one
// of it is to stay, and that the Deployment, paused, keeps: the template's own while
// that slipped, or what a rollout left that was paused midway.
func (s *state) stray(want []rollout.Group) *set {
	if x := s.slipped(); x != nil && s.wantedBeside(want, x.version) {
		return x
	}
	if s.instances(s.current()) >= s.full() || len(want) == 1 && want[0].Version.ID == s.current() {
		return nil // it takes the others down by itself
	}
	for i, x := range s.sets {
		if x.owner == s.user.UID && replicas(x.Spec.Replicas) > 0 && !listed(want, x.version) && s.wantedBeside(want, x.version) {
			return &s.sets[i]
		}
	}
	return nil
}

// wantedBeside reports whether another version is wanted that the user's
// Deployment runs.
func (s *state) wantedBeside(want []rollout.Group, v release.VersionID) bool {
	for _, g := range want {
		if g.Version.ID != v && s.inUser(g.Version.ID) {
			return true
		}
	}
	return false
}

// held reports whether Haldane paused the user's Deployment, by itself or by
// the admission policy, which marks it in the same write.
func (s *state) held() bool {
	_, ok := s.user.Annotations[cluster.HoldAnnotation]
	return ok
}

func (s *state) heldUnless(acts []act) []act {
	if s.user.Spec.Paused && s.held() && s.labelled() {
		return acts
	}
	return append(acts, act{kind: hold, what: "pause"})
}

func (s *state) freeUnless(acts []act) []act {
	if !s.held() && s.labelled() {
		return acts
	}
	return append(acts, act{kind: let, what: "un-pause"})
}

func (s *state) labelled() bool { return s.user.Labels[cluster.ReleaseLabel] != "" }

// second is the group that the second Deployment is to run: the one that the
// user's does not.
func (s *state) second(want []rollout.Group) *rollout.Group {
	if len(want) == 1 && want[0].Version.ID == s.current() || s.full() == 0 {
		return nil // the user's Deployment comes to it by itself, or is to run nothing
	}
	for i, g := range want {
		if !s.inUser(g.Version.ID) && s.inCanary(g.Version.ID) {
			return &want[i]
		}
	}
	for i, g := range want {
		if !s.inUser(g.Version.ID) {
			return &want[i]
		}
	}
	return nil
}

func (s *state) start(g rollout.Group) act {
	if _, ok := s.template(g.Version.ID); !ok {
		return act{kind: unknownTempl, what: fmt.Sprintf("start version %s", g.Version.Name), version: g.Version}
	}
	return act{kind: create, what: "start the second Deployment", version: g.Version, count: int32(g.Replicas)} //nolint:gosec // a bounded count
}

func listed(want []rollout.Group, v release.VersionID) bool {
	for _, g := range want {
		if g.Version.ID == v {
			return true
		}
	}
	return false
}
