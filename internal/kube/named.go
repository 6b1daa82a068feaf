package kube

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// filledIn bounds the wait for an object that is read for the first time.
const filledIn = 2 * time.Second

// named are the ConfigMaps and Secrets that Releases name: each is watched by
// itself, so that no other one is read, or need be allowed to be.
type named struct {
	clients kubernetes.Interface
	changed func(client.Object)

	mu sync.Mutex
	by map[types.NamespacedName]*watched // "Kind/name" in a namespace
}

type watched struct {
	informer toolscache.SharedIndexInformer
	stop     context.CancelFunc

	mu  sync.Mutex
	err error // of the last watch; nil: none
}

// Content is the data of a ConfigMap or a Secret (kind) by key; nil: there is no
// such object. From the first call on a change of it is told as one of the
// Releases that refer to it.
func (s *Shell) Content(kind string, key types.NamespacedName) (map[string][]byte, error) {
	w, err := s.named.watch(s.running, kind, key)
	if err != nil {
		return nil, err
	}
	if !w.informer.HasSynced() {
		return nil, w.missing(kind, key)
	}
	obj, found, err := w.informer.GetStore().GetByKey(key.String())
	if err != nil || !found {
		return nil, err
	}
	switch o := obj.(type) {
	case *corev1.Secret:
		return withData(o.Data), nil
	case *corev1.ConfigMap:
		data := withData(o.BinaryData)
		for k, v := range o.Data {
			data[k] = []byte(v)
		}
		return data, nil
	}
	return nil, fmt.Errorf("the watch of %s %s holds a %T", kind, key, obj)
}

func withData(in map[string][]byte) map[string][]byte {
	out := make(map[string][]byte, len(in))
	for k, v := range in {
		out[k] = v
	}
	return out
}

// watch begins to watch an object, and waits a moment for its first state.
func (n *named) watch(ctx context.Context, kind string, key types.NamespacedName) (*watched, error) {
	at := types.NamespacedName{Namespace: key.Namespace, Name: kind + "/" + key.Name}
	n.mu.Lock()
	w, ok := n.by[at]
	if ok {
		n.mu.Unlock()
		return w, nil
	}
	w, err := n.begin(ctx, kind, key)
	if err == nil {
		n.by[at] = w
	}
	n.mu.Unlock()
	if err != nil {
		return nil, err
	}
	first, cancel := context.WithTimeout(ctx, filledIn)
	defer cancel()
	toolscache.WaitForCacheSync(first.Done(), w.informer.HasSynced)
	return w, nil
}

func (n *named) begin(ctx context.Context, kind string, key types.NamespacedName) (*watched, error) {
	resource, example := "configmaps", client.Object(&corev1.ConfigMap{})
	if kind == "Secret" {
		resource, example = "secrets", &corev1.Secret{}
	}
	list := toolscache.NewListWatchFromClient(n.clients.CoreV1().RESTClient(), resource, key.Namespace, fields.OneTermEqualSelector("metadata.name", key.Name))
	w := &watched{informer: toolscache.NewSharedIndexInformer(list, example, 0, nil)}
	tell := func(in any) {
		if last, ok := in.(toolscache.DeletedFinalStateUnknown); ok {
			in = last.Obj
		}
		if obj, ok := in.(client.Object); ok {
			n.changed(obj)
		}
	}
	handler := toolscache.ResourceEventHandlerFuncs{AddFunc: tell, UpdateFunc: func(_, in any) { tell(in) }, DeleteFunc: tell}
	if _, err := w.informer.AddEventHandler(handler); err != nil {
		return nil, fmt.Errorf("watch %s %s: %w", kind, key, err)
	}
	if err := w.informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *toolscache.Reflector, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.err = err
	}); err != nil {
		return nil, fmt.Errorf("watch %s %s: %w", kind, key, err)
	}
	ctx, w.stop = context.WithCancel(ctx)
	go w.informer.RunWithContext(ctx)
	about, _ := example.DeepCopyObject().(client.Object) // a copy is of the same type
	about.SetNamespace(key.Namespace)
	about.SetName(key.Name)
	go func() {
		if toolscache.WaitForCacheSync(ctx.Done(), w.informer.HasSynced) {
			n.changed(about) // that there is none is told by nothing else
		}
	}()
	return w, nil
}

// missing says why the state of an object is not known.
func (w *watched) missing(kind string, key types.NamespacedName) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return fmt.Errorf("watch %s %s: %w", kind, key, w.err)
	}
	return fmt.Errorf("watch %s %s: the API server has not answered yet", kind, key)
}

// prune ends the watches of what no Release refers to any more.
func (n *named) prune(referred func(types.NamespacedName) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for at, w := range n.by {
		if !referred(at) {
			w.stop()
			delete(n.by, at)
		}
	}
}
