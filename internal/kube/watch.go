package kube

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/cluster"
)

// lastApplied is where kubectl keeps a whole copy of an object.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// strip leaves out of the cache what nobody here reads.
func strip(in any) (any, error) {
	if u, ok := in.(*unstructured.Unstructured); ok {
		return u, nil // routers give fields back to who applied them
	}
	if obj, ok := in.(client.Object); ok {
		obj.SetManagedFields(nil)
	}
	pod, ok := in.(*corev1.Pod)
	if !ok {
		return in, nil
	}
	delete(pod.Annotations, lastApplied)
	pod.Spec.Volumes = nil
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		c.Env, c.EnvFrom, c.VolumeMounts, c.Command, c.Args = nil, nil, nil, nil, nil
	}
	pod.Spec.InitContainers = nil
	return in, nil
}

// always are the kinds that every cluster has.
func always() []client.Object {
	return []client.Object{&appsv1.Deployment{}, &appsv1.ReplicaSet{}, &corev1.Pod{}, &corev1.Service{}, &discoveryv1.EndpointSlice{}}
}

// watchAll registers the informers. Optional kinds whose definition comes later
// are picked up when it does.
func (s *Shell) watchAll(ctx context.Context, told func(types.NamespacedName)) error {
	if err := s.watch(ctx, &v1alpha1.Release{}, func(obj client.Object, gone bool) {
		key := client.ObjectKeyFromObject(obj)
		rel, ok := obj.(*v1alpha1.Release)
		if !ok {
			return
		}
		if s.concerns.note(rel, gone) {
			for _, other := range s.concerns.sharing(rel) {
				told(other)
			}
			s.named.prune(s.concerns.referred)
		}
		told(key)
	}); err != nil {
		return err
	}
	mark := func(obj client.Object, _ bool) { s.mark(obj) }
	for _, obj := range always() {
		if err := s.watch(ctx, obj, mark); err != nil {
			return err
		}
	}
	var later []client.Object
	for _, obj := range s.options.Optional {
		if !s.Served(obj) {
			later = append(later, obj)
			continue
		}
		if err := s.watch(ctx, obj, mark); err != nil {
			return err
		}
	}
	return s.watchLater(ctx, later, mark)
}

// mark tells that an object changed which Releases work with.
func (s *Shell) mark(obj client.Object) {
	for _, key := range s.concerns.of(obj) {
		s.Changes.Mark(cluster.Name(key))
	}
}

// watchLater waits for the definitions of kinds that are not served yet. A
// controller of one namespace may not read definitions: it is started again
// after they were installed.
func (s *Shell) watchLater(ctx context.Context, later []client.Object, mark func(client.Object, bool)) error {
	if len(later) == 0 || s.options.Namespace != "" {
		return nil
	}
	def := &metav1.PartialObjectMetadata{}
	def.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	begun := map[client.Object]bool{}
	return s.watch(ctx, def, func(client.Object, bool) {
		for _, obj := range later {
			if begun[obj] || !s.Served(obj) {
				continue
			}
			begun[obj] = true
			go func() {
				if err := s.watch(ctx, obj, mark); err != nil {
					s.options.Log.Warn("a kind that was installed can not be watched", "error", err)
				}
			}()
		}
	})
}

func (s *Shell) watch(ctx context.Context, obj client.Object, changed func(obj client.Object, gone bool)) error {
	informer, err := s.manager.GetCache().GetInformer(ctx, obj)
	if err != nil {
		return fmt.Errorf("watch %T: %w", obj, err)
	}
	tell := func(in any, gone bool) {
		if last, ok := in.(toolscache.DeletedFinalStateUnknown); ok {
			in = last.Obj
		}
		if o, ok := in.(client.Object); ok {
			changed(o, gone)
		}
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(in any) { tell(in, false) },
		UpdateFunc: func(was, in any) {
			a, ok := was.(client.Object)
			b, ok2 := in.(client.Object)
			if ok && ok2 && a.GetResourceVersion() == b.GetResourceVersion() {
				return // a resync
			}
			tell(in, false)
		},
		DeleteFunc: func(in any) { tell(in, true) },
	})
	return err
}
