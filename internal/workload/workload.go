// Package workload is the port to whatever runs the instances of versions. It
// knows no vendor; workloadtest holds the suite that every adapter must pass.
package workload

import (
	"context"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
)

// Runtime runs instances.
type Runtime interface {
	// Apply makes the groups the wanted instances of the release: it starts
	// what is missing and drains and stops what is not listed. It is idempotent
	// and returns without waiting for instances to get ready or to stop.
	Apply(ctx context.Context, rel release.Release, want []rollout.Group) error
	// Observe reports the instances of the release, sorted by version.
	Observe(ctx context.Context, rel release.Release) (Fleet, error)
	// Changed delivers the names of releases whose instances changed. Names may
	// be merged, never lost.
	Changed() <-chan string
}

// Fleet is what runs of one release.
type Fleet struct {
	Groups   []rollout.ObservedGroup
	Backends []release.Backend // ready instances' addresses, sorted by version
}
