package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/release"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func inputs(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no input matches %s: %v", pattern, err)
	}
	return files
}

func TestGoodManifests(t *testing.T) {
	for _, file := range append(inputs(t, "testdata/good/*.yaml"), inputs(t, "testdata/good/*.json")...) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, rel, err := Parse(filepath.Base(file), data, WithDir("/srv/hello"))
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(rel, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, file+".golden", append(got, '\n'))
		})
	}
}

func TestBadManifests(t *testing.T) {
	for _, file := range inputs(t, "testdata/bad/*.yaml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = Parse(filepath.Base(file), data)
			var problems Errors
			if !errors.As(err, &problems) || len(problems) == 0 {
				t.Fatalf("error %v; want problems", err)
			}
			golden(t, file+".golden", []byte(err.Error()+"\n"))
		})
	}
}

// What is accepted means the same to kubectl and to an API server, which read
// YAML 1.1 by another library.
func sameAsKubectl(t *testing.T, data []byte, obj v1alpha1.Release) {
	t.Helper()
	var theirs v1alpha1.Release
	if err := sigsyaml.UnmarshalStrict(data, &theirs); err != nil {
		t.Fatalf("accepted here, refused by sigs.k8s.io/yaml: %v\n%s", err, data)
	}
	ours, err := Canonical(obj)
	if err != nil {
		t.Fatal(err)
	}
	other, err := Canonical(theirs)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ours, other) {
		t.Fatalf("read differently: %s\n%s\n%s", cmp.Diff(string(other), string(ours)), ours, other)
	}
}

func TestMeansTheSameToKubectl(t *testing.T) {
	for _, file := range append(inputs(t, "testdata/good/*.yaml"), inputs(t, "testdata/good/*.json")...) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		obj, _, err := Parse(file, data)
		if err != nil {
			t.Fatal(err)
		}
		sameAsKubectl(t, data, obj)
	}
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/good/*.json", "testdata/bad/*.yaml"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		obj, rel, err := Parse("fuzz.yaml", data)
		if err != nil {
			var problems Errors
			if !errors.As(err, &problems) || err.Error() == "" {
				t.Fatalf("error of type %T: %v", err, err)
			}
			return
		}
		sameAsKubectl(t, data, obj)
		again, err := FromObject(obj)
		if err != nil {
			t.Fatalf("accepted as a file, refused as an object: %v", err)
		}
		if diff := cmp.Diff(rel, again); diff != "" {
			t.Fatalf("file and object differ: %s", diff)
		}
	})
}

// stored reads an object back from its canonical form.
func stored(t *testing.T, obj v1alpha1.Release) v1alpha1.Release {
	t.Helper()
	raw, err := Canonical(obj)
	if err != nil {
		t.Fatal(err)
	}
	var back v1alpha1.Release
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	return back
}

func TestCanonicalKeepsTheMeaning(t *testing.T) {
	for _, file := range inputs(t, "testdata/good/*.yaml") {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		obj, rel, err := Parse(file, data, WithDir("/srv"))
		if err != nil {
			t.Fatal(err)
		}
		obj.Status.Phase = "Idle"
		raw, err := Canonical(obj)
		if err != nil {
			t.Fatal(err)
		}
		for _, unwanted := range []string{"status", "creationTimestamp", "managedFields"} {
			if bytes.Contains(raw, []byte(`"`+unwanted+`"`)) {
				t.Errorf("%s: %s is stored: %s", file, unwanted, raw)
			}
		}
		back := stored(t, obj)
		again, err := FromObject(back)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if diff := cmp.Diff(rel, again); diff != "" {
			t.Errorf("%s changed its meaning (-parsed +stored):\n%s", file, diff)
		}
		if _, _, err := Parse("stored.json", raw); err != nil {
			t.Errorf("%s: stored form is refused: %v", file, err)
		}
	}
}

func TestFromObjectLeavesTheObjectAlone(t *testing.T) {
	obj, _, err := Parse("full.yaml", mustRead(t, "testdata/good/full.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	before := obj.DeepCopy()
	if _, err := FromObject(obj, WithDir("/elsewhere")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*before, obj); diff != "" {
		t.Errorf("changed: %s", diff)
	}
}

func mustRead(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestDecodeSeveral(t *testing.T) {
	one := string(mustRead(t, "testdata/good/minimal.yaml"))
	two := strings.Replace(one, "hello", "other", 1)
	objs, err := Decode("two.yaml", []byte("---\n"+one+"---\n# nothing here\n---\n"+two))
	if err != nil {
		t.Fatal(err)
	}
	if len(objs) != 2 || objs[0].Name != "hello" || objs[1].Name != "other" {
		t.Errorf("decoded %d releases: %+v", len(objs), objs)
	}
	_, err = Decode("same.yaml", []byte(one+"---\n"+one))
	if err == nil || !strings.Contains(err.Error(), `same.yaml:12:18: metadata.name: a release named "hello" stands above already`) {
		t.Errorf("two releases of one name: %v", err)
	}
	if _, _, err := Parse("two.yaml", []byte(one+"---\n"+two)); err == nil || !strings.Contains(err.Error(), "2 documents; expected one") {
		t.Errorf("two documents where one is expected: %v", err)
	}
}

func TestProblemsAsJSON(t *testing.T) {
	_, _, err := Parse("release.yaml", mustRead(t, "testdata/bad/kind.yaml"))
	raw, _ := json.Marshal(err)
	var got []map[string]any
	if e := json.Unmarshal(raw, &got); e != nil {
		t.Fatal(e)
	}
	want := []map[string]any{
		{"file": "release.yaml", "line": 1.0, "column": 13.0, "path": "apiVersion", "message": `is "apps/v1"; expected haldane.dev/v1alpha1`, "source": "apiVersion: apps/v1"},
		{"file": "release.yaml", "line": 2.0, "column": 7.0, "path": "kind", "message": `is "Deployment"; expected Release`, "source": "kind: Deployment"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Hostile input is refused before it costs anything: the time allowed is that
// of a request, far above what a refusal takes.
func TestHostileInputIsRefusedQuickly(t *testing.T) {
	const size = 1 << 20
	repeat := func(s string) string { return strings.Repeat(s, size/len(s)) }
	head := "apiVersion: haldane.dev/v1alpha1\nkind: Release\nmetadata: {name: x}\nspec:\n"
	cases := map[string]string{
		"ten megabytes":  strings.Repeat("a: b\n", 2<<20),
		"open brackets":  repeat("["),
		"open braces":    repeat("{a: "),
		"list marks":     repeat("- "),
		"question marks": repeat("? "),
		"nested lines":   nested(2000),
		"ten thousand steps": head + "  strategy: {canary: {steps: [" +
			strings.Repeat("{weight: 5},", 10_000) + "]}}\n",
		"same key":       repeat("a: 1\n"),
		"many keys":      head + manyKeys(60_000),
		"many documents": repeat("---\na: 1\n"),
		"long word":      repeat("a"),
		"anchors":        repeat("&a "),
		"not text":       "\xff\xfe\x00\x00",
		"self reference": "apiVersion: haldane.dev/v1alpha1\nkind: Release\nmetadata: {name: x}\nspec: &s\n  workload: {rewrite: {setJSON: {a: *s}}}\n",
		"merge loop":     "apiVersion: haldane.dev/v1alpha1\nkind: Release\nmetadata: {name: x}\nspec: &s\n  <<: *s\n",
		"quotes":         repeat(`"`),
		"comments":       repeat("#\n"),
		"flow list":      "[" + repeat("a,") + "]",
		"regexp":         head + "  strategy: {ab: {matches: [{headers: [{name: a, regexp: \"" + strings.Repeat("(a{1000}){1000}", 10) + "\"}]}]}}\n",
	}
	for name, text := range cases {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, _, err := Parse("hostile.yaml", []byte(text))
			if err == nil {
				t.Fatal("accepted")
			}
			text := err.Error()
			if len(text) > 64<<10 {
				t.Errorf("the message has %d bytes", len(text))
			}
			t.Logf("%v: %.200s", time.Since(start).Round(time.Millisecond), text)
		})
	}
}

func nested(n int) string {
	var b strings.Builder
	for i := range n {
		if b.Len() > 900_000 {
			break
		}
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("  k")
		for ; i > 0; i /= 26 {
			b.WriteByte(byte('a' + i%26))
		}
		b.WriteString("z: 1\n")
	}
	return b.String()
}

func TestSuggestions(t *testing.T) {
	known := []string{"weight", "hold", "gates", "require", "ab"}
	for given, want := range map[string]string{"weigth": "weight", "Hold": "hold", "gate": "gates", "requires": "require", "xy": "", "listen": "", "": "", "a": ""} {
		if got := nearest(given, known); got != want {
			t.Errorf("nearest(%q) = %q, want %q", given, got, want)
		}
	}
}

func TestMarginRatio(t *testing.T) {
	for text, want := range map[string]release.Margin{
		"50%":          {Ratio: 1.5},
		"+0.1%":        {Difference: 0.001},
		"50% or +0.1%": {Ratio: 1.5, Difference: 0.001},
		"+1% or 5 %":   {Ratio: 1.05, Difference: 0.01},
	} {
		c := newChecker(nil)
		got := c.margin("margin", text, release.Errors)
		if len(c.problems) > 0 || !cmp.Equal(got, want) {
			t.Errorf("margin %q = %+v, %v; want %+v", text, got, c.problems, want)
		}
	}
}
