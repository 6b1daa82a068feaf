package replicas

import (
	"context"
	"fmt"
	"maps"
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/release"
)

// reached counts the ready pods of each version that a Service leads to.
func (r *Router) reached(ctx context.Context, rel release.Release, name string, x cluster.Sets) (map[release.VersionID]int32, error) {
	var list discoveryv1.EndpointSliceList
	if err := r.client.List(ctx, &list, client.InNamespace(cluster.Key(rel.Name).Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: name}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the endpoints of Service %s: %w", name, err)
	}
	pods := map[string]bool{} // one stands in a slice for each family of addresses
	for _, slice := range list.Items {
		for _, e := range slice.Endpoints {
			if e.TargetRef != nil && (e.Conditions.Ready == nil || *e.Conditions.Ready) {
				pods[e.TargetRef.Name] = true
			}
		}
	}
	out := map[release.VersionID]int32{}
	for pod := range pods {
		if rs := x.Of(pod); rs != nil {
			out[cluster.TemplateID(rs.Spec.Template)]++
		}
	}
	return out, nil
}

// shares are those of the ready pods; none without any.
func shares(ready map[release.VersionID]int32) []release.Share {
	var total int64
	for _, n := range ready {
		total += int64(n)
	}
	var out []release.Share
	var pods, before int64
	versions := slices.Sorted(maps.Keys(ready))
	versions = slices.DeleteFunc(versions, func(v release.VersionID) bool { return ready[v] == 0 })
	for _, v := range versions { // rounded in sum, so that they make the whole
		pods += int64(ready[v])
		upTo := (int64(release.Full)*pods + total/2) / total
		out = append(out, release.Share{Version: v, Weight: release.Weight(upTo - before)}) //nolint:gosec // at most Full
		before = upTo
	}
	return out
}
