package kube

import (
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// asked counts how often the mapper beneath is asked.
type asked struct {
	meta.RESTMapper
	times int
}

func (a *asked) RESTMapping(gk schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	a.times++
	return a.RESTMapper.RESTMapping(gk, versions...)
}

// TestAKindIsLookedUpOnce: one that is not served yet is looked up until it is.
func TestAKindIsLookedUpOnce(t *testing.T) {
	known := meta.NewDefaultRESTMapper(nil)
	beneath := &asked{RESTMapper: known}
	m := remembered(beneath)
	route := schema.GroupVersionKind{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "HTTPRoute"}
	for range 2 {
		if _, err := m.RESTMapping(route.GroupKind(), route.Version); !meta.IsNoMatchError(err) {
			t.Errorf("a kind that is not served: %v", err)
		}
	}
	known.Add(route, meta.RESTScopeNamespace)
	for range 3 {
		got, err := m.RESTMapping(route.GroupKind(), route.Version)
		if err != nil || got.GroupVersionKind != route || got.Scope.Name() != meta.RESTScopeNameNamespace || got.Resource.Resource != "httproutes" {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if beneath.times != 3 {
		t.Errorf("looked up %d times, expected 3: twice in vain, once for good", beneath.times)
	}
	later := route.GroupKind().WithVersion("v2")
	if _, err := m.RESTMapping(later.GroupKind(), later.Version); !meta.IsNoMatchError(err) {
		t.Errorf("another version of it: %v", err)
	}
	known.Add(later, meta.RESTScopeRoot)
	if got, err := m.RESTMapping(later.GroupKind(), later.Version); err != nil || got.Scope.Name() != meta.RESTScopeNameRoot {
		t.Errorf("another version of it, served now: %+v, %v", got, err)
	}
}
