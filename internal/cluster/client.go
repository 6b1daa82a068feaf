package cluster

import (
	"context"
	"fmt"
	"reflect"
	"strconv"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Client reads from a cache and writes to the API server. A read never gives an
// object that is older than the client's own last write of it: it gives what was
// written until the cache has it. It may be used by many goroutines.
type Client struct {
	cached client.Reader
	live   client.Client

	mu      sync.Mutex
	written map[object]client.Object // as last written, until the cache has it
}

type object struct {
	kind string
	key  client.ObjectKey
}

// New returns a Client that reads from cached, which may be live itself, and
// writes to live. Unknown fields are refused by the server.
func New(cached client.Reader, live client.Client) *Client {
	live = client.WithFieldValidation(client.WithFieldOwner(live, Manager), "Strict")
	return &Client{cached: cached, live: live, written: map[object]client.Object{}}
}

// Scheme is the scheme of the objects that the client knows.
func (c *Client) Scheme() *runtime.Scheme { return c.live.Scheme() }

// Get reads one object.
func (c *Client) Get(ctx context.Context, key client.ObjectKey, obj client.Object) error {
	err := c.cached.Get(ctx, key, obj)
	own := c.own(key, obj)
	switch {
	case own == nil || err != nil && !apierrors.IsNotFound(err):
		return err
	case err != nil: // the cache does not have it yet, or no more
		err = c.live.Get(ctx, key, obj)
		if apierrors.IsNotFound(err) {
			c.forget(key, obj)
		}
		return err
	case version(obj) >= version(own):
		c.forget(key, obj)
	default:
		reflect.ValueOf(obj).Elem().Set(reflect.ValueOf(own.DeepCopyObject()).Elem())
	}
	return nil
}

// List reads objects from the cache; it may miss own writes of the last moments.
// With client.UnsafeDisableDeepCopy they are the cache's own, only to be read.
func (c *Client) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	return c.cached.List(ctx, list, opts...)
}

// ListLive reads objects past the cache.
func (c *Client) ListLive(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	return c.live.List(ctx, list, opts...)
}

// Live reads one object past the cache.
func (c *Client) Live(ctx context.Context, key client.ObjectKey, obj client.Object) error {
	return c.live.Get(ctx, key, obj)
}

// Create writes a new object.
func (c *Client) Create(ctx context.Context, obj client.Object) error {
	return c.wrote(obj, c.live.Create(ctx, obj))
}

// Add writes a new object that nobody reads from the cache: unlike what other
// writes leave, it is not remembered.
func (c *Client) Add(ctx context.Context, obj client.Object) error { return c.live.Create(ctx, obj) }

// Update writes an object whole; apierrors.IsConflict tells that it moved.
func (c *Client) Update(ctx context.Context, obj client.Object) error {
	return c.wrote(obj, c.live.Update(ctx, obj))
}

// UpdateStatus writes an object's status.
func (c *Client) UpdateStatus(ctx context.Context, obj client.Object) error {
	return c.wrote(obj, c.live.Status().Update(ctx, obj))
}

// Patch writes a part of an object.
func (c *Client) Patch(ctx context.Context, obj client.Object, p client.Patch) error {
	return c.wrote(obj, c.live.Patch(ctx, obj, p))
}

// PatchStatus writes a part of an object's status.
func (c *Client) PatchStatus(ctx context.Context, obj client.Object, p client.Patch) error {
	return c.wrote(obj, c.live.Status().Patch(ctx, obj, p))
}

// Delete deletes an object; one that is not there is no error.
func (c *Client) Delete(ctx context.Context, obj client.Object, opts ...client.DeleteOption) error {
	if err := c.live.Delete(ctx, obj, opts...); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete %s %s: %w", kindOf(obj), client.ObjectKeyFromObject(obj), err)
	}
	return nil
}

func (c *Client) wrote(obj client.Object, err error) error {
	if err != nil {
		return err
	}
	kept, _ := obj.DeepCopyObject().(client.Object) // a copy is of the same type
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written[object{kindOf(obj), client.ObjectKeyFromObject(obj)}] = kept
	return nil
}

func (c *Client) own(key client.ObjectKey, obj client.Object) client.Object {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.written[object{kindOf(obj), key}]
}

func (c *Client) forget(key client.ObjectKey, obj client.Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.written, object{kindOf(obj), key})
}

// version is an object's resource version as a number: they grow, and may be
// compared, since Kubernetes 1.35 (KEP-5504).
func version(obj client.Object) int64 {
	n, _ := strconv.ParseInt(obj.GetResourceVersion(), 10, 64) // 0 for none: always older
	return n
}

// kindOf names an object's kind, also where it is read without a type.
func kindOf(obj client.Object) string {
	if _, untyped := obj.(runtime.Unstructured); untyped {
		return obj.GetObjectKind().GroupVersionKind().GroupKind().String()
	}
	return reflect.TypeOf(obj).Elem().String()
}
