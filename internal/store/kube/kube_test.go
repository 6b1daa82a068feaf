package kube_test

import (
	"context"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/deploy/crds"
	engine "github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/store"
	"github.com/haldane-project/haldane/internal/store/kube"
	"github.com/haldane-project/haldane/internal/store/storetest"
	"github.com/haldane-project/haldane/test/cluster"
)

func TestMain(m *testing.M) { cluster.Main(m) }

// api is a client of the API server that knows Haldane's objects.
func api(t *testing.T) (*cluster.Cluster, client.Client) {
	t.Helper()
	c := cluster.ControlPlane(t)
	c.Definitions(t, string(crds.Releases), string(crds.Runs))
	return c, direct(t, c)
}

func direct(t *testing.T, c *cluster.Cluster) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	live, err := client.New(c.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return live
}

func open(t *testing.T, live client.Client, namespace string, short bool) *kube.Store {
	t.Helper()
	s := kube.New(engine.New(live, live), kube.Options{Namespace: namespace, Short: short})
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestStore(t *testing.T) {
	c, live := api(t)
	namespaces := map[store.Store]string{}
	storetest.Run(t, storetest.Harness{
		Cluster: true,
		Open: func(t *testing.T) store.Store {
			ns := c.Namespace(t)
			s := open(t, live, ns, true)
			namespaces[s] = ns
			t.Cleanup(func() { release(live, ns) })
			return s
		},
		Reopen: func(t *testing.T, s store.Store) store.Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return open(t, live, namespaces[s], true)
		},
	})
}

// release takes the finalizers off, so that the namespace can go.
func release(live client.Client, ns string) {
	var list v1alpha1.ReleaseList
	if live.List(context.Background(), &list, client.InNamespace(ns)) != nil {
		return
	}
	for i := range list.Items {
		list.Items[i].Finalizers = nil
		_ = live.Update(context.Background(), &list.Items[i])
	}
}
