// Package traffic is the port to whatever splits requests between versions.
// It knows no vendor; adapters live below it, and traffictest holds the suite
// that every adapter must pass.
package traffic

import (
	"context"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
)

// Target is what a router is to make true for one release.
type Target struct {
	Release  release.Release
	Split    release.Split
	Backends []release.Backend // sorted by version; a version in Split may have no address yet
	// Alone: no other version than the one with all of the traffic has instances
	// or is to have any, so that a router that works on the user's own objects
	// leaves them as the user wrote them.
	Alone bool
}

// Router splits the traffic of releases.
type Router interface {
	// Apply makes the target the assignment in force. It is idempotent, returns
	// once new requests follow it (or, for routers that are told and act later,
	// once they are told; Observe then tells when it is in force), and never
	// leaves a mixture: on error the old assignment stays whole.
	Apply(ctx context.Context, t Target) error
	// Observe reports the split in force and the requests in flight; what Apply
	// wrote before is never missed (it is in force, or Pending). A release that
	// the router does not know has no shares.
	Observe(ctx context.Context, rel release.Release) (rollout.ObservedSplit, error)
	// Remove takes the release's routing away, idempotently.
	Remove(ctx context.Context, rel release.Release) error
}

// Prober is a Router that can say before a run why it could not be had.
type Prober interface {
	// Probe reads the objects of a release as they are now and writes nothing. The
	// error says why its requests could not be split between two versions, or
	// copied where mirror is not 0; instances are not asked for.
	Probe(ctx context.Context, rel release.Release, mirror release.Weight) error
}
