package standalone

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/store"
)

// process is the daemon in a process of its own.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	d   *daemon
}

func spawn(t *testing.T, data, front string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "HALDANE_TEST_ROLE=daemon", "LISTEN=127.0.0.1:0", "DATA="+data)
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil { // its end tells the daemon that the test is gone
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.Process.Kill() == nil { // the test failed before it killed it
			_ = cmd.Wait()
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	base, ok := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if err != nil || !ok {
		t.Fatalf("the daemon said %q: %v", line, err)
	}
	return &process{t: t, cmd: cmd, d: &daemon{t: t, name: "hello", base: base, front: front, data: data, api: newClient(t, base)}}
}

func (p *process) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	_ = p.cmd.Wait() // killed: that is its error
}

// TestKilledDaemon: kill -9 at random moments during runs. After each restart
// what was acknowledged is there, the run goes on or has ended rightly, no
// evidence is counted twice, and no process of the dead daemon is left. Two
// daemons are killed beside each other, since a round mostly waits.
func TestKilledDaemon(t *testing.T) {
	const lanes = 2
	rounds := long(6, 100) / lanes
	for lane := range uint64(lanes) {
		t.Run(fmt.Sprintf("daemon %d", lane), func(t *testing.T) {
			t.Parallel()
			killed(t, rounds, rand.New(rand.NewPCG(7, 7+lane)))
		})
	}
}

// killed kills one daemon in each round.
func killed(t *testing.T, rounds int, rng *rand.Rand) {
	data, front := t.TempDir(), freeAddress(t)
	hits := filepath.Join(t.TempDir(), "hits")
	p := spawn(t, data, front)
	p.d.apply(version{name: "v0"}, quick)
	p.d.serves("v0")
	stop := hammer(front)
	defer stop()
	var generation int64 = 1
	for i := 1; i <= rounds; i++ {
		name := fmt.Sprintf("v%d", i)
		env := map[string]string{"HITS": hits + name}
		if i%3 == 0 {
			env["ERRORS"] = "0.5" // every third version is bad
		}
		p.d.apply(version{name: name, env: env}, quick)
		generation++
		time.Sleep(time.Duration(rng.IntN(2500)) * time.Millisecond) // the random moment, not a wait for anything
		p.kill()
		p = spawn(t, data, front)
		rel, err := p.d.api.Get(context.Background(), "hello")
		if err != nil || rel.Spec.Version != name || rel.Generation != generation {
			t.Fatalf("round %d: acknowledged %s at generation %d, found %s at %d: %v", i, name, generation, rel.Spec.Version, rel.Generation, err)
		}
		rel = p.d.wait("the end of the run to "+name, ended(name))
		if bad, phase := i%3 == 0, rel.Status.Run.Phase; bad != (phase == "RolledBack") {
			t.Fatalf("round %d: %s ended as %s: %s", i, name, phase, rel.Status.Message)
		}
		if seen, real := rel.Status.Run.CanaryRequests, int64(len(readHits(t, hits+name))); seen > real {
			t.Fatalf("round %d: the judge counted %d requests of %s, which got %d", i, seen, name, real)
		}
	}
	checkRunsOnce(t, allEvents(t, p.d.api), rounds)
	stop()
	onlyOwn(t, p.cmd.Process.Pid, front, 2)
	t.Logf("%d kills: every acknowledged version there, every run ended as it should, no evidence twice, no stray process", rounds)
	p.kill()
}

func ended(name string) func(v1alpha1.Release) bool {
	return func(r v1alpha1.Release) bool {
		run := r.Status.Run
		return run != nil && run.To == name && run.Ended != nil && (r.Status.Phase == "Idle" || r.Status.Phase == "RolledBack")
	}
}

// hammer sends requests all the time; those that meet no daemon are lost to nobody's fault.
func hammer(front string) func() {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for tick := time.NewTicker(10 * time.Millisecond); ctx.Err() == nil; <-tick.C {
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+front+"/", nil)
				if err != nil {
					return
				}
				if resp, err := http.DefaultClient.Do(req); err == nil {
					_, _ = io.Copy(io.Discard, resp.Body) // so that the connection is used again
					resp.Body.Close()
				}
			}
		})
	}
	var once sync.Once
	return func() { once.Do(func() { cancel(); wg.Wait() }) }
}

func allEvents(t *testing.T, api *client.Client) (all []store.StoredEvent) {
	t.Helper()
	for {
		after := int64(0)
		if n := len(all); n > 0 {
			after = all[n-1].ID
		}
		page, err := api.Events(context.Background(), "hello", after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
	}
}

// checkRunsOnce: every run started once and ended once.
func checkRunsOnce(t *testing.T, events []store.StoredEvent, rounds int) {
	t.Helper()
	started, over := map[string]int{}, map[string]int{}
	for _, e := range events {
		switch e.Reason {
		case "RunStarted":
			started[e.Run]++
		case "RunPromoted", "RunRolledBack":
			over[e.Run]++
		}
	}
	for run, n := range started {
		if n != 1 || over[run] > 1 {
			t.Errorf("run %s: started %d times, ended %d times", run, n, over[run])
		}
	}
	if len(started) < rounds+1 {
		t.Errorf("%d runs started, expected at least %d", len(started), rounds+1)
	}
}

// versionsOf lists the version processes that are children of a process.
func versionsOf(t *testing.T, parent int) []string {
	return procs(t, func(stat, _ string) bool {
		f := strings.Fields(stat[strings.LastIndex(stat, ")")+1:])
		return len(f) > 1 && f[1] == fmt.Sprint(parent)
	})
}

// onlyOwn waits until the daemon has its instances (they may be starting again)
// and no other version process of this test is left.
func onlyOwn(t *testing.T, daemon int, front string, instances int) {
	t.Helper()
	deadline := time.After(patience)
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		own, all := versionsOf(t, daemon), strays(t, front)
		if len(own) == instances && len(all) == instances {
			tick.Stop()
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%d version processes run, the daemon has %d, expected %d: %v", len(all), len(own), instances, all)
		}
	}
}

// strays lists the version processes of this test, whoever started them.
func strays(t *testing.T, mark string) []string {
	return procs(t, func(_, environ string) bool { return strings.Contains(environ, "FRONT="+mark) })
}

func procs(t *testing.T, ok func(stat, environ string) bool) []string {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, dir := range dirs {
		stat, err1 := os.ReadFile(dir + "/stat")
		environ, err2 := os.ReadFile(dir + "/environ")
		if err1 != nil || err2 != nil || !strings.Contains(string(environ), "HALDANE_TEST_ROLE=version") {
			continue // gone meanwhile, or another's
		}
		if ok(string(stat), string(environ)) {
			out = append(out, filepath.Base(dir))
		}
	}
	return out
}
