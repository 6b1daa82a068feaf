// Package haldane holds only the tests of the house rules: which package may
// import which, what the pure packages may not do, and that every package says
// what it is. See ARCHITECTURE.md.
package haldane

import (
	"encoding/json"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/haldane-project/haldane/"

// layers lists the rooms from the bottom up. A package imports only rooms of
// lower layers; a room's own sub-packages and the pairs in siblings apart.
var layers = [][]string{
	{"internal/release", "internal/judge", "api/v1alpha1", "deploy", "internal/lock"},
	{"internal/rollout"},
	{"internal/traffic", "internal/metric", "internal/workload", "internal/store", "internal/notify",
		"internal/proxy", "internal/supervise", "internal/telemetry", "internal/manifest", "internal/load", "internal/cluster", "internal/inference", "internal/render", "internal/compare", "internal/evaluate"},
	{"internal/reconcile", "internal/status"},
	{"internal/sim", "internal/client"},
	{"internal/traffic/", "internal/metric/", "internal/workload/", "internal/store/", "internal/notify/"},
	{"internal/standalone", "internal/kube", "internal/web"},
	{"internal/app"},
	{"internal/demo"},
	{"internal/cli"},
	{"cmd", "test", "examples", "tools"},
}

// pure packages decide; they have no clock, goroutine, input or output.
var pure = []string{"internal/release", "internal/judge", "internal/rollout"}

type listed struct {
	ImportPath string
	Dir        string
	Doc        string
	Imports    []string
	GoFiles    []string
}

func list(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,Doc,Imports,GoFiles", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// layer returns the layer of a package and its room; adapters are the
// sub-packages of the ports.
func layer(path string) (int, string) {
	rel := strings.TrimPrefix(path, module)
	best, room := -1, ""
	for i, rooms := range layers {
		for _, r := range rooms {
			in := rel == r || strings.HasPrefix(rel, strings.TrimSuffix(r, "/")+"/") && (strings.HasSuffix(r, "/") || !adapter(rel))
			if in && len(r) > len(room) {
				best, room = i, r
			}
		}
	}
	return best, room
}

func adapter(rel string) bool {
	for _, port := range []string{"traffic", "metric", "workload", "store", "notify"} {
		if strings.HasPrefix(rel, "internal/"+port+"/") {
			return true
		}
	}
	return false
}

func TestImportsPointDown(t *testing.T) {
	for _, p := range list(t) {
		if len(p.GoFiles) == 0 || p.ImportPath == strings.TrimSuffix(module, "/") {
			continue
		}
		from, room := layer(p.ImportPath)
		if from < 0 {
			t.Errorf("%s lies in no room: add it to layers, or move it", p.ImportPath)
			continue
		}
		for _, imp := range p.Imports {
			if !strings.HasPrefix(imp, module) {
				continue
			}
			to, other := layer(imp)
			ownSuite := strings.HasSuffix(p.ImportPath, "test") // conformance suites stand beside the adapters
			if to > from || to == from && room != other && !ownSuite {
				t.Errorf("%s (layer %d) imports %s (layer %d): imports point down only", p.ImportPath, from, imp, to)
			}
		}
	}
}

func TestOnlyAppNamesAdapters(t *testing.T) {
	for _, p := range list(t) {
		rel := strings.TrimPrefix(p.ImportPath, module)
		if rel == "internal/app" || adapter(rel) || strings.HasPrefix(rel, "test") {
			continue
		}
		for _, imp := range p.Imports {
			if adapter(strings.TrimPrefix(imp, module)) {
				t.Errorf("%s imports the adapter %s: only internal/app does", p.ImportPath, imp)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range list(t) {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

func TestPurePackages(t *testing.T) {
	forbidden := []string{"context", "log", "log/slog", "math/rand", "math/rand/v2", "net", "net/http", "os", "sync", "sync/atomic", "io/fs"}
	fset := token.NewFileSet()
	imp := importer.ForCompiler(fset, "source", nil)
	for _, p := range list(t) {
		if !slices.Contains(pure, strings.TrimPrefix(p.ImportPath, module)) {
			continue
		}
		for _, i := range p.Imports {
			if slices.Contains(forbidden, i) {
				t.Errorf("%s imports %s", p.ImportPath, i)
			}
		}
		files := make([]*ast.File, 0, len(p.GoFiles))
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
		info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
		if _, err := (&types.Config{Importer: imp}).Check(p.ImportPath, fset, files, info); err != nil {
			t.Fatalf("%s: %v", p.ImportPath, err)
		}
		for _, f := range files {
			ast.Inspect(f, func(n ast.Node) bool { impure(t, fset, info, n); return true })
		}
	}
}

// TestOnlyPurePackagesAreTestedWithoutTheRaceDetector: `make test` leaves it off
// for these, in which there is nothing to race, and for no other.
func TestOnlyPurePackagesAreTestedWithoutTheRaceDetector(t *testing.T) {
	text, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	if want := "\nPURE := " + strings.Join(pure, " ") + "\n"; !strings.Contains(string(text), want) {
		t.Errorf("the Makefile does not say %q: it leaves the race detector off for other packages than the pure ones", strings.TrimSpace(want))
	}
}

func impure(t *testing.T, fset *token.FileSet, info *types.Info, n ast.Node) {
	at := func() string { return fset.Position(n.Pos()).String() }
	switch n := n.(type) {
	case *ast.GoStmt, *ast.SelectStmt, *ast.SendStmt, *ast.ChanType:
		t.Errorf("%s: no goroutines and channels in a pure package", at())
	case *ast.RangeStmt:
		if _, ok := info.Types[n.X].Type.Underlying().(*types.Map); ok {
			t.Errorf("%s: no iteration over a map in a pure package", at())
		}
	case *ast.Ident:
		if f, ok := info.Uses[n].(*types.Func); ok && f.Pkg() != nil && f.Pkg().Path() == "time" &&
			slices.Contains([]string{"Now", "Since", "Until", "After", "Sleep", "Tick", "NewTimer", "NewTicker", "AfterFunc"}, f.Name()) && f.Signature().Recv() == nil {
			t.Errorf("%s: no clock in a pure package (time.%s)", at(), f.Name())
		}
	}
}
