package kube

import (
	"reflect"
	"slices"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/cluster"
)

// concerns knows which releases an object concerns: by the label that Haldane
// sets, or by what the Releases refer to.
type concerns struct {
	references func(*v1alpha1.Release) []string

	mu   sync.Mutex
	by   map[types.NamespacedName][]types.NamespacedName // "Kind/name" in a namespace -> Releases
	mine map[types.NamespacedName][]string               // Release -> its references
}

func newConcerns(references func(*v1alpha1.Release) []string) *concerns {
	return &concerns{references: references, by: map[types.NamespacedName][]types.NamespacedName{}, mine: map[types.NamespacedName][]string{}}
}

// note takes in what a Release refers to; it reports whether that changed.
func (c *concerns) note(rel *v1alpha1.Release, gone bool) bool {
	var refs []string
	if !gone {
		if d := rel.Spec.Workload.Deployment; d != nil {
			refs = append(refs, "Deployment/"+d.Name)
		}
		if c.references != nil {
			refs = append(refs, c.references(rel)...)
		}
	}
	key := client.ObjectKeyFromObject(rel)
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.mine[key]
	if slices.Equal(was, refs) {
		return false
	}
	for _, r := range was {
		at := types.NamespacedName{Namespace: key.Namespace, Name: r}
		c.by[at] = slices.DeleteFunc(c.by[at], func(k types.NamespacedName) bool { return k == key })
		if len(c.by[at]) == 0 {
			delete(c.by, at)
		}
	}
	for _, r := range refs {
		at := types.NamespacedName{Namespace: key.Namespace, Name: r}
		c.by[at] = append(c.by[at], key)
	}
	if c.mine[key] = refs; len(refs) == 0 {
		delete(c.mine, key)
	}
	return true
}

// sharing are the other Releases that refer to something that this one does.
func (c *concerns) sharing(rel *v1alpha1.Release) []types.NamespacedName {
	key := client.ObjectKeyFromObject(rel)
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []types.NamespacedName
	for _, r := range c.mine[key] {
		for _, k := range c.by[types.NamespacedName{Namespace: key.Namespace, Name: r}] {
			if k != key && !slices.Contains(out, k) {
				out = append(out, k)
			}
		}
	}
	return out
}

// referred reports whether any Release refers to "Kind/name" in a namespace.
func (c *concerns) referred(at types.NamespacedName) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.by[at]) > 0
}

// of are the Releases that an object concerns.
func (c *concerns) of(obj client.Object) []types.NamespacedName {
	ns := obj.GetNamespace()
	var out []types.NamespacedName
	if name := obj.GetLabels()[cluster.ReleaseLabel]; name != "" {
		out = append(out, types.NamespacedName{Namespace: ns, Name: name})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ref := range names(obj) {
		for _, k := range c.by[types.NamespacedName{Namespace: ns, Name: ref}] {
			if !slices.Contains(out, k) {
				out = append(out, k)
			}
		}
	}
	return out
}

// names are the references that mean an object: its own, or that of the user's
// object that it belongs to.
func names(obj client.Object) []string {
	switch o := obj.(type) {
	case *appsv1.Deployment:
		return deployment(o.Name)
	case *appsv1.ReplicaSet:
		return deployment(withoutHash(o.Name, o.Labels))
	case *corev1.Pod:
		if set := metav1.GetControllerOf(o); set != nil {
			return deployment(withoutHash(set.Name, o.Labels))
		}
		return nil
	case *discoveryv1.EndpointSlice:
		return service(o.Labels[discoveryv1.LabelServiceName])
	case *corev1.Service:
		return service(o.Name)
	}
	kind := obj.GetObjectKind().GroupVersionKind().Kind
	if kind == "" { // typed objects from a cache do not say it
		kind = reflect.TypeOf(obj).Elem().Name()
	}
	return []string{kind + "/" + obj.GetName()}
}

// deployment is a Deployment, or the one beside which it runs.
func deployment(name string) []string {
	out := []string{"Deployment/" + name}
	if user, ok := strings.CutSuffix(name, cluster.CanaryDeployment("")); ok {
		out = append(out, "Deployment/"+user)
	}
	return out
}

func service(name string) []string {
	out := []string{"Service/" + name}
	for _, suffix := range []string{cluster.StableService(""), cluster.CanaryService("")} {
		if user, ok := strings.CutSuffix(name, suffix); ok {
			out = append(out, "Service/"+user)
		}
	}
	return out
}

// withoutHash is the name of the Deployment that made a ReplicaSet.
func withoutHash(set string, labels map[string]string) string {
	return strings.TrimSuffix(set, "-"+labels[appsv1.DefaultDeploymentUniqueLabelKey])
}
