package route

import (
	"context"
	"fmt"
	"slices"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/traffic"
)

// known is the most that is allowed for the implementation to see the endpoints
// that Haldane sees: each watches them by itself, and a route that is taken in
// before them fails its share of the requests.
const known = time.Second

// learn waits until the implementation may be taken to know new endpoints.
func (s Setup) learn(ctx context.Context) error {
	select {
	case <-time.After(min(s.Settle, known)):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait until the endpoints of a new Service are known: %w", ctx.Err())
	}
}

// left returns once the user's Service leads to pods of the version that is
// alone only, and the implementation may be taken to know that: those of the
// other one are its endpoints for a moment after they were told to end, and a
// route that is given back before would send requests to a version that was taken
// off. It waits two seconds at most, since the caller knows that no other version
// has instances, and not at all where the routes are at rest.
func (r *Router) left(ctx context.Context, s Setup, t traffic.Target, parts []*held) error {
	if !slices.ContainsFunc(parts, func(h *held) bool { return h.note != nil }) {
		return nil
	}
	x, err := r.client.Sets(ctx, t.Release)
	if err != nil {
		return nil //nolint:nilerr // without a Deployment no version is parted from another
	}
	over := time.NewTimer(endpointsIn)
	defer over.Stop()
	for {
		pod, err := r.stranger(ctx, s, x, t.Split.Rest)
		if err != nil {
			return err
		}
		if pod == "" {
			return s.learn(ctx)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("wait until pod %s leaves Service %s: %w", pod, s.Service, ctx.Err())
		case <-over.C:
			return nil
		}
	}
}

// stranger is a pod of another version than v to which the user's Service still
// leads; empty: there is none.
func (r *Router) stranger(ctx context.Context, s Setup, x cluster.Sets, v release.VersionID) (string, error) {
	var list discoveryv1.EndpointSliceList
	if err := r.client.List(ctx, &list, client.InNamespace(s.Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: s.Service}, client.UnsafeDisableDeepCopy); err != nil {
		return "", fmt.Errorf("list the endpoints of Service %s: %w", s.Service, err)
	}
	for _, slice := range list.Items {
		for _, e := range slice.Endpoints {
			if e.TargetRef == nil || e.Conditions.Ready != nil && !*e.Conditions.Ready {
				continue
			}
			if rs := x.Of(e.TargetRef.Name); rs != nil && cluster.TemplateID(rs.Spec.Template) != v {
				return e.TargetRef.Name, nil
			}
		}
	}
	return "", nil
}
