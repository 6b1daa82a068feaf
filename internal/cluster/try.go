package cluster

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TryPatch asks the server whether it would take a Patch; nothing is changed.
func (c *Client) TryPatch(ctx context.Context, obj client.Object, p client.Patch) error {
	return c.live.Patch(ctx, obj, p, client.DryRunAll)
}

// TryCreate asks the server whether it would take a Create; nothing is changed.
func (c *Client) TryCreate(ctx context.Context, obj client.Object) error {
	return c.live.Create(ctx, obj, client.DryRunAll)
}

// Serves reports whether the cluster has a kind.
func (c *Client) Serves(kind schema.GroupVersionKind) (bool, error) {
	_, err := c.live.RESTMapper().RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		return false, nil
	}
	return err == nil, err
}
