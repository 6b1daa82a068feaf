// Package kube is the store.Store of a cluster: a release is a Release object,
// what the passes keep of it is its status, and what people ask is an annotation
// on it. It knows the API's objects, and nothing of Deployments, routes or passes.
//
// The spec and the people's fields of the status are readable by anyone; the
// machine's part (state, judge, cursor, events) is one compact field. A save is
// one status write, refused by the server when the object moved under it. Ended
// runs are Run objects, owned by the Release. Looks between and the evidence are
// kept in memory, bounded, and end with the process.
//
// Read this file first (what is read), then object.go (how a record lies in an
// object), save.go (writes of passes), intent.go (what people ask), status.go
// (conditions) and history.go (runs, events, looks).
package kube

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/store"
)

// Options of a Store.
type Options struct {
	// Namespace that alone is looked at; empty: all.
	Namespace string
	// Short leaves the namespace out of names; it needs Namespace. It is for
	// people: the controller works with namespace/name.
	Short bool
	// Follow tells the names of Releases that others changed, until ctx ends; it
	// is called with each Watch. Nil: Tell is called instead.
	Follow func(ctx context.Context, changed func(types.NamespacedName))
	Now    func() time.Time // nil: time.Now
	Log    *slog.Logger     // nil: discarded
}

// Store keeps releases in a cluster. It may be used by many goroutines, and by
// many processes: a write that another one overtook is store.ErrConflict.
type Store struct {
	client  *cluster.Client
	options Options
	watches store.Watches

	mu      sync.Mutex
	decoded map[types.NamespacedName]decoded
	notes   map[types.NamespacedName]Note
	asked   map[int64]types.NamespacedName // own questions
	lastID  int64
	memory  *memory
}

var _ store.Store = (*Store)(nil)

// New returns a Store of the Releases that the client sees.
func New(c *cluster.Client, o Options) *Store {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Store{client: c, options: o,
		decoded: map[types.NamespacedName]decoded{}, notes: map[types.NamespacedName]Note{},
		asked: map[int64]types.NamespacedName{}, memory: newMemory()}
}

// key is the object of a release's name.
func (s *Store) key(name string) types.NamespacedName {
	if s.options.Short {
		return types.NamespacedName{Namespace: s.options.Namespace, Name: name}
	}
	return cluster.Key(name)
}

// name is the release's name of an object.
func (s *Store) name(key types.NamespacedName) string {
	if s.options.Short {
		return key.Name
	}
	return cluster.Name(key)
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, name string) (store.Record, error) {
	obj, err := s.read(ctx, s.key(name))
	if err != nil {
		return store.Record{}, err
	}
	d, err := s.decode(obj)
	return d.record, err
}

// List implements store.Store.
func (s *Store) List(ctx context.Context) ([]store.Record, error) {
	objs, err := s.list(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]store.Record, 0, len(objs))
	for i := range objs {
		d, err := s.decode(&objs[i])
		if err != nil {
			return nil, err
		}
		out = append(out, d.record)
	}
	slices.SortFunc(out, func(a, b store.Record) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

func (s *Store) list(ctx context.Context) ([]v1alpha1.Release, error) {
	var list v1alpha1.ReleaseList
	if err := s.client.List(ctx, &list, client.InNamespace(s.options.Namespace)); err != nil {
		return nil, wrap(err, "list the Releases")
	}
	return list.Items, nil
}

// read returns an object that is no older than the store's own last write of it.
func (s *Store) read(ctx context.Context, key types.NamespacedName) (*v1alpha1.Release, error) {
	var obj v1alpha1.Release
	return s.found(key, &obj, s.client.Get(ctx, key, &obj))
}

// live reads past the cache.
func (s *Store) live(ctx context.Context, key types.NamespacedName) (*v1alpha1.Release, error) {
	var obj v1alpha1.Release
	return s.found(key, &obj, s.client.Live(ctx, key, &obj))
}

func (s *Store) found(key types.NamespacedName, obj *v1alpha1.Release, err error) (*v1alpha1.Release, error) {
	if apierrors.IsNotFound(err) {
		s.forget(key)
	}
	if err != nil {
		return nil, wrap(err, "read Release %s", key)
	}
	return obj, nil
}

func (s *Store) forget(key types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.decoded, key)
	delete(s.notes, key)
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context) <-chan string {
	out := s.watches.Watch(ctx)
	if s.options.Follow != nil {
		go s.options.Follow(ctx, s.Tell)
	}
	return out
}

// Tell says that a Release changed.
func (s *Store) Tell(key types.NamespacedName) { s.watches.Tell(s.name(key)) }

// Close ends all watches. Nothing waits to be written.
func (s *Store) Close() error {
	s.watches.Close()
	return nil
}

// wrap says what was attempted, with an error of the port where it is one.
func wrap(err error, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%s: %w: %w", what, store.ErrNotFound, err)
	case apierrors.IsConflict(err):
		return fmt.Errorf("%s: %w: %w", what, store.ErrConflict, err)
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return fmt.Errorf("%s: %w: %w", what, store.ErrDenied, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}
