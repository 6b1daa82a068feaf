package manifest

import (
	"encoding/json"
	"reflect"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/deploy/crds"
)

// SchemaID names the schema; nothing is fetched from there.
const SchemaID = "https://haldane.dev/schema/v1alpha1/release.json"

// Schema returns the JSON Schema (draft 7) of a release, for completion and
// checks in editors. It is derived from the cluster's definition, so that both
// follow the same types; rules between fields are in Parse only.
func Schema() []byte {
	root := openAPI()
	describeTypes(root, reflect.TypeFor[v1alpha1.Release]())
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	root["$id"] = SchemaID
	root["title"] = "Haldane Release"
	root["required"] = []any{"apiVersion", "kind", "metadata", "spec"}
	properties := root["properties"].(schema)
	properties["apiVersion"] = schema{"const": apiVersion, "description": "Version of the manifest's form."}
	properties["kind"] = schema{"const": Kind, "description": "Kind of the object."}
	properties["metadata"] = metadataSchema()
	properties["status"] = schema{"description": "Written by Haldane only."}
	out, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic("manifest: a schema that does not marshal: " + err.Error())
	}
	return append(out, '\n')
}

type schema = map[string]any

// openAPI is the schema within the definition. The definition is a part of the
// program, so that a failure here is one of the build.
func openAPI() schema {
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema schema `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(crds.Releases, &crd); err != nil || len(crd.Spec.Versions) == 0 {
		panic("manifest: the embedded definition of releases cannot be read; run make generate")
	}
	return crd.Spec.Versions[0].Schema.OpenAPIV3Schema
}

func metadataSchema() schema {
	properties := schema{
		"name":        schema{"type": "string", "pattern": label.String(), "maxLength": 63, "description": "Name of the release."},
		"namespace":   schema{"type": "string", "description": "Namespace, in a cluster."},
		"labels":      schema{"type": "object", "additionalProperties": schema{"type": "string"}, "description": "Labels, for selecting."},
		"annotations": schema{"type": "object", "additionalProperties": schema{"type": "string"}, "description": "Annotations, for anything else."},
	}
	for name := range serverWritten {
		if name != "status" {
			properties[name] = schema{"description": "Written by a cluster's API server only."}
		}
	}
	return schema{"type": "object", "required": []any{"name"}, "additionalProperties": false, "properties": properties,
		"description": "Name and labels of the release."}
}

// describeTypes turns the dialect of definitions into plain JSON Schema, beside
// the Go type, which knows durations and shares.
func describeTypes(s schema, t reflect.Type) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if text, ok := s["description"].(string); ok {
		s["description"] = unfold(text)
	}
	plainRules(s)
	switch {
	case t == percentType:
		for _, key := range []string{"type", "minimum", "maximum"} {
			delete(s, key)
		}
		s["anyOf"] = []any{
			schema{"type": "integer", "minimum": 0, "maximum": 100},
			schema{"type": "string", "pattern": `^\d{1,3}(\.\d{1,2}0*)?\s?%$`},
		}
	case t == durationType:
		s["pattern"] = `^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))*$|^0$`
	case t == jsonType:
	case t.Kind() == reflect.Struct:
		if properties, ok := s["properties"].(schema); ok {
			s["additionalProperties"] = false
			for name, ft := range fieldsOf(t) {
				if inner, ok := properties[name].(schema); ok {
					describeTypes(inner, ft)
				}
			}
		}
	case t.Kind() == reflect.Slice:
		describeTypes(s["items"].(schema), t.Elem())
	case t.Kind() == reflect.Map:
		describeTypes(s["additionalProperties"].(schema), t.Elem())
	}
	for key := range s {
		if strings.HasPrefix(key, "x-kubernetes-") {
			delete(s, key)
		}
	}
	if _, ok := s["pattern"]; ok || s["format"] == "int32" || s["format"] == "int64" {
		delete(s, "format")
	}
}

// unfold joins the lines of a comment; an empty line stays a break.
func unfold(text string) string {
	paragraphs := strings.Split(strings.TrimSpace(text), "\n\n")
	for i, p := range paragraphs {
		paragraphs[i] = strings.Join(strings.Fields(p), " ")
	}
	return strings.Join(paragraphs, "\n\n")
}
