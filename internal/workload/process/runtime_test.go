package process_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/supervise"
	"github.com/haldane-project/haldane/internal/supervise/supervisetest"
	"github.com/haldane-project/haldane/internal/workload"
	"github.com/haldane-project/haldane/internal/workload/process"
	"github.com/haldane-project/haldane/internal/workload/workloadtest"
)

func TestMain(m *testing.M) {
	supervisetest.Main(nil)
	goleak.VerifyTestMain(m)
}

func newRuntime(t *testing.T, change ...func(*process.Options)) *process.Runtime {
	t.Helper()
	opts := process.Options{
		Dir:      filepath.Join(t.TempDir(), "run"),
		Logger:   slog.New(slog.DiscardHandler),
		Patience: 50 * time.Millisecond,
		BackOff:  supervise.BackOff{Min: time.Millisecond, Max: 20 * time.Millisecond},
	}
	for _, c := range change {
		c(&opts)
	}
	r, err := process.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), workloadtest.Patience)
		defer cancel()
		if err := r.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return r
}

func version(name, as string) release.Version {
	env, value := supervisetest.Env(as)
	return release.NewVersion(name, release.Workload{
		Process: &release.Process{
			Command: supervisetest.Self(),
			Env:     []release.EnvVar{{Name: env, Value: value}, {Name: "TEXT", Value: name}},
			PortEnv: "PORT",
			Ready:   release.Probe{HTTP: "/healthz", Interval: 10 * time.Millisecond},
			Drain:   10 * time.Second,
		},
		Rewrite: &release.Rewrite{PathPrefix: "/" + name},
	})
}

func TestConformance(t *testing.T) {
	workloadtest.Run(t, func(t *testing.T) workloadtest.Subject {
		return workloadtest.Subject{
			Runtime: newRuntime(t),
			Good:    func(name string, _ int) release.Version { return version(name, "serve") },
			Bad:     version("bad", "never"),
			Foreign: release.NewVersion("foreign", release.Workload{Deployment: &release.Deployment{Name: "x"}}),
			Scales:  true,
		}
	})
}

// wait waits for changes until the release is as wanted.
func wait(t *testing.T, r workload.Runtime, rel string, ok func(workload.Fleet) bool) workload.Fleet {
	t.Helper()
	deadline := time.After(workloadtest.Patience)
	for {
		fleet, err := r.Observe(t.Context(), release.Release{Name: rel})
		if err != nil {
			t.Fatal(err)
		}
		if ok(fleet) {
			return fleet
		}
		select {
		case <-r.Changed():
		case <-deadline:
			t.Fatalf("not within %v; release %s is %+v", workloadtest.Patience, rel, fleet)
		}
	}
}

func apply(t *testing.T, r workload.Runtime, groups ...rollout.Group) {
	t.Helper()
	if err := r.Apply(t.Context(), release.Release{Name: "shop"}, groups); err != nil {
		t.Fatal(err)
	}
}

func allReady(n int) func(workload.Fleet) bool {
	return func(f workload.Fleet) bool {
		ready := 0
		for _, b := range f.Backends {
			ready += len(b.Addresses)
		}
		return ready == n
	}
}

func TestUsageAndLogs(t *testing.T) {
	r := newRuntime(t)
	v := version("v1", "serve")
	apply(t, r, rollout.Group{Version: v, Replicas: 2})
	fleet := wait(t, r, "shop", allReady(2))
	resp, err := http.Get(fleet.Backends[0].Addresses[0] + "/burn")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	usage, err := r.Usage("shop")
	if err != nil {
		t.Fatal(err)
	}
	if len(usage) != 1 || usage[0].Version != v.ID || usage[0].Instances != 2 || usage[0].CPUSeconds < 0.04 || usage[0].RSSBytes < 2<<20 {
		t.Errorf("usage %+v, want one version with 2 instances, 0.04 s and 2 MiB or more", usage)
	}
	other, err := r.Usage("nobody")
	if err != nil || len(other) != 0 {
		t.Errorf("usage of an unknown release: %+v, %v", other, err)
	}

	dying := version("dying", "dies")
	apply(t, r, rollout.Group{Version: v, Replicas: 2}, rollout.Group{Version: dying, Replicas: 1})
	wait(t, r, "shop", func(workload.Fleet) bool {
		lines := r.Logs("shop", dying.ID)
		return slices.ContainsFunc(lines, func(l string) bool { return strings.HasSuffix(l, " #1 line 29") })
	})
}

func TestAMissingProgramBlocksItsVersionOnly(t *testing.T) {
	r := newRuntime(t)
	good, bad := version("good", "serve"), version("bad", "serve")
	bad.Workload.Process.Command = []string{"no-such-program"}
	apply(t, r, rollout.Group{Version: good, Replicas: 1}, rollout.Group{Version: bad, Replicas: 1})
	fleet := wait(t, r, "shop", func(f workload.Fleet) bool { return allReady(1)(f) && len(f.Groups) == 2 && blocked(f, bad.ID) })
	for _, g := range fleet.Groups {
		if g.Version == bad.ID && !strings.Contains(g.Error, "not found in PATH") {
			t.Errorf("error %q, want that the program was not found", g.Error)
		}
	}
}

func blocked(f workload.Fleet, v release.VersionID) bool {
	return slices.ContainsFunc(f.Groups, func(g rollout.ObservedGroup) bool { return g.Version == v && g.Blocked })
}

func TestAVersionThatDiesUnderTrafficLeavesTheBackendsAtOnce(t *testing.T) {
	r := newRuntime(t, func(o *process.Options) { o.BackOff.Min = time.Minute; o.BackOff.Max = time.Minute })
	v := version("v1", "serve")
	apply(t, r, rollout.Group{Version: v, Replicas: 2})
	before := wait(t, r, "shop", allReady(2)).Backends[0].Addresses
	if _, err := http.Get(before[0] + "/die"); err == nil {
		t.Error("the program answered /die")
	}
	fleet := wait(t, r, "shop", allReady(1))
	if got := fleet.Backends[0].Addresses[0]; got != before[1] {
		t.Errorf("left is %s, want %s", got, before[1])
	}
	fleet = wait(t, r, "shop", func(f workload.Fleet) bool { return f.Groups[0].Error != "" })
	if g := fleet.Groups[0]; g.Ready != 1 || g.Total != 2 || !strings.Contains(g.Error, "exit status 7") {
		t.Errorf("group %+v, want one of two ready and exit status 7", g)
	}
}

func TestClosedRuntimeStartsNothing(t *testing.T) {
	r := newRuntime(t)
	apply(t, r, rollout.Group{Version: version("v1", "serve"), Replicas: 1})
	wait(t, r, "shop", allReady(1))
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := r.Apply(t.Context(), release.Release{Name: "shop"}, []rollout.Group{{Version: version("v2", "serve"), Replicas: 1}})
	if err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("error %v, want that it is closed", err)
	}
}

// restarts is how often TestRestartsUnderLoadLoseNoRequest replaces the version.
const restarts = 20

func TestRestartsUnderLoadLoseNoRequest(t *testing.T) {
	table := newTable()
	r := newRuntime(t, func(o *process.Options) { o.InFlight = table.inFlight })
	apply(t, r, rollout.Group{Version: version("v0", "serve"), Replicas: 1})
	table.set(wait(t, r, "shop", allReady(1)))

	ctx, stop := context.WithCancel(t.Context())
	load := startLoad(ctx, table)
	old := version("v0", "serve")
	for n := range restarts {
		next := version(fmt.Sprintf("v%d", n+1), "serve")
		apply(t, r, rollout.Group{Version: old, Replicas: 1}, rollout.Group{Version: next, Replicas: 1})
		wait(t, r, "shop", allReady(2))
		apply(t, r, rollout.Group{Version: next, Replicas: 1})
		table.set(wait(t, r, "shop", allReady(1)))
		wait(t, r, "shop", func(f workload.Fleet) bool { return len(f.Groups) == 1 })
		old = next
	}
	stop()
	sent, failures := load()
	table.set(workload.Fleet{}) // a router that stops names no address any more
	if len(failures) > 0 || sent < restarts {
		t.Errorf("%d of %d requests failed, want 0: %v", len(failures), sent, failures[:min(len(failures), 5)])
	}
	t.Logf("%d restarts, %d requests, %d failed", restarts, sent, len(failures))
}

// send sends one request, GET or POST, on connections that are kept alive.
func send(client *http.Client, address string, post bool) error {
	method := http.MethodGet
	if post {
		method = http.MethodPost
	}
	req, err := http.NewRequest(method, address+"/", strings.NewReader("body"))
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || !strings.HasPrefix(string(b), "v")) {
		err = fmt.Errorf("answer %d %q", resp.StatusCode, b)
	}
	return err
}
