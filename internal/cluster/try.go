package cluster

import (
	"context"

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
