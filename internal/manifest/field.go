package manifest

import (
	"reflect"
	"strings"
)

// fieldsOf maps the JSON names of a struct's fields to their types; inlined
// structs count as their fields.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	eachField(t, func(name string, ft reflect.Type) { out[name] = ft })
	return out
}

// fieldNames lists the JSON names in the order of the declaration. Fields that
// only a server writes are not offered.
func fieldNames(t reflect.Type) []string {
	var out []string
	eachField(t, func(name string, _ reflect.Type) {
		if !serverWritten[name] {
			out = append(out, name)
		}
	})
	return out
}

// serverWritten are fields of metadata that people never write.
var serverWritten = map[string]bool{"generateName": true, "selfLink": true, "uid": true, "resourceVersion": true,
	"generation": true, "creationTimestamp": true, "deletionTimestamp": true, "deletionGracePeriodSeconds": true,
	"ownerReferences": true, "finalizers": true, "managedFields": true, "status": true}

func eachField(t reflect.Type, visit func(string, reflect.Type)) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, rest, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case name == "" && strings.Contains(rest, "inline"):
			eachField(f.Type, visit)
		case name != "":
			visit(name, f.Type)
		}
	}
}
