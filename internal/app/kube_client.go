package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"

	authv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	ctrl "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/release"
	kubestore "github.com/haldane-project/haldane/internal/store/kube"
	"github.com/haldane-project/haldane/internal/web"
)

// Connect returns a client whose daemon is inside this process and works on the
// Releases of a cluster with the rights of the kubeconfig's user: the very same
// API as a daemon's, over connections in memory, which nobody else can reach. It
// ends with ctx.
func Connect(ctx context.Context, c Cluster, allNamespaces bool) (*client.Client, error) {
	cfg, namespace, err := c.connect()
	if err != nil {
		return nil, err
	}
	scheme, err := kubeScheme()
	if err != nil {
		return nil, err
	}
	live, err := ctrl.NewWithWatch(cfg, ctrl.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster at %s: %w", cfg.Host, err)
	}
	o := kubestore.Options{Namespace: namespace, Short: true, Follow: follow(live, namespace)}
	if allNamespaces {
		o.Namespace, o.Short, o.Follow = "", false, follow(live, "")
	}
	db := kubestore.New(cluster.New(live, live), o)
	server, err := web.New(web.Options{
		Store: db, Listen: "127.0.0.1:0", Local: whoami(ctx, live), Version: Version, Log: slog.New(slog.DiscardHandler),
		Plan:  plan,
		Check: func(_ context.Context, rel release.Release) error { return inCluster(rel) },
	})
	if err != nil {
		return nil, err
	}
	l := &memoryListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	go func() { _ = server.Serve(ctx, l) }() // ends with ctx
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return l.dial(ctx) }
	return client.New("127.0.0.1:1", client.Options{HTTP: &http.Client{Transport: &http.Transport{DialContext: dial}}})
}

// whoami is the user's name for the cluster; where that is not told, the audit
// log of the cluster knows it all the same.
func whoami(ctx context.Context, live ctrl.Client) string {
	var review authv1.SelfSubjectReview
	if err := live.Create(ctx, &review); err != nil || review.Status.UserInfo.Username == "" {
		return "unknown"
	}
	return review.Status.UserInfo.Username
}

// follow watches Releases until ctx ends; a broken watch is begun again by the
// reader, whose stream ends with it.
func follow(live ctrl.WithWatch, namespace string) func(context.Context, func(types.NamespacedName)) {
	return func(ctx context.Context, changed func(types.NamespacedName)) {
		for ctx.Err() == nil {
			w, err := live.Watch(ctx, &v1alpha1.ReleaseList{}, ctrl.InNamespace(namespace))
			if err != nil {
				return
			}
			for e := range w.ResultChan() {
				if obj, ok := e.Object.(*v1alpha1.Release); ok && e.Type != watch.Bookmark {
					changed(ctrl.ObjectKeyFromObject(obj))
				}
			}
		}
	}
}

// memoryListener hands over connections inside the process.
type memoryListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

var errClosed = errors.New("the daemon inside this process has ended")

func (l *memoryListener) dial(ctx context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.closed:
		return nil, errClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept implements net.Listener.
func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *memoryListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *memoryListener) Addr() net.Addr { return memoryAddr{} }

type memoryAddr struct{}

func (memoryAddr) Network() string { return "memory" }
func (memoryAddr) String() string  { return "cluster" }
