package manifest

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/haldane-project/haldane/internal/release"
)

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(SchemaID, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(SchemaID)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asJSON reads the documents of a file as an editor does: YAML 1.2.
func asJSON(t *testing.T, file string) (docs []any) {
	t.Helper()
	dec := yaml.NewDecoder(bytes.NewReader(bytes.ReplaceAll(mustRead(t, file), []byte("\t"), []byte(" "))))
	for {
		var v any
		if err := dec.Decode(&v); err != nil {
			break
		}
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, doc)
	}
	return docs
}

func TestSchemaAcceptsWhatParses(t *testing.T) {
	s := compiledSchema(t)
	files := append(inputs(t, "testdata/good/*.yaml"), inputs(t, "testdata/good/*.json")...)
	files = append(files, inputs(t, "../../examples/*/*.yaml")...)
	for _, file := range files {
		data := mustRead(t, file)
		if _, err := Decode(file, data); err != nil {
			t.Errorf("Decode: %v", err)
		}
		for _, doc := range asJSON(t, file) {
			if err := s.Validate(doc); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}

// Every Release that stands beside other objects in an example is accepted, as
// the command line and as an editor read it.
func TestExamplesOnKubernetesParse(t *testing.T) {
	s := compiledSchema(t)
	released := map[string]int{} // by directory
	for _, file := range inputs(t, "../../examples/*/*/*.yaml") {
		found := 0
		for text := range bytes.SplitSeq(mustRead(t, file), []byte("\n---\n")) {
			if !bytes.Contains(text, []byte("\nkind: Release\n")) {
				continue
			}
			found++
			if _, _, err := Parse(file, text); err != nil {
				t.Errorf("Parse: %v", err)
			}
			var v any
			if err := yaml.Unmarshal(text, &v); err != nil {
				t.Fatal(err)
			}
			raw, _ := json.Marshal(v)
			doc, _ := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
			if err := s.Validate(doc); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
		if found > 1 {
			t.Errorf("%s has %d Releases, expected one", file, found)
		}
		released[filepath.Dir(file)] += found
	}
	for dir, found := range released {
		if found < 2 {
			t.Errorf("%s has %d Releases, expected two or more", dir, found)
		}
	}
}

// The schema finds what needs no arithmetic between fields.
func TestSchemaRefusesBadManifests(t *testing.T) {
	s := compiledSchema(t)
	for _, name := range []string{"typos", "several", "analysis", "shapes", "kind", "noversion", "nothing", "list"} {
		file := filepath.Join("testdata/bad", name+".yaml")
		for _, doc := range asJSON(t, file) {
			if err := s.Validate(doc); err == nil {
				t.Errorf("%s is accepted by the schema", file)
			}
		}
	}
}

func TestSchemaRefusesOneWrongField(t *testing.T) {
	s := compiledSchema(t)
	good := string(mustRead(t, "testdata/good/full.yaml"))
	for _, c := range [][2]string{
		{"weight: 50", "weight: 101"}, {"weight: 50", "weight: 0.5"}, {"weight: 50", "wait: 50"}, {`"0.25%"`, `"0.255%"`},
		{"hold: 1m", "hold: 60"}, {"hold: 1m", "hold: 1d"}, {"kind: gauge", "kind: gage"}, {"canary:", "kanary:"},
		{`"<= 1%"`, `"about 1%"`}, {"{cookie: haldane, ttl: 24h}", "{cookie: haldane, header: X-User}"}, {"replicas: 2", "replicas: 0"},
		{"name: hello", "name: Hello World"}, {"command: [python3, app.py, --port, \"{port}\"]", "command: python3"},
		{"headers: [{name: X-Staff, exact: \"yes\"}]", "headers: []\n      foo: bar"}, {"{person: true}", "{}"},
	} {
		bad := strings.Replace(good, c[0], c[1], 1)
		if bad == good {
			t.Fatalf("%q is not in the file", c[0])
		}
		var v any
		if err := yaml.Unmarshal([]byte(bad), &v); err != nil {
			continue // not even YAML
		}
		raw, _ := json.Marshal(v)
		doc, _ := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if s.Validate(doc) == nil {
			t.Errorf("%q in place of %q is accepted", c[1], c[0])
		}
	}
}

func TestSchemaIsPlain(t *testing.T) {
	if bytes.Contains(Schema(), []byte("x-kubernetes")) {
		t.Error("the schema has keywords that editors do not know")
	}
}

var definition = flag.String("definition", "../../deploy/crds/haldane.dev_releases.yaml", "the definition that -update completes")

// TestDefinitionIsComplete fails when the types changed and nobody ran make generate.
func TestDefinitionIsComplete(t *testing.T) {
	got, err := Definition(mustRead(t, *definition))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, *definition, got)
}

// TestReferenceIsFresh fails when the types changed and nobody ran make generate.
func TestReferenceIsFresh(t *testing.T) {
	golden(t, "../../docs/reference.md", Reference())
}

// What the comments promise as defaults is what an empty manifest gets.
func TestDefaultsAreAsDocumented(t *testing.T) {
	_, rel, err := Parse("minimal.yaml", mustRead(t, "testdata/good/minimal.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	kind := func(name string) release.Strategy {
		_, rel, err := Parse(name, mustRead(t, "testdata/good/"+name+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		return rel.Strategy
	}
	p, e, st, a := rel.Version.Workload.Process, rel.Traffic.Embedded, rel.Strategy, rel.Analysis
	full := strings.Replace(string(mustRead(t, "testdata/good/full.yaml")), "requests: 3", "", 1)
	_, warm, err := Parse("full.yaml", []byte(strings.Replace(full, ", ttl: 24h", "", 1)))
	if err != nil {
		t.Fatal(err)
	}
	loose := func(step int) float64 { return kind("proven").Steps[step].Looseness }
	percent := func(v float64) string { return fmt.Sprintf("%q", percentOf(v)) }
	for path, want := range map[string]string{
		"workload.process.replicas":        fmt.Sprint(rel.Replicas),
		"workload.process.portEnv":         p.PortEnv,
		"workload.process.drain":           p.Drain.String(),
		"workload.process.ready.interval":  p.Ready.Interval.String(),
		"workload.process.ready.timeout":   p.Ready.Timeout.String(),
		"workload.process.ready.deadline":  fmt.Sprintf("%gs", p.Ready.Deadline.Seconds()),
		"workload.warmUp.requests":         fmt.Sprint(warm.Version.Workload.WarmUp.Requests),
		"traffic.embedded.sticky.ttl":      fmt.Sprintf("%gh", warm.Traffic.Embedded.Sticky.TTL.Hours()),
		"traffic.embedded.shield.enabled":  fmt.Sprint(e.Shield.Enabled),
		"traffic.embedded.shield.methods":  "the idempotent ones (" + strings.Join(e.Shield.Methods, ", ") + ")",
		"traffic.embedded.shield.maxBody":  fmt.Sprint(e.Shield.MaxBody),
		"traffic.embedded.timeouts.header": e.Timeouts.Header.String(),
		"traffic.embedded.timeouts.idle":   short(e.Timeouts.Idle),
		"traffic.embedded.timeouts.response": fmt.Sprintf("%gs",
			e.Timeouts.Response.Seconds()),
		"strategy.bake":             st.Bake.String(),
		"strategy.rollbackWindow":   short(st.RollbackWindow),
		"strategy.stepDeadline":     short(st.StepDeadline),
		"strategy.onInconclusive":   string(st.OnInconclusive),
		"strategy.readyDeadline":    short(st.ReadyDeadline),
		"strategy.canary.steps":     fmt.Sprintf("%d, %d and %d %%", st.Steps[0].Weight/100, st.Steps[1].Weight/100, st.Steps[2].Weight/100),
		"strategy.rolling.batches":  fmt.Sprint(kind("rolling").Batches),
		"strategy.shadow.share":     fmt.Sprint(kind("shadow").Share / 100),
		"strategy.shadow.hold":      short(kind("shadow").Hold),
		"strategy.shadow.require":   string(kind("shadow").Require),
		"strategy.ab.share":         fmt.Sprintf("%d, or 0 where there are matches", kind("ab").Share/100),
		"strategy.ab.require":       string(kind("ab").Require),
		"analysis.falseRollback":    percent(a.FalseRollback),
		"analysis.falsePromotion":   percent(a.FalsePromotion),
		"analysis.minRequests":      fmt.Sprint(a.MinRequests),
		"analysis.warmUp":           a.WarmUp.String(),
		"analysis.metrics":          a.Metrics[0].Name + " and " + a.Metrics[1].Name,
		"analysis.metrics.quantile": percent(a.Metrics[1].Quantile),
		"strategy.canary.steps.looseness": fmt.Sprintf("%g at the last step that requires proven, %g at the one before and %g at earlier ones, so that what is tolerated shrinks as the share grows",
			loose(4), loose(3), max(loose(0), loose(1))),
	} {
		if got := documentedDefault(t, path); got != want {
			t.Errorf("spec.%s: documented default %q, in fact %q", path, got, want)
		}
	}
}

func documentedDefault(t *testing.T, path string) string {
	t.Helper()
	var s schema
	if err := json.Unmarshal(Schema(), &s); err != nil {
		t.Fatal(err)
	}
	for _, name := range append([]string{"spec"}, strings.Split(path, ".")...) {
		if items, ok := s["items"].(schema); ok {
			s = items
		}
		next, ok := s["properties"].(schema)[name].(schema)
		if !ok {
			t.Fatalf("the schema has no %s", path)
		}
		s = next
	}
	_, otherwise := splitDefault(s)
	return otherwise
}

func BenchmarkParse(b *testing.B) {
	data, err := os.ReadFile("testdata/good/full.yaml")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, _, err := Parse("full.yaml", data); err != nil {
			b.Fatal(err)
		}
	}
}
