package route

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/traffic"
)

// Router is the traffic.Router of a Technology. Make it with New.
type Router struct {
	client *cluster.Client
	tech   Technology
	now    func() time.Time

	mu   sync.Mutex
	told map[string]told // by release
}

// told is what a release's objects were last told in this process.
type told struct {
	split release.Split
	rest  bool      // the objects are at rest
	at    time.Time // of the last write; zero: none was needed
}

var _ traffic.Router = (*Router)(nil)

// New makes a router. A nil now is the clock.
func New(c *cluster.Client, tech Technology, now func() time.Time) *Router {
	if now == nil {
		now = time.Now
	}
	return &Router{client: c, tech: tech, now: now, told: map[string]told{}}
}

// conflicts is how often a write is tried again at once on an object that moved.
const conflicts = 5

// Apply implements traffic.Router. It writes nothing where nothing changes, each
// object once where the split does, and all objects of a release or none, apart
// from requests that are taken away: those are taken wherever they can be. It
// waits for up to two seconds for the endpoints of a Service of its own.
func (r *Router) Apply(ctx context.Context, t traffic.Target) error {
	if err := valid(t.Split); err != nil {
		return err
	}
	s, err := r.tech.Setup(ctx, t.Release)
	if err != nil {
		return err
	}
	for try := 0; ; try++ {
		err = r.apply(ctx, s, t, try > 0)
		if !moved(err) || try == conflicts {
			return err
		}
	}
}

// moved reports whether any of the errors that err is made of says that an
// object changed since it was read.
func moved(err error) bool {
	switch e := err.(type) { //nolint:errorlint // the tree is walked here
	case apierrors.APIStatus:
		return e.Status().Reason == metav1.StatusReasonConflict || e.Status().Reason == metav1.StatusReasonAlreadyExists
	case interface{ Unwrap() error }:
		return moved(e.Unwrap())
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(e.Unwrap(), moved)
	}
	return false
}

func valid(s release.Split) error {
	var sum release.Weight
	for _, x := range s.Shares {
		sum += x.Weight
	}
	if len(s.Shares) > 0 && sum != release.Full {
		return fmt.Errorf("the shares of the split sum to %d of %d: expected all of the traffic", sum, release.Full)
	}
	for _, m := range s.Matched {
		if m.Match.Cohort > 0 {
			return errors.New("requests can not be matched by cohort in a cluster: only the embedded proxy recognises users")
		}
	}
	return nil
}

func (r *Router) apply(ctx context.Context, s Setup, t traffic.Target, live bool) error {
	parts, err := r.readAll(ctx, s, live)
	if err != nil {
		return err
	}
	var missing []error
	for _, h := range parts {
		if h.obj == nil && h.part.Own == nil {
			missing = append(missing, absent(s, h.part))
		}
	}
	gone := len(t.Split.Shares) == 0
	if t.Alone && !gone {
		if left := r.left(ctx, s, t, parts); left != nil {
			return errors.Join(append(missing, left)...)
		}
	}
	if t.Alone || gone {
		return errors.Join(append(missing, r.rest(ctx, s, t, parts, gone))...)
	}
	now, rising := inForce(parts), true
	if now.note != nil && !now.mixed {
		rising = rises(now.note.Split, t.Split)
	}
	if rising && len(missing) > 0 {
		return errors.Join(missing...)
	}
	return errors.Join(append(missing, r.part(ctx, s, t, parts, now, rising))...)
}

func (r *Router) readAll(ctx context.Context, s Setup, live bool) ([]*held, error) {
	parts := make([]*held, len(s.Parts))
	for i, p := range s.Parts {
		var err error
		if parts[i], err = r.read(ctx, s, p, live); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// force is what all parts of a release hold together.
type force struct {
	note  *Note // of the part that is told last; nil: all are at rest
	mixed bool  // the parts do not hold one split
}

func inForce(parts []*held) force {
	var f force
	resting := false
	for _, h := range slices.Backward(parts) {
		switch {
		case h.obj == nil && h.part.Own == nil: // holds nothing
			continue
		case h.note == nil:
			f.mixed = f.mixed || f.note != nil
			resting = true
		case f.note == nil:
			f.note = h.note
			f.mixed = f.mixed || resting
		default:
			f.mixed = f.mixed || !equal(h.note.Split, f.note.Split)
		}
		f.mixed = f.mixed || h.edited
	}
	return f
}

// rises reports whether any version but the rest gets more.
func rises(now, want release.Split) bool {
	for _, v := range named(want) {
		if v != want.Rest && want.Of(v) > now.Of(v) {
			return true
		}
	}
	return !equal(now.Matched, want.Matched) && len(want.Matched) > 0 ||
		want.Mirror != nil && (now.Mirror == nil || *now.Mirror != *want.Mirror)
}

// part writes a split into all objects.
func (r *Router) part(ctx context.Context, s Setup, t traffic.Target, parts []*held, now force, rising bool) error {
	var have Slots
	var split release.Split
	if now.note != nil {
		have, split = now.note.Slots, now.note.Split
	}
	x, err := r.client.Sets(ctx, t.Release)
	if err != nil && rising {
		return err
	}
	slots, err := assign(s, split, have, t.Split, x)
	if err != nil {
		return err
	}
	var changes []*change
	for _, h := range parts {
		if h.obj == nil && h.part.Own == nil {
			continue // said by the caller
		}
		c, err := changeTo(h, t.Split, slots)
		if err != nil {
			return err
		}
		if c != nil {
			changes = append(changes, c)
		}
	}
	moved, err := r.place(ctx, s, t.Release, slots)
	if err != nil && rising {
		return err
	}
	if len(changes) > 0 && rising {
		if err := r.permit(ctx, s, t, split, slots, changes, x, moved); err != nil {
			return err
		}
	}
	if err := r.writeAll(ctx, s, t, changes, rising); err != nil {
		return err
	}
	r.tell(t, false, len(changes) > 0)
	return refused(parts)
}

// permit checks all that must hold before any version gets more.
func (r *Router) permit(ctx context.Context, s Setup, t traffic.Target, now release.Split, slots Slots, changes []*change, x cluster.Sets, moved bool) error {
	if err := r.tech.Check(ctx, s, t.Split); err != nil {
		return err
	}
	var more []release.VersionID
	for _, v := range named(t.Split) {
		if gets(t.Split, v) && (!gets(now, v) || t.Split.Of(v) > now.Of(v) && v != t.Split.Rest) {
			more = append(more, v)
		}
	}
	waited, err := r.await(ctx, s, slots, more, x)
	if err != nil {
		return err
	}
	if moved || waited {
		if err := s.learn(ctx); err != nil {
			return err
		}
	}
	if len(changes) == 1 {
		return nil // one write is whole by itself
	}
	for _, c := range changes {
		if err := r.write(ctx, s, t.Release, c, true); err != nil {
			return err
		}
	}
	return nil
}

// writeAll makes the changes. Where requests only leave a version an object that
// can not be written does not hold up the others; otherwise those that were
// written become what they were.
func (r *Router) writeAll(ctx context.Context, s Setup, t traffic.Target, changes []*change, rising bool) error {
	if !rising {
		slices.Reverse(changes) // what sends requests before what they are sent to
	}
	var errs []error
	for i, c := range changes {
		before := *c.held
		err := r.write(ctx, s, t.Release, c, false)
		if err == nil {
			changes[i].before, changes[i].created = &before, before.obj == nil
			continue
		}
		if !rising {
			errs = append(errs, err)
			continue
		}
		for _, done := range slices.Backward(changes[:i]) {
			err = errors.Join(err, r.undo(ctx, s, t.Release, done))
		}
		return err
	}
	return errors.Join(errs...)
}

// rest makes all objects what the user wrote. What Haldane owns there at rest is
// there before the first split, so that proxies know it when it comes to matter.
func (r *Router) rest(ctx context.Context, s Setup, t traffic.Target, parts []*held, gone bool) error {
	wrote := false
	var errs []error
	for _, h := range slices.Backward(parts) {
		wrote = wrote || h.note != nil || h.obj == nil && h.part.Own != nil && !h.part.Transient
		errs = append(errs, r.restore(ctx, s, t.Release, h, gone))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	r.tell(t, true, wrote)
	return nil
}

func (r *Router) tell(t traffic.Target, rest, wrote bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := told{split: t.Split, rest: rest, at: r.told[t.Release.Name].at}
	if wrote {
		now.at = r.now()
	}
	r.told[t.Release.Name] = now
}

// refused says which object was not taken in.
func refused(parts []*held) error {
	var errs []error
	for _, h := range parts {
		if h.note == nil || h.part.Accepted == nil {
			continue
		}
		if _, err := h.part.Accepted(h.obj); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", h.part, err))
		}
	}
	return errors.Join(errs...)
}

// Observe implements traffic.Router. A split is in force once every object's
// status says that it was taken in, and the time to settle has passed.
func (r *Router) Observe(ctx context.Context, rel release.Release) (rollout.ObservedSplit, error) {
	s, err := r.tech.Setup(ctx, rel)
	if err != nil {
		return rollout.ObservedSplit{}, err
	}
	parts, err := r.readAll(ctx, s, false)
	if err != nil {
		return rollout.ObservedSplit{}, err
	}
	r.mu.Lock()
	was, known := r.told[rel.Name]
	r.mu.Unlock()
	now := inForce(parts)
	o := rollout.ObservedSplit{Known: true, Pending: now.mixed}
	o.Open = slices.ContainsFunc(parts, func(h *held) bool { return h.open })
	switch {
	case now.note != nil:
		o.Split = now.note.Split
		r.settle(&o, s, parts, was)
	case known && was.rest:
		o.Split = was.split
		r.settle(&o, s, nil, was)
	case known: // somebody took the split out
		o.Split, err = r.byPods(ctx, rel)
	}
	return o, err
}

// settle marks a split that is not in force yet.
func (r *Router) settle(o *rollout.ObservedSplit, s Setup, parts []*held, was told) {
	for _, h := range parts {
		if h.note != nil && h.part.Accepted != nil {
			ok, err := h.part.Accepted(h.obj)
			o.Pending = o.Pending || !ok || err != nil
		}
	}
	at := was.at
	if at.IsZero() {
		at = writtenAt(parts)
	}
	if until := at.Add(s.Settle); !at.IsZero() && r.now().Before(until) {
		o.Pending, o.Settles = true, until
	}
}

// writtenAt is when Haldane wrote into the objects last, for a process that did
// not do it itself. The server keeps whole seconds.
func writtenAt(parts []*held) time.Time {
	var last time.Time
	for _, h := range parts {
		if h.obj == nil || h.note == nil {
			continue
		}
		for _, m := range h.obj.GetManagedFields() {
			if m.Manager == cluster.Manager && m.Time != nil && m.Time.Add(time.Second).After(last) {
				last = m.Time.Add(time.Second)
			}
		}
	}
	return last
}

// byPods is the split where nothing parts the versions: by ready pods.
func (r *Router) byPods(ctx context.Context, rel release.Release) (release.Split, error) {
	x, err := r.client.Sets(ctx, rel)
	if err != nil {
		return release.Split{}, err
	}
	var split release.Split
	ready := x.Ready()
	var total int32
	for _, n := range ready {
		total += n
	}
	left := release.Full
	versions := slices.Sorted(maps.Keys(ready))
	for i, v := range versions {
		w := release.Weight(int64(release.Full) * int64(ready[v]) / int64(total))
		if i == len(versions)-1 {
			w = left
		}
		left -= w
		split.Shares = append(split.Shares, release.Share{Version: v, Weight: w})
	}
	return split, nil
}

// Remove implements traffic.Router. While another version has pods the rest
// keeps all of the traffic, apart from them; then the objects become what the
// user wrote, and what Haldane owns is deleted.
func (r *Router) Remove(ctx context.Context, rel release.Release) error {
	s, err := r.tech.Setup(ctx, rel)
	if err != nil {
		return err
	}
	for try := 0; ; try++ {
		err = r.remove(ctx, s, rel, try > 0)
		if !moved(err) || try == conflicts {
			return err
		}
	}
}

func (r *Router) remove(ctx context.Context, s Setup, rel release.Release, live bool) error {
	parts, err := r.readAll(ctx, s, live)
	if err != nil {
		return err
	}
	if now := inForce(parts); now.note != nil && now.note.Split.Rest != "" {
		rest := now.note.Split.Rest
		if x, err := r.client.Sets(ctx, rel); err == nil && x.Others(rest) {
			split := release.Split{Salt: now.note.Split.Salt, Rest: rest, Shares: []release.Share{{Version: rest, Weight: release.Full}}}
			return r.part(ctx, s, traffic.Target{Release: rel, Split: split}, parts, now, now.mixed)
		}
	}
	if err := r.rest(ctx, s, traffic.Target{Release: rel}, parts, true); err != nil {
		return err
	}
	if err := r.deleteOwned(ctx, s, rel, parts); err != nil {
		return err
	}
	r.mu.Lock()
	delete(r.told, rel.Name)
	r.mu.Unlock()
	return nil
}

func (r *Router) deleteOwned(ctx context.Context, s Setup, rel release.Release, parts []*held) error {
	var errs []error
	for _, h := range slices.Backward(parts) {
		if h.part.Own != nil && h.obj != nil && !h.part.Transient {
			errs = append(errs, r.client.Delete(ctx, h.obj))
		}
	}
	for _, name := range s.Slots {
		var svc corev1.Service
		if s.Subsets || r.client.Get(ctx, s.key(name), &svc) != nil || svc.Labels[cluster.ReleaseLabel] != cluster.Key(rel.Name).Name {
			continue
		}
		errs = append(errs, r.client.Delete(ctx, &svc))
	}
	return errors.Join(errs...)
}
