// Package standalone holds the end-to-end tests of the local daemon: the real
// daemon, real processes as versions, real sockets. The versions are this test
// binary itself, started again by the supervisor (see TestMain).
//
// HALDANE_LONG=1 runs the figures with their full counts.
package standalone

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/app"
	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/load"
	"github.com/haldane-project/haldane/test/loopback"
)

// patience is how long a test waits for something that must happen. It is no
// figure: a machine that is busy may take its time.
const patience = 10 * time.Minute

func TestMain(m *testing.M) {
	switch os.Getenv("HALDANE_TEST_ROLE") {
	case "version":
		serveVersion()
	case "daemon":
		serveDaemon()
	default:
		os.Exit(m.Run())
	}
}

// long returns the full count of a figure, or the short one.
func long(short, full int) int {
	if os.Getenv("HALDANE_LONG") != "" {
		return full
	}
	return short
}

// serveVersion is the service under release. Its behaviour is its environment.
func serveVersion() {
	share := func(name string) float64 {
		x, _ := strconv.ParseFloat(os.Getenv(name), 64)
		return x
	}
	hangs, spread := share("HANGS"), share("LATENCY_SPREAD") // of a log-normal latency
	until := os.Getenv("UNTIL")                              // this file is there, nothing is answered
	failing, dieAfter, latency := share("ERRORS"), int64(share("DIE_AFTER")), time.Duration(share("LATENCY_MS")*1e6)
	if os.Getenv("NEVER_READY") != "" {
		select {}
	}
	var served atomic.Int64
	hit, draw := hits(os.Getenv("HITS")), draws(os.Getenv("SEED"))
	http.HandleFunc("/healthz", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if n := served.Add(1); dieAfter > 0 && n > dieAfter {
			os.Exit(3)
		}
		if r.URL.Path == "/" {
			hit()
		}
		if latency > 0 {
			time.Sleep(time.Duration(float64(latency) * math.Exp(spread*draw.norm())))
		}
		if draw.share() < hangs {
			<-r.Context().Done()
			return
		}
		for until != "" && !exists(until) && r.Context().Err() == nil {
			time.Sleep(10 * time.Millisecond)
		}
		w.Header().Set("X-Version", os.Getenv("NAME"))
		if hurt(os.Getenv("SHARED"), os.Getenv("HURTS") != "") && draw.share() < 0.2 {
			http.Error(w, "what both versions share is broken", http.StatusInternalServerError)
			return
		}
		if draw.share() < failing || failsFor(r.Header.Get("X-User")) {
			http.Error(w, "planted error", http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, os.Getenv("NAME"))
	})
	if err := http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// dice are what a version draws its faults from, one request after the other.
type dice struct {
	mu sync.Mutex
	r  *rand.Rand
}

// draws gives the same faults for the same seed; without one, others each time.
func draws(seed string) *dice {
	n, err := strconv.ParseUint(seed, 10, 64)
	if err != nil {
		n = rand.Uint64()
	}
	return &dice{r: rand.New(rand.NewPCG(n, 1))}
}

func (d *dice) share() float64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.r.Float64()
}

func (d *dice) norm() float64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.r.NormFloat64()
}

// hurt reports whether what the versions share, a file, is broken; a version that
// hurts breaks it.
func hurt(file string, hurts bool) bool {
	if file == "" {
		return false
	}
	if hurts {
		_ = os.WriteFile(file, nil, 0o600) // where it can not, the test waits in vain and says for what
	}
	return exists(file)
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// failsFor reports whether every request of a user fails: FAILS_FOR lists how
// their names begin.
func failsFor(user string) bool {
	for prefix := range strings.SplitSeq(os.Getenv("FAILS_FOR"), ",") {
		if prefix != "" && strings.HasPrefix(user, prefix) {
			return true
		}
	}
	return false
}

// hits writes the time of every request to a file, one line each.
func hits(file string) func() {
	if file == "" {
		return func() {}
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return func() { fmt.Fprintln(f, time.Now().UnixNano()) }
}

// readHits returns the times that a version wrote, oldest first.
func readHits(t *testing.T, file string) []time.Time {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var out []time.Time
	for _, line := range strings.Fields(string(data)) {
		n, err := strconv.ParseInt(line, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, time.Unix(0, n))
	}
	slices.SortFunc(out, time.Time.Compare)
	return out
}

// serveDaemon is the daemon in a process of its own, for tests that kill it. It
// ends with the test binary, whatever ends that.
func serveDaemon() {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the other end is closed
		cancel()
	}()
	err := app.Serve(ctx, app.Options{
		Listen: os.Getenv("LISTEN"), Data: os.Getenv("DATA"),
		Ready: func(address string) { fmt.Println("ready", address) },
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// daemon is a running daemon in this process.
type daemon struct {
	t     *testing.T
	api   *client.Client
	base  string
	name  string // of the release
	front string // where users connect
	data  string
	stop  func() error

	replicas int           // of each version; 0: two
	patience time.Duration // for what it waits for; 0: the usual
	givesUp  time.Duration // after which a user does; 0: a minute, which no busy machine takes
}

// start runs a daemon on free ports until the test ends.
func start(t *testing.T) *daemon {
	t.Helper()
	return startOn(t, t.TempDir(), freeAddress(t))
}

func startOn(t *testing.T, data, front string) *daemon {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- app.Serve(ctx, app.Options{
			Listen: "127.0.0.1:0", Data: data, Log: logger(t), Grace: 10 * time.Second,
			Ready: func(a string) { ready <- a },
		})
	}()
	d := &daemon{t: t, name: "hello", front: front, data: data}
	select {
	case d.base = <-ready:
	case err := <-ended:
		cancel()
		t.Fatalf("the daemon ended: %v", err)
	}
	stopped := false
	d.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-ended
	}
	t.Cleanup(func() {
		if err := d.stop(); err != nil {
			t.Errorf("the daemon did not stop cleanly: %v", err)
		}
	})
	d.api = newClient(t, d.base)
	return d
}

func newClient(t *testing.T, address string) *client.Client {
	t.Helper()
	c, err := client.New(address, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func logger(t *testing.T) *slog.Logger {
	if os.Getenv("HALDANE_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// freeAddress is a loopback address that was free a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := loopback.Free()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// version is a version under release: its name and its behaviour.
type version struct {
	name string
	env  map[string]string
}

// spec is the rest of a manifest, below spec.
func (d *daemon) manifest(v version, rest string) []byte {
	exe, err := os.Executable()
	if err != nil {
		d.t.Fatal(err)
	}
	var env strings.Builder
	fmt.Fprintf(&env, "HALDANE_TEST_ROLE: version, NAME: %s, FRONT: %q", v.name, d.front)
	for k, x := range v.env {
		fmt.Fprintf(&env, ", %s: %q", k, x)
	}
	return fmt.Appendf(nil, `apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: {name: %s}
spec:
  version: %s
  workload:
    process: {command: [%q], env: {%s}, replicas: %d, drain: 2s, ready: {http: /healthz, timeout: 30s}}
  traffic:
    embedded: {listen: %q}
%s`, d.name, v.name, exe, env.String(), cmp.Or(d.replicas, 2), d.front, rest)
}

// quick is a plan that needs little: for tests of everything but statistics, whose
// good versions are not to be rolled back by chance, as one in a hundred may be, nor
// by what a busy machine does to their times.
const quick = `
  analysis: {falseRollback: 0.01%, metrics: [{name: errors, kind: errors}]}
  strategy:
    canary: {steps: [{weight: 20, minRequests: 20}, {weight: 50, minRequests: 20, require: noHarm}]}
    bake: 200ms
`

// judged is a plan with the default analysis.
const judged = `
  strategy:
    canary: {steps: [{weight: 10}, {weight: 50}]}
    bake: 500ms
`

func (d *daemon) apply(v version, rest string) {
	d.t.Helper()
	if _, err := d.api.Apply(context.Background(), d.name, d.manifest(v, rest), client.ApplyOptions{}); err != nil {
		d.t.Fatalf("apply %s: %v", v.name, err)
	}
}

// wait returns the release once ok holds.
func (d *daemon) wait(what string, ok func(v1alpha1.Release) bool) v1alpha1.Release {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), cmp.Or(d.patience, patience))
	defer cancel()
	var last v1alpha1.Release
	done := errors.New("done")
	err := d.api.Watch(ctx, d.name, func(c client.Change) error {
		if c.Release == nil {
			return nil
		}
		last = *c.Release
		if ok(last) {
			return done
		}
		return nil
	})
	if !errors.Is(err, done) {
		d.t.Fatalf("waited for %s: %v; last: %s: %s", what, err, last.Status.Phase, last.Status.Message)
	}
	return last
}

// serves waits until a version has all of the traffic and nothing is under way.
func (d *daemon) serves(name string) v1alpha1.Release {
	d.t.Helper()
	return d.wait(name+" to serve", func(r v1alpha1.Release) bool {
		return r.Status.Phase == "Idle" && r.Status.Stable != nil && r.Status.Stable.Name == name &&
			r.Status.ObservedGeneration == r.Generation
	})
}

// ends waits until the run to a version ended in a phase.
func (d *daemon) ends(name, phase string) v1alpha1.Release {
	d.t.Helper()
	return d.wait(fmt.Sprintf("the run to %s to be %s", name, phase), func(r v1alpha1.Release) bool {
		return r.Status.Run != nil && r.Status.Run.To == name && r.Status.Run.Phase == phase
	})
}

// traffic is constant load until it is stopped; all counts shots.
type traffic struct {
	stop func() load.Report
}

func (d *daemon) load(rate float64, each func(load.Shot)) traffic {
	d.t.Helper()
	g, err := load.New(load.Options{URL: "http://" + d.front + "/", Rate: rate, VersionHeader: "X-Version", Each: each, Timeout: cmp.Or(d.givesUp, time.Minute)})
	if err != nil {
		d.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	out := make(chan load.Report, 1)
	go func() { out <- g.Run(ctx) }()
	var rep *load.Report
	stop := func() load.Report {
		if rep == nil {
			cancel()
			r := <-out
			rep = &r
		}
		return *rep
	}
	d.t.Cleanup(func() { stop() })
	return traffic{stop: stop}
}
