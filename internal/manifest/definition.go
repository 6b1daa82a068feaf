package manifest

import (
	"fmt"
	"math"
	"reflect"

	"sigs.k8s.io/yaml"

	"github.com/haldane-project/haldane/api/v1alpha1"
)

// What decodes as a duration and as a share, whatever the rules say of it then.
// More digits would not fit into the Go type.
const (
	decimal         = `([0-9]{1,9}(\.[0-9]{0,9})?|\.[0-9]{1,9})`
	durationPattern = `^[-+]?(0|(` + decimal + `(ns|us|µs|μs|ms|s)|[0-9]{1,7}(\.[0-9]{0,9})?m|[0-9]{1,5}(\.[0-9]{0,9})?h){1,6})$`
)

// Definition completes the definition of releases (YAML) that is generated from
// the types by what the generator does not know of them: which text is a
// duration, and how large a number may be, and by what Parse says of a value
// (rule.go). Without it an API server would take in an object that nothing can
// decode, and one of those hides all others in a list.
func Definition(generated []byte) ([]byte, error) {
	var crd schema
	if err := yaml.Unmarshal(generated, &crd); err != nil {
		return nil, fmt.Errorf("read the definition of releases: %w", err)
	}
	spec, _ := crd["spec"].(schema)
	versions, _ := spec["versions"].([]any)
	for _, v := range versions {
		version, _ := v.(schema)
		top, _ := version["schema"].(schema)
		root, ok := top["openAPIV3Schema"].(schema)
		if !ok {
			return nil, fmt.Errorf("the definition of releases has a version without a schema: run controller-gen")
		}
		properties, _ := root["properties"].(schema)
		restrict(properties["spec"], reflect.TypeFor[v1alpha1.ReleaseSpec](), false)
	}
	out, err := yaml.Marshal(crd)
	return append([]byte("---\n"), out...), err
}

// restrict makes a schema refuse what does not decode into the Go type, and gives
// it its rules; listed: it stands in a list.
func restrict(node any, t reflect.Type, listed bool) {
	s, ok := node.(schema)
	if !ok {
		return
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	reword(s)
	switch {
	case t == durationType:
		s["pattern"] = durationPattern
		timed(s)
	case t == percentType:
		s["minimum"], s["maximum"] = math.MinInt32, math.MaxInt32
		shared(s, listed)
	case t == jsonType:
	case t.Kind() == reflect.Struct:
		properties, _ := s["properties"].(schema)
		for name, ft := range fieldsOf(t) {
			restrict(properties[name], ft, listed)
		}
	case t.Kind() == reflect.Slice:
		restrict(s["items"], t.Elem(), true)
	case t.Kind() == reflect.Map:
		restrict(s["additionalProperties"], t.Elem(), true)
	}
}
