// Package process runs versions as local processes: a workload.Runtime on the
// engine supervise. It knows releases and versions, and neither routers nor
// what a version is good for.
//
// Read this file first, then group.go (the instances of one version).
package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/supervise"
	"github.com/haldane-project/haldane/internal/workload"
)

var _ workload.Runtime = (*Runtime)(nil)

// Options of a Runtime.
type Options struct {
	// Dir keeps the records of running processes, by which the next Runtime on
	// it ends what this one left behind.
	Dir string
	// Logger gets starts and ends of instances. Required.
	Logger *slog.Logger
	// Leave is called when an instance that served begins to drain, with its
	// host:port: it returns once no request is there and none will be sent.
	// Nil: InFlight decides.
	Leave func(ctx context.Context, address string) error
	// InFlight counts the requests at host:port. An instance is drained when
	// the count was 0 for a quarter of a second. Nil: nothing is waited for.
	InFlight func(address string) int64
	// Grace from SIGTERM to SIGKILL. Default: 5 s.
	Grace time.Duration
	// Patience is how long a starting program may fail its probe before that is
	// told. Default: 3 s.
	Patience time.Duration
	// BackOff between starts of a program that ends.
	BackOff supervise.BackOff
}

// quiet is how long an address must have no request before its process ends.
const quiet = 250 * time.Millisecond

// Runtime runs the processes of all releases.
type Runtime struct {
	engine  *supervise.Supervisor
	changes *workload.Changes

	mu       sync.Mutex
	closed   bool
	releases map[string]map[release.VersionID]*group
}

// New ends what an earlier Runtime on the directory left running and returns an
// empty one. It fails when another one uses the directory.
func New(opts Options) (*Runtime, error) {
	leave := opts.Leave
	if leave == nil && opts.InFlight != nil {
		leave = supervise.Quiet(opts.InFlight, quiet)
	}
	engine, err := supervise.New(supervise.Options{
		Dir: opts.Dir, Logger: opts.Logger, Leave: leave,
		Grace: opts.Grace, Patience: opts.Patience, BackOff: opts.BackOff,
	})
	if err != nil {
		return nil, fmt.Errorf("process runtime: %w", err)
	}
	return &Runtime{
		engine:   engine,
		changes:  workload.NewChanges(),
		releases: map[string]map[release.VersionID]*group{},
	}, nil
}

// Close drains and stops everything; when ctx ends first the rest is killed.
func (r *Runtime) Close(ctx context.Context) error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	err := r.engine.Close(ctx)
	r.changes.Close()
	return err
}

// Changed delivers the names of releases whose instances changed.
func (r *Runtime) Changed() <-chan string { return r.changes.C() }

// Apply starts and stops instances until they are what is wanted.
func (r *Runtime) Apply(_ context.Context, rel release.Release, want []rollout.Group) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return fmt.Errorf("applying the workload of release %s: the process runtime is closed", rel.Name)
	}
	groups := r.releases[rel.Name]
	if groups == nil {
		groups = map[release.VersionID]*group{}
		r.releases[rel.Name] = groups
	}
	var errs []error
	listed := map[release.VersionID]bool{}
	for _, w := range want {
		if w.Version.Workload.Process == nil {
			errs = append(errs, fmt.Errorf("version %s of release %s is not a process: the process runtime cannot run it", w.Version.Name, rel.Name))
			continue
		}
		listed[w.Version.ID] = true
		g := groups[w.Version.ID]
		if g == nil {
			g = &group{runtime: r, release: rel.Name, version: w.Version}
			groups[w.Version.ID] = g
		}
		errs = append(errs, g.scale(w.Replicas))
	}
	for id, g := range groups {
		g.wanted = listed[id]
		if !g.wanted {
			errs = append(errs, g.scale(0))
		}
	}
	r.forget(rel.Name)
	return errors.Join(errs...)
}

// forget drops groups of which nothing is wanted and nothing is left.
func (r *Runtime) forget(name string) {
	groups := r.releases[name]
	for id, g := range groups {
		if !g.wanted && len(g.active)+len(g.leaving) == 0 {
			delete(groups, id)
		}
	}
	if len(groups) == 0 {
		delete(r.releases, name)
	}
}

// Observe reports the instances of the release, sorted by version. Those that
// still drain count in Total.
func (r *Runtime) Observe(_ context.Context, rel release.Release) (workload.Fleet, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var fleet workload.Fleet
	for _, g := range r.sorted(rel.Name) {
		observed, addresses := g.observe()
		fleet.Groups = append(fleet.Groups, observed)
		if len(addresses) > 0 {
			fleet.Backends = append(fleet.Backends, release.Backend{
				Version: g.version.ID, Addresses: addresses, Rewrite: g.version.Workload.Rewrite,
			})
		}
	}
	return fleet, nil
}

// Usage is what a version's processes have used, children included.
type Usage struct {
	Version    release.VersionID
	CPUSeconds float64 // over all its instances and starts; never decreasing while the version runs
	RSSBytes   int64   // now
	Restarts   int
	Instances  int // now, draining ones included
}

// Usage reports every version of the release, sorted by version. It reads /proc
// once.
func (r *Runtime) Usage(name string) ([]Usage, error) {
	r.mu.Lock()
	var instances []*supervise.Instance
	var list []Usage
	for _, g := range r.sorted(name) {
		list = append(list, g.spent())
		instances = append(instances, g.instances()...)
	}
	r.mu.Unlock()
	used, err := r.engine.Usage(instances...)
	if err != nil {
		return nil, fmt.Errorf("usage of release %s: %w", name, err)
	}
	for i := range list {
		n := list[i].Instances
		for _, u := range used[:n] {
			list[i].add(u)
		}
		used = used[n:]
	}
	return list, nil
}

func (u *Usage) add(more supervise.Usage) {
	u.CPUSeconds += more.CPU.Seconds()
	u.RSSBytes += more.RSS
	u.Restarts += more.Restarts
}

// Logs returns the last lines that the version's instances wrote, oldest first,
// each with its time and instance. Secrets are masked.
func (r *Runtime) Logs(name string, version release.VersionID) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.releases[name][version]
	if g == nil {
		return nil
	}
	return g.logs()
}

func (r *Runtime) sorted(name string) []*group {
	var list []*group
	for _, g := range r.releases[name] {
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b *group) int { return strings.Compare(string(a.version.ID), string(b.version.ID)) })
	return list
}
