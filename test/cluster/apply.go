package cluster

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
)

// manager owns the fields that Apply writes.
const manager = "test-user"

type mapper struct {
	*restmapper.DeferredDiscoveryRESTMapper
}

func newMapper(d discovery.DiscoveryInterface) *mapper {
	return &mapper{restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(d))}
}

// Namespace makes a namespace for a test and deletes it afterwards.
func (c *Cluster) Namespace(t testing.TB) string {
	t.Helper()
	ns, err := c.Client.CoreV1().Namespaces().Create(context.Background(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Not awaited; a cluster that is gone needs no cleaning.
		_ = c.Client.CoreV1().Namespaces().Delete(context.Background(), ns.Name, metav1.DeleteOptions{})
	})
	return ns.Name
}

// Apply applies manifests (YAML documents) as a user would, by server-side
// apply with strict validation. A document without a namespace goes to ns; a
// CustomResourceDefinition is waited for. It returns the objects as stored.
func (c *Cluster) Apply(t testing.TB, ns string, manifests ...string) []*unstructured.Unstructured {
	t.Helper()
	var all []*unstructured.Unstructured
	for _, m := range manifests {
		objects, err := c.apply(context.Background(), ns, []byte(m))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, objects...)
	}
	return all
}

// Definitions applies CustomResourceDefinitions that all tests of a cluster share.
// Only the first call does: an API server works for seconds on what it has already.
func (c *Cluster) Definitions(t testing.TB, manifests ...string) {
	t.Helper()
	for _, m := range manifests {
		c.once(m, func() { c.Apply(t, "", m) })
	}
}

// once installs something that stays as long as the cluster, unless it is there.
func (c *Cluster) once(what string, install func()) {
	c.installing.Lock()
	defer c.installing.Unlock()
	if c.installed[what] {
		return
	}
	install() // does not return where it fails
	if c.installed == nil {
		c.installed = map[string]bool{}
	}
	c.installed[what] = true
}

// ApplyFiles applies files and the *.yaml of directories, CRDs first.
func (c *Cluster) ApplyFiles(t testing.TB, ns string, paths ...string) {
	t.Helper()
	if err := c.applyFiles(context.Background(), ns, paths...); err != nil {
		t.Fatal(err)
	}
}

func (c *Cluster) applyFiles(ctx context.Context, ns string, paths ...string) error {
	var files []string
	for _, p := range paths {
		if info, err := os.Stat(p); err != nil {
			return err
		} else if !info.IsDir() {
			files = append(files, p)
			continue
		}
		in, err := filepath.Glob(filepath.Join(p, "*.yaml"))
		if err != nil {
			return err
		}
		files = append(files, slices.DeleteFunc(in, func(f string) bool { return filepath.Base(f) == "kustomization.yaml" })...)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if _, err := c.apply(ctx, ns, text); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
	}
	return nil
}

func (c *Cluster) apply(ctx context.Context, ns string, manifests []byte) ([]*unstructured.Unstructured, error) {
	var objects, definitions []*unstructured.Unstructured
	for dec := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifests), 4096); ; {
		u := &unstructured.Unstructured{}
		if err := dec.Decode(u); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if len(u.Object) == 0 {
			continue // a document of comments
		}
		stored, err := c.applyOne(ctx, ns, u)
		if err != nil {
			return nil, fmt.Errorf("apply %s %s: %w", u.GetKind(), u.GetName(), err)
		}
		objects = append(objects, stored)
		if u.GetKind() == "CustomResourceDefinition" {
			definitions = append(definitions, stored)
		}
	}
	if len(definitions) > 0 {
		if err := c.established(ctx, definitions); err != nil {
			return nil, err
		}
		c.mapper.Reset()
	}
	return objects, nil
}

func (c *Cluster) applyOne(ctx context.Context, ns string, u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	resource, err := c.resource(u.GroupVersionKind(), cmp.Or(u.GetNamespace(), ns))
	if err != nil {
		return nil, err
	}
	data, err := u.MarshalJSON()
	if err != nil {
		return nil, err
	}
	force := true
	return resource.Patch(ctx, u.GetName(), "application/apply-patch+yaml", data,
		metav1.PatchOptions{FieldManager: manager, FieldValidation: "Strict", Force: &force})
}

// resource is where objects of a kind are; ns is ignored for kinds that have none.
func (c *Cluster) resource(kind schema.GroupVersionKind, ns string) (dynamic.ResourceInterface, error) {
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		c.mapper.Reset() // installed since
		mapping, err = c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	}
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return c.Dynamic.Resource(mapping.Resource), nil
	}
	return c.Dynamic.Resource(mapping.Resource).Namespace(ns), nil
}

// established waits until CRDs are served, which discovery tells behind their
// condition.
func (c *Cluster) established(ctx context.Context, definitions []*unstructured.Unstructured) error {
	crds := c.Dynamic.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	for _, d := range definitions {
		if err := wait(Patience, "CRD "+d.GetName(), func() error {
			u, err := crds.Get(ctx, d.GetName(), metav1.GetOptions{})
			if err != nil {
				return err
			}
			conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
			for _, x := range conditions {
				if m, ok := x.(map[string]any); ok && m["type"] == "Established" && m["status"] == "True" {
					return nil
				}
			}
			return errors.New("it is not established")
		}); err != nil {
			return err
		}
	}
	return wait(Patience, "CRDs in discovery", func() error {
		_, told, err := c.Client.Discovery().ServerGroupsAndResources()
		if told == nil && err != nil { // another group may be away
			return err
		}
		for _, d := range definitions {
			if err := served(d, told); err != nil {
				return err
			}
		}
		return nil
	})
}

// served tells an error unless discovery told of each version of a CRD.
func served(crd *unstructured.Unstructured, told []*metav1.APIResourceList) error {
	group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
	plural, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "plural")
	versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
	for _, v := range versions {
		version, _ := v.(map[string]any)
		if version["served"] != true {
			continue
		}
		at := schema.GroupVersionResource{Group: group, Version: fmt.Sprint(version["name"]), Resource: plural}
		if !slices.ContainsFunc(told, func(l *metav1.APIResourceList) bool {
			return l.GroupVersion == at.GroupVersion().String() && slices.ContainsFunc(l.APIResources, func(r metav1.APIResource) bool { return r.Name == plural })
		}) {
			return fmt.Errorf("discovery does not have %s", at)
		}
	}
	return nil
}

// Patience is how long a test waits for something that must happen on a machine
// that may be slow or busy; it is no figure.
const Patience = 5 * time.Minute

// Eventually polls until ready returns nil and fails the test after the limit:
// for what no watch of the test's own tells.
func Eventually(t testing.TB, limit time.Duration, what string, ready func() error) {
	t.Helper()
	if err := wait(limit, what, ready); err != nil {
		t.Fatal(err)
	}
}
