package manifest

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	structure "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/haldane-project/haldane/deploy/crds"
)

// rules evaluates the rules of the definition as an API server does, and refuses
// a definition whose rules one refuses or finds too dear.
func rules(t *testing.T) func(object any) field.ErrorList {
	t.Helper()
	var external v1.CustomResourceDefinition
	if err := yaml.Unmarshal(crds.Releases, &external); err != nil {
		t.Fatal(err)
	}
	v1.SetDefaults_CustomResourceDefinition(&external)
	v1.SetDefaults_CustomResourceDefinitionSpec(&external.Spec)
	var crd apiextensions.CustomResourceDefinition
	if err := v1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&external, &crd, nil); err != nil {
		t.Fatal(err)
	}
	crd.Status.StoredVersions = []string{"v1alpha1"}
	for _, err := range crdvalidation.ValidateCustomResourceDefinition(t.Context(), &crd) {
		t.Errorf("an API server refuses the definition: %.400s", err.Error())
	}
	var internal apiextensions.JSONSchemaProps
	if err := v1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(external.Spec.Versions[0].Schema.OpenAPIV3Schema, &internal, nil); err != nil {
		t.Fatal(err)
	}
	structural, err := structure.NewStructural(&internal)
	if err != nil {
		t.Fatal(err)
	}
	v := cel.NewValidator(structural, true, 1_000_000)
	return func(object any) field.ErrorList {
		errs, _ := v.Validate(context.Background(), nil, structural, object, nil, math.MaxInt64)
		return errs
	}
}

func object(t *testing.T, text []byte) any {
	t.Helper()
	raw, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return whole(v)
}

// whole makes numbers what an API server decodes them to.
func whole(v any) any {
	switch x := v.(type) {
	case map[string]any:
		for k := range x {
			x[k] = whole(x[k])
		}
	case []any:
		for i := range x {
			x[i] = whole(x[i])
		}
	case json.Number:
		if n, err := x.Int64(); err == nil {
			return n
		}
		f, _ := x.Float64()
		return f
	}
	return v
}

// The rules let every good manifest pass.
func TestRulesTakeWhatParseTakes(t *testing.T) {
	check := rules(t)
	files, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range check(object(t, text)) {
			t.Errorf("%s: %v", f, e)
		}
	}
}

// inFront is how an API server shows a value before a message that lacks it.
var inFront = regexp.MustCompile(`^Invalid value: (.+?): `)

// What a rule refuses it refuses in the words of Parse, at the same field.
func TestRulesSayWhatParseSays(t *testing.T) {
	check := rules(t)
	good := string(mustRead(t, "testdata/good/gateway.yaml"))
	for _, c := range [][2]string{
		{"deployment: {name: hello}", "deployment: {name: hello}, process: {command: [x]}"},
		{"workload:", "workload: {}\n  was:"},
		{"    gatewayAPI:", "    istio: {service: hello}\n    gatewayAPI:"},
		{"{kind: HTTPRoute, name: hello.web}", "{kind: TCPRoute, name: hello.web}"},
		{"settle: 0s", "settle: -1s"},
		{"mirror: 5", "hold: 1000h"},
		{"mirror: 5", "looseness: 0"},
		{"mirror: 5", "gates: [{person: true, webhook: {url: 'https://x'}}]"},
		{"mirror: 5", "gates: [{window: {from: '9:00', to: '10:00'}}]"},
		{"mirror: 5", "gates: [{}]"},
		{"mirror: 5", "require: maybe"},
		{`exact: "yes"`, `exact: "yes", prefix: "y"`},
		{"  strategy:", "  analysis: {metrics: [{name: a, kind: gage}]}\n  strategy:"},
		{"  strategy:", "  analysis: {metrics: [{name: Not A Name, kind: errors}]}\n  strategy:"},
		{"  strategy:", "  analysis: {falseRollback: 101}\n  strategy:"},
		{"  strategy:", "  analysis: {falseRollback: '10'}\n  strategy:"},
		{"  strategy:", "  keepRuns: 0\n  strategy:"},
		{"    canary:", "    blueGreen: {}\n    canary:"},
		{"deployment: {name: hello}", "deployment: {name: hello, content: {}}"},
	} {
		bad := strings.Replace(good, c[0], c[1], 1)
		if bad == good {
			t.Fatalf("%q is not in the file", c[0])
		}
		_, _, err := Parse("bad.yaml", []byte(bad))
		var problems Errors
		if !errors.As(err, &problems) {
			t.Errorf("%s: Parse says %v", c[1], err)
			continue
		}
		same := false
		refused := check(object(t, []byte(bad)))
		for _, e := range refused {
			text := inFront.ReplaceAllString(e.ErrorBody(), "$1 ")
			for _, p := range problems {
				same = same || e.Field == p.Path && (strings.Contains(e.ErrorBody(), p.Message) || strings.Contains(text, p.Message))
			}
		}
		if !same {
			t.Errorf("%s: the rules say %v, and Parse %v", c[1], refused, problems)
		}
	}
}
