package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/store"
)

// Apply implements store.Store. Labels and annotations of others stay. The
// cluster stamps the times, and keeps who wrote in its own audit log.
func (s *Store) Apply(ctx context.Context, name string, manifest json.RawMessage, _ store.Actor, _ time.Time) (store.Record, error) {
	var want v1alpha1.Release
	if err := json.Unmarshal(manifest, &want); err != nil {
		return store.Record{}, fmt.Errorf("store release %q: the manifest does not decode: %w", name, err)
	}
	key := s.key(name)
	if want.Namespace != "" && want.Namespace != key.Namespace {
		return store.Record{}, fmt.Errorf("store release %q: the manifest says namespace %s and the command works in %s: give --namespace %s", name, want.Namespace, key.Namespace, want.Namespace)
	}
	for range tries {
		obj, err := s.applyOnto(ctx, key, want)
		if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
			continue
		}
		if err != nil {
			return store.Record{}, err
		}
		d, err := s.decode(obj)
		return d.record, err
	}
	return store.Record{}, fmt.Errorf("store release %q: others changed it %d times meanwhile: %w", name, tries, store.ErrConflict)
}

func (s *Store) applyOnto(ctx context.Context, key types.NamespacedName, want v1alpha1.Release) (*v1alpha1.Release, error) {
	obj, err := s.live(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		obj = &v1alpha1.Release{Spec: want.Spec}
		obj.Namespace, obj.Name, obj.Labels, obj.Annotations = key.Namespace, key.Name, want.Labels, want.Annotations
		return s.put(obj, s.client.Create(ctx, obj), key)
	}
	if err != nil {
		return nil, err
	}
	if obj.DeletionTimestamp != nil {
		return nil, fmt.Errorf("release %s is being deleted; apply it again when it is gone: %w", key, store.ErrConflict)
	}
	same, err := sameSpec(obj.Spec, want.Spec)
	if err != nil {
		return nil, err
	}
	if same && within(want.Labels, obj.Labels) && within(want.Annotations, obj.Annotations) {
		return obj, nil
	}
	obj.Spec = want.Spec
	obj.Labels, obj.Annotations = merged(obj.Labels, want.Labels), merged(obj.Annotations, want.Annotations)
	return s.put(obj, s.client.Update(ctx, obj), key)
}

func (s *Store) put(obj *v1alpha1.Release, err error, key types.NamespacedName) (*v1alpha1.Release, error) {
	if err != nil {
		if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
			return nil, err
		}
		return nil, wrap(err, "apply Release %s", key)
	}
	s.Tell(key)
	return obj, nil
}

func sameSpec(a, b v1alpha1.ReleaseSpec) (bool, error) {
	x, err := json.Marshal(a)
	if err != nil {
		return false, err
	}
	y, err := json.Marshal(b)
	return bytes.Equal(x, y), err
}

func within(small, large map[string]string) bool {
	for k, v := range small {
		if w, ok := large[k]; !ok || v != w {
			return false
		}
	}
	return true
}

func merged(into, from map[string]string) map[string]string {
	if into == nil {
		into = map[string]string{}
	}
	for k, v := range from {
		into[k] = v
	}
	return into
}

// Delete implements store.Store: the finalizer keeps the object until a pass has
// taken it down.
func (s *Store) Delete(ctx context.Context, name string, _ store.Actor, _ time.Time) error {
	key := s.key(name)
	obj, err := s.live(ctx, key)
	if err != nil {
		return err
	}
	if obj.DeletionTimestamp != nil {
		return nil
	}
	if err := s.client.Delete(ctx, obj); err != nil {
		return wrap(err, "delete Release %s", key)
	}
	s.Tell(key)
	return nil
}
