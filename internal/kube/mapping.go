package kube

import (
	"net/http"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// mappings remembers how each kind is served. A cache of some namespaces asks for
// that at every read, and the mapper beneath looks through all kinds each time. It
// forgets none that it found either; what it did not find is asked for again.
type mappings struct {
	meta.RESTMapper

	mu    sync.RWMutex
	known map[schema.GroupVersionKind]*meta.RESTMapping
}

func remembered(m meta.RESTMapper) *mappings {
	return &mappings{RESTMapper: m, known: map[schema.GroupVersionKind]*meta.RESTMapping{}}
}

// newMapper is a manager's MapperProvider.
func newMapper(cfg *rest.Config, http *http.Client) (meta.RESTMapper, error) {
	m, err := apiutil.NewDynamicRESTMapper(cfg, http)
	if err != nil {
		return nil, err
	}
	return remembered(m), nil
}

// RESTMapping implements meta.RESTMapper.
func (m *mappings) RESTMapping(gk schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	if len(versions) != 1 || versions[0] == "" {
		return m.RESTMapper.RESTMapping(gk, versions...) // the preferred version may become another one
	}
	key := gk.WithVersion(versions[0])
	m.mu.RLock()
	found := m.known[key]
	m.mu.RUnlock()
	if found != nil {
		return found, nil
	}
	found, err := m.RESTMapper.RESTMapping(gk, versions...)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	m.known[key] = found
	m.mu.Unlock()
	return found, nil
}
