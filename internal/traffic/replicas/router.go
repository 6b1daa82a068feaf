// Package replicas is the traffic.Router of a cluster without a router: the
// user's Service reaches every ready pod, so that the share follows the number
// of instances. Where the release names the Service, its selector leads to the
// pods of one version wherever that is to have all of the traffic while another
// one has pods; at rest it is what the user wrote. The package knows ReplicaSets
// only to tell which pods are of which version; how many each gets, the runtime
// decides.
//
// Read this file first, then service.go (the selector) and pods.go (the shares
// that requests really have).
package replicas

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/traffic"
)

// Router follows instances. Make it with New.
type Router struct {
	client *cluster.Client

	mu   sync.Mutex
	told map[string]release.Split // by release
}

var _ traffic.Router = (*Router)(nil)

// New makes a router.
func New(c *cluster.Client) *Router {
	return &Router{client: c, told: map[string]release.Split{}}
}

// Apply implements traffic.Router. Without a Service it only remembers the
// split: a new process is told again.
func (r *Router) Apply(ctx context.Context, t traffic.Target) error {
	if err := valid(t.Split); err != nil {
		return err
	}
	if name := service(t.Release); name != "" {
		if err := r.point(ctx, t, name); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told[t.Release.Name] = t.Split
	return nil
}

func valid(s release.Split) error {
	var sum release.Weight
	for _, x := range s.Shares {
		sum += x.Weight
	}
	switch {
	case len(s.Shares) > 0 && sum != release.Full:
		return fmt.Errorf("the shares of the split sum to %d of %d: expected all of the traffic", sum, release.Full)
	case len(s.Matched) > 0:
		return errors.New("requests can not be matched where the share follows the instances: choose a router in spec.traffic")
	case s.Mirror != nil:
		return errors.New("requests can not be copied where the share follows the instances: choose a router in spec.traffic")
	}
	return nil
}

// Observe implements traffic.Router. A split is pending while a version with a
// share has no ready pod, or while one that is to have none is still reached by
// the Service. It is open only while the Service is as its user wrote it and no
// share between the versions is wanted: elsewhere a second version's instances
// are how it comes to get requests.
func (r *Router) Observe(ctx context.Context, rel release.Release) (rollout.ObservedSplit, error) {
	p, err := r.pinned(ctx, rel)
	if err != nil {
		return rollout.ObservedSplit{}, err
	}
	r.mu.Lock()
	split, ok := r.told[rel.Name]
	r.mu.Unlock()
	if p != nil && p.split != nil {
		split, ok = *p.split, true
	}
	o := rollout.ObservedSplit{Known: true, Split: split}
	if p != nil {
		o.Open = p.hash == "" && (p.split == nil || alone(*p.split) != "")
	}
	if !ok || len(split.Shares) == 0 {
		return o, nil
	}
	x, err := r.client.Sets(ctx, rel)
	if err != nil {
		return rollout.ObservedSplit{}, err
	}
	ready := x.Ready()
	if p != nil {
		if ready, err = r.reached(ctx, rel, p.name, x); err != nil {
			return rollout.ObservedSplit{}, err
		}
	}
	o.Real = shares(ready)
	o.Pending = pending(split, ready, p != nil && p.hash != "")
	return o, nil
}

// pending reports whether ready pods do not follow a split yet; strict: none that
// is to have no share may be reached.
func pending(split release.Split, ready map[release.VersionID]int32, strict bool) bool {
	for v, n := range ready {
		if strict && n > 0 && split.Of(v) == 0 {
			return true
		}
	}
	for _, s := range split.Shares {
		if s.Weight > 0 && ready[s.Version] == 0 {
			return true
		}
	}
	return false
}

// Remove implements traffic.Router.
func (r *Router) Remove(ctx context.Context, rel release.Release) error {
	if name := service(rel); name != "" {
		if err := r.point(ctx, traffic.Target{Release: rel, Alone: true}, name); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.told, rel.Name)
	return nil
}
