package sim

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/traffic"
)

var _ traffic.Router = (*Router)(nil)

// errDown is what a part of the world says that is away.
var errDown = errors.New("no answer")

// Router has one or more nodes. A split that it is told comes into force at
// each node at a time of its own, in the order in which it was told.
type Router struct {
	w         *World
	nodes     []node
	downUntil time.Duration
	inFlight  map[release.VersionID]int64
	// OnApply sees every split that the router is told, before it acts.
	OnApply func(release.Split)
}

type node struct {
	split release.Split
	queue []told
}

type told struct {
	at    time.Duration
	split release.Split
}

func sameSplit(a, b release.Split) bool {
	mirror := a.Mirror == b.Mirror || a.Mirror != nil && b.Mirror != nil && *a.Mirror == *b.Mirror
	return mirror && a.Salt == b.Salt && a.Rest == b.Rest && slices.Equal(a.Shares, b.Shares) && len(a.Matched) == len(b.Matched)
}

// last is what the node was told last.
func (n *node) last() release.Split {
	if k := len(n.queue); k > 0 {
		return n.queue[k-1].split
	}
	return n.split
}

func newRouter(w *World) *Router {
	return &Router{w: w, nodes: make([]node, max(1, w.Faults.Nodes)), inFlight: map[release.VersionID]int64{}}
}

// Apply tells every node. An error may mean that it was told none the less.
func (r *Router) Apply(_ context.Context, t traffic.Target) error { return r.tell(t.Split) }

// Remove tells every node that the release has no routing.
func (r *Router) Remove(context.Context, release.Release) error { return r.tell(release.Split{}) }

func (r *Router) tell(s release.Split) error {
	if r.OnApply != nil {
		r.OnApply(s)
	}
	w := r.w
	if r.down() {
		return errDown
	}
	for i := range r.nodes {
		n := &r.nodes[i]
		if sameSplit(n.last(), s) {
			continue // it was told so already
		}
		if len(n.queue) == 0 && !w.chance(w.Faults.RouterLate) {
			n.split = s
			continue
		}
		at := w.elapsed + w.span(0, 30*time.Second)
		if k := len(n.queue); k > 0 && n.queue[k-1].at > at {
			at = n.queue[k-1].at
		}
		n.queue = append(n.queue, told{at, s})
	}
	if w.chance(w.Faults.RouterLost) {
		return errDown
	}
	return nil
}

// Observe reports the first node's split; it is pending while any node is to change.
func (r *Router) Observe(context.Context, release.Release) (rollout.ObservedSplit, error) {
	if r.down() {
		return rollout.ObservedSplit{}, errDown
	}
	o := rollout.ObservedSplit{Known: true, Split: r.nodes[0].split}
	for _, n := range r.nodes {
		o.Pending = o.Pending || len(n.queue) > 0 || !slices.Equal(n.split.Shares, o.Split.Shares) || n.split.Rest != o.Split.Rest
	}
	for _, v := range r.w.versions {
		if c := r.inFlight[v.ID]; c > 0 {
			o.InFlight = append(o.InFlight, rollout.InFlight{Version: v.ID, Count: c})
		}
	}
	return o, nil
}

// Splits are those in force, node by node.
func (r *Router) Splits() []release.Split {
	out := make([]release.Split, len(r.nodes))
	for i, n := range r.nodes {
		out[i] = n.split
	}
	return out
}

// Share is the least and the most that any node gives a version now.
func (r *Router) Share(v release.VersionID) (least, most release.Weight) {
	least = release.Full
	for _, n := range r.nodes {
		s := n.split.Of(v)
		least, most = min(least, s), max(most, s)
	}
	return least, most
}

func (r *Router) down() bool {
	if r.w.chance(r.w.Faults.RouterDown) {
		r.downUntil = r.w.elapsed + r.w.span(0, 5*time.Minute)
	}
	return r.w.elapsed < r.downUntil
}

func (r *Router) step() {
	for i := range r.nodes {
		n := &r.nodes[i]
		for len(n.queue) > 0 && n.queue[0].at <= r.w.elapsed {
			n.split, n.queue = n.queue[0].split, n.queue[1:]
		}
	}
	for _, v := range r.w.versions {
		if _, most := r.Share(v.ID); most > 0 {
			r.inFlight[v.ID] = int64(r.w.rng.IntN(4))
		} else if c := r.inFlight[v.ID]; c > 0 && r.w.rng.IntN(2) == 0 {
			r.inFlight[v.ID] = c - 1
		}
	}
}

// forget is a router that was restarted.
func (r *Router) forget() {
	clear(r.inFlight)
	for i := range r.nodes {
		r.nodes[i] = node{}
	}
}
