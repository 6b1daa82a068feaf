package cli

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/store"
	"github.com/haldane-project/haldane/test/loopback"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"haldane":         func() { os.Exit(Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) },
		"kubectl-haldane": func() { os.Exit(Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs the scripts of testdata/script against a fake API, one of its own
// each. `daemon promoted` and so on choose the story that a watch tells.
func TestScripts(t *testing.T) {
	reference, err := filepath.Abs("../judge/testdata/reference.json")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			f := &fake{rel: map[string]v1alpha1.Release{}, story: map[string][]v1alpha1.Release{}}
			s := httptest.NewUnstartedServer(f.handler())
			ctx, cancel := context.WithCancel(context.Background())
			s.Config.BaseContext = func(net.Listener) context.Context { return ctx }
			s.Start()
			e.Defer(func() {
				cancel()
				s.CloseClientConnections()
				s.Close()
			})
			e.Values["fake"] = f
			e.Setenv("HALDANE_SERVER", s.URL)
			e.Setenv("LC_ALL", "C.UTF-8")
			e.Setenv("TZ", "UTC")
			e.Setenv("REFERENCE", reference)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"daemon": daemon, "exits": exits, "real": realDaemon, "until": until},
	})
}

// daemon sets what the fake API knows: `daemon STORY [TOKEN]`.
func daemon(ts *testscript.TestScript, neg bool, args []string) {
	f := ts.Value("fake").(*fake)
	f.mu.Lock()
	defer f.mu.Unlock()
	at := func(states ...v1alpha1.Release) {
		f.rel["hello"], f.story["hello"] = states[0], states
		f.looks = []store.Look{lookAt(10, 1), lookAt(12, 1)}
		f.events = tale()
	}
	switch args[0] {
	case "progressing":
		at(hello("Progressing", 1))
	case "promoted":
		at(hello("Preparing", 0), hello("Progressing", 0), hello("Progressing", 1), hello("Promoted", 3))
	case "rolledback":
		at(hello("Progressing", 0), hello("Progressing", 1), hello("RolledBack", 0))
	case "superseded":
		newer := hello("Progressing", 0)
		newer.Status.Run.Name, newer.Status.Run.To, newer.Status.Run.ToID = "hello-3", "v3", "3333333333"
		at(hello("Progressing", 0), newer)
	case "late":
		// A pass has not yet acted on what was applied: the run before must not be taken for its run.
		before := hello("Promoted", 3)
		before.Generation, before.Status.ObservedGeneration = 3, 2
		after := hello("RolledBack", 0)
		after.Generation, after.Status.ObservedGeneration, after.Status.Run.Name = 3, 3, "hello-3"
		at(before, after)
	case "sametag":
		// The image of the next version has the tag of the one that serves.
		bad := hello("RolledBack", 0)
		bad.Status.Run.Name, bad.Status.Run.To, bad.Status.Run.ToID = "hello-3", "v2", "3333333333"
		at(hello("Promoted", 3), bad)
	case "empty":
	default:
		ts.Fatalf("no story %q", args[0])
	}
	if len(args) > 1 {
		f.token = args[1]
	}
}

// exits runs a command and checks its exit code: `exits 2 haldane wait hello`.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, expected %d", got, want)
	}
}

// realDaemon prepares for a real daemon in place of the fake one: free ports in
// $API, $LISTEN and $OTHER, and the latter two in the manifests.
func realDaemon(ts *testscript.TestScript, _ bool, _ []string) {
	for _, name := range []string{"API", "LISTEN", "OTHER"} {
		address, err := loopback.Free()
		ts.Check(err)
		ts.Setenv(name, address)
	}
	ts.Setenv("HALDANE_SERVER", ts.Getenv("API"))
	files, err := filepath.Glob(ts.MkAbs("*.yaml"))
	ts.Check(err)
	for _, f := range files {
		b, err := os.ReadFile(f)
		ts.Check(err)
		for _, name := range []string{"LISTEN", "OTHER"} {
			b = bytes.ReplaceAll(b, []byte(name), []byte(ts.Getenv(name)))
		}
		ts.Check(os.WriteFile(f, b, 0o600))
	}
}

// patience is how long a script waits for something that must happen; it is no figure.
const patience = 2 * time.Minute

// until repeats a command until it succeeds, or, where the first argument is
// says=TEXT, until its output has that, for another process to get ready.
func until(ts *testscript.TestScript, _ bool, args []string) {
	text, says := strings.CutPrefix(args[0], "says=")
	if says {
		args = args[1:]
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		err := ts.Exec(args[0], args[1:]...)
		if says && strings.Contains(ts.ReadFile("stdout"), text) || !says && err == nil {
			return
		}
	}
	ts.Fatalf("%v did not succeed within %v", args, patience)
}
