// Package nginx is the traffic.Router of the NGINX ingress controller: the
// user's Ingress leads to one version's Service, and a second Ingress, marked as
// canary, to the other's, with a share or a condition. It knows Ingresses and
// the controller's annotations; how a split comes and goes, package route knows.
//
// The controller takes one canary for a host and path: one share, one header or
// cookie, and copies of all requests only, so that plans with more are refused.
// It says in no status which configuration it runs: a split counts as in force
// once the time to settle has passed.
//
// Read this file first, then render.go (what each Ingress holds).
package nginx

import (
	"context"
	"fmt"
	"maps"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/traffic/route"
)

// Ingress is the kind that is written.
var Ingress = schema.GroupVersionKind{Group: "networking.k8s.io", Version: "v1", Kind: "Ingress"}

// classAnnotation names the controller in the old way.
const classAnnotation = "kubernetes.io/ingress.class"

// technology implements route.Technology.
type technology struct{ client *cluster.Client }

// New makes a router for releases with spec.traffic.nginx. A nil now is the clock.
func New(c *cluster.Client, now func() time.Time) *route.Router {
	return route.New(c, technology{c}, now)
}

// Setup implements route.Technology. The user's Ingress is written first as
// requests come to a version, and the canary's as they go, so that no state
// between the two sends a request where neither the old nor the new split does.
func (t technology) Setup(ctx context.Context, rel release.Release) (route.Setup, error) {
	n := rel.Traffic.NGINX
	if n == nil {
		return route.Setup{}, fmt.Errorf("the traffic of release %s is of another kind: expected spec.traffic.nginx", rel.Name)
	}
	s := route.Setup{Namespace: cluster.Key(rel.Name).Namespace, Service: n.Service, Settle: n.Settle,
		Slots: [2]string{cluster.StableService(n.Service), cluster.CanaryService(n.Service)}}
	user := &unstructured.Unstructured{}
	user.SetGroupVersionKind(Ingress)
	if err := t.client.Get(ctx, types.NamespacedName{Namespace: s.Namespace, Name: n.Ingress}, user); err != nil && !apierrors.IsNotFound(err) {
		return s, fmt.Errorf("read Ingress %s: %w", n.Ingress, err)
	}
	w := writer{service: n.Service, slots: s.Slots}
	path := []string{"spec", "rules"}
	list, _, err := unstructured.NestedSlice(user.Object, path...)
	if err != nil {
		return s, fmt.Errorf("Ingress %s: %w", n.Ingress, err)
	}
	c := canary{writer: w, rules: w.ours(list)}
	s.Parts = []route.Part{
		{Kind: Ingress, Name: n.Ingress, Path: path, Render: w.render, Reset: w.reset},
		{Kind: Ingress, Name: n.Ingress + "-canary", Path: path, Render: c.render, Reset: c.reset, Transient: true, Annotations: prefix,
			Own: func() map[string]any { return c.object(user) }},
	}
	return s, nil
}

// Check implements route.Technology; what can not be had, Render says.
func (technology) Check(context.Context, route.Setup, release.Split) error { return nil }

// object is the second Ingress, of the same class as the user's.
func (c canary) object(user *unstructured.Unstructured) map[string]any {
	spec := map[string]any{"rules": route.Clone(c.rules)}
	if class, ok, _ := unstructured.NestedString(user.Object, "spec", "ingressClassName"); ok {
		spec["ingressClassName"] = class
	}
	annotations := map[string]any{}
	if class, ok := user.GetAnnotations()[classAnnotation]; ok {
		annotations[classAnnotation] = class
	}
	return map[string]any{"spec": spec, "metadata": map[string]any{"annotations": annotations}}
}

// base is the Service that the user's Ingress leads to: that of the version with
// all of the traffic, or stable's. The other one's is the canary's; empty: it has
// no pods to be reached. The controller fails all requests of a path whose first
// Service has no endpoints.
func (w writer) base(split release.Split, slots route.Slots) (base, other string) {
	used := map[string]bool{}
	for s := range maps.Values(slots) {
		used[s.Name] = true
	}
	base, other = w.slots[0], w.slots[1]
	for _, x := range split.Shares {
		if x.Weight == release.Full && slots[x.Version].Name == w.slots[1] {
			base, other = other, base
		}
	}
	if !used[other] {
		other = ""
	}
	return base, other
}
