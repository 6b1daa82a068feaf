// Package endpoints runs nothing: it watches instances that already run
// elsewhere and tells which of them are ready. A workload.Runtime on the probes
// of the engine supervise; it knows no router. runtime.go is all of it.
package endpoints

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/supervise"
	"github.com/haldane-project/haldane/internal/workload"
)

var _ workload.Runtime = (*Runtime)(nil)

// Runtime watches the endpoints of all releases.
type Runtime struct {
	logger  *slog.Logger
	changes *workload.Changes
	ctx     context.Context // of all watches
	cancel  context.CancelFunc
	watches sync.WaitGroup

	mu       sync.Mutex
	releases map[string]map[release.VersionID]*group
}

// group is the endpoints of one version. Its fields are guarded by Runtime.mu.
type group struct {
	version   release.Version
	replicas  int
	endpoints []*endpoint
	cancel    context.CancelFunc // ends the watches; nil: none
}

// endpoint is one address and what its last probe said.
type endpoint struct {
	url string
	err error // nil: ready
}

var errNotProbed = errors.New("not probed yet")

// New returns a Runtime that watches nothing. The logger gets changes of readiness.
func New(logger *slog.Logger) *Runtime {
	ctx, cancel := context.WithCancel(context.Background())
	return &Runtime{
		logger: logger, changes: workload.NewChanges(), ctx: ctx, cancel: cancel,
		releases: map[string]map[release.VersionID]*group{},
	}
}

// Close ends all watches. The endpoints themselves are left alone.
func (r *Runtime) Close(context.Context) error {
	r.mu.Lock()
	r.cancel()
	r.mu.Unlock()
	r.watches.Wait()
	r.changes.Close()
	return nil
}

// Changed delivers the names of releases whose endpoints changed.
func (r *Runtime) Changed() <-chan string { return r.changes.C() }

// Apply watches the endpoints of the listed versions and forgets the others.
func (r *Runtime) Apply(_ context.Context, rel release.Release, want []rollout.Group) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return fmt.Errorf("applying the workload of release %s: the endpoints runtime is closed", rel.Name)
	}
	groups := map[release.VersionID]*group{}
	var errs []error
	for _, w := range want {
		if w.Version.Workload.Endpoints == nil {
			errs = append(errs, fmt.Errorf("version %s of release %s has no endpoints: the endpoints runtime cannot watch it", w.Version.Name, rel.Name))
			continue
		}
		g := r.releases[rel.Name][w.Version.ID]
		if g == nil {
			g = &group{version: w.Version}
		}
		if w.Replicas > 0 && g.cancel == nil {
			r.watch(rel.Name, g)
		}
		if w.Replicas == 0 {
			g.forget()
		}
		g.replicas = w.Replicas
		groups[w.Version.ID] = g
	}
	for id, g := range r.releases[rel.Name] {
		if groups[id] == nil {
			g.forget()
			r.changes.Mark(rel.Name)
		}
	}
	r.releases[rel.Name] = groups
	if len(groups) == 0 {
		delete(r.releases, rel.Name)
	}
	return errors.Join(errs...)
}

// watch begins to probe the endpoints of a group.
func (r *Runtime) watch(name string, g *group) {
	ctx, cancel := context.WithCancel(r.ctx)
	g.cancel = cancel
	w := g.version.Workload
	warm := supervise.WarmUpOf(w)
	for _, address := range w.Endpoints.Addresses {
		e := &endpoint{url: withScheme(address), err: errNotProbed}
		g.endpoints = append(g.endpoints, e)
		r.watches.Go(func() {
			supervise.Watch(ctx, e.url, supervise.Probe(w.Endpoints.Ready), warm, func(err error) {
				r.mu.Lock()
				e.err = err
				r.mu.Unlock()
				r.logger.Info("an endpoint was probed", "release", name, "version", g.version.Name, "endpoint", e.url, "ready", err == nil, "error", err)
				r.changes.Mark(name)
			})
		})
	}
}

func (g *group) forget() {
	if g.cancel != nil {
		g.cancel()
	}
	g.cancel, g.endpoints = nil, nil
}

func withScheme(address string) string {
	if strings.Contains(address, "://") {
		return strings.TrimSuffix(address, "/")
	}
	return "http://" + address
}

// Observe reports the endpoints of the release, sorted by version.
func (r *Runtime) Observe(_ context.Context, rel release.Release) (workload.Fleet, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var fleet workload.Fleet
	for _, g := range r.releases[rel.Name] {
		observed, addresses := g.observe()
		fleet.Groups = append(fleet.Groups, observed)
		if len(addresses) > 0 {
			fleet.Backends = append(fleet.Backends, release.Backend{
				Version: g.version.ID, Addresses: addresses, Rewrite: g.version.Workload.Rewrite,
			})
		}
	}
	slices.SortFunc(fleet.Groups, func(a, b rollout.ObservedGroup) int {
		return strings.Compare(string(a.Version), string(b.Version))
	})
	slices.SortFunc(fleet.Backends, func(a, b release.Backend) int {
		return strings.Compare(string(a.Version), string(b.Version))
	})
	return fleet, nil
}

func (g *group) observe() (rollout.ObservedGroup, []string) {
	seen := rollout.ObservedGroup{Version: g.version.ID, Total: len(g.endpoints)}
	var addresses []string
	for _, e := range g.endpoints {
		if e.err == nil {
			seen.Ready++
			addresses = append(addresses, e.url)
		} else if seen.Error == "" && !errors.Is(e.err, errNotProbed) {
			seen.Error = fmt.Sprintf("%s is not ready: %v", e.url, e.err)
		}
	}
	if have := len(g.endpoints); seen.Error == "" && seen.Ready == have && have < g.replicas {
		seen.Error = fmt.Sprintf("version %s has %d of the %d endpoints that are wanted: add addresses", g.version.Name, have, g.replicas)
		seen.Blocked = true
	}
	slices.Sort(addresses)
	return seen, addresses
}
