package supervise_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/haldane-project/haldane/internal/supervise"
	"github.com/haldane-project/haldane/internal/supervise/supervisetest"
)

func TestMain(m *testing.M) {
	supervisetest.Main(map[string]func(){"supervisor": supervisor})
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for something that must happen; it is no figure.
const patience = 2 * time.Minute

// harness runs one supervisor for a test.
type harness struct {
	*testing.T
	*supervise.Supervisor
	changed chan struct{}
}

func start(t *testing.T, change ...func(*supervise.Options)) *harness {
	t.Helper()
	opts := supervise.Options{
		Dir:     filepath.Join(t.TempDir(), "run"),
		Logger:  slog.New(slog.DiscardHandler),
		BackOff: supervise.BackOff{Min: time.Millisecond, Max: 20 * time.Millisecond},
	}
	for _, c := range change {
		c(&opts)
	}
	s, err := supervise.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{T: t, Supervisor: s, changed: make(chan struct{}, 1)}
	t.Cleanup(func() { h.close() })
	return h
}

func (h *harness) close() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := h.Close(ctx); err != nil {
		h.Error(err)
	}
}

func (h *harness) run(p supervise.Program) *supervise.Instance {
	h.Helper()
	i, err := h.Start(p, func() {
		select {
		case h.changed <- struct{}{}:
		default:
		}
	})
	if err != nil {
		h.Fatal(err)
	}
	return i
}

// until waits for a change that makes the status as wanted.
func (h *harness) until(i *supervise.Instance, what string, ok func(supervise.Status) bool) supervise.Status {
	h.Helper()
	deadline := time.After(patience)
	for {
		if st := i.Status(); ok(st) {
			return st
		}
		select {
		case <-h.changed:
		case <-deadline:
			h.Fatalf("waiting for %s: still %+v", what, i.Status())
		}
	}
}

func (h *harness) untilReady(i *supervise.Instance) supervise.Status {
	h.Helper()
	return h.until(i, "ready", func(st supervise.Status) bool { return st.State == supervise.Ready })
}

func program(as string, more ...supervise.Var) supervise.Program {
	name, value := supervisetest.Env(as)
	return supervise.Program{
		Command: supervisetest.Self(),
		Env:     append([]supervise.Var{{Name: name, Value: value}}, more...),
		Ready:   supervise.Probe{HTTP: "/healthz", Interval: 10 * time.Millisecond},
		Drain:   10 * time.Second,
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return rest != "" && rest[0] != 'Z' && rest[0] != 'X'
}

func TestServesOnItsPortWithACleanEnvironment(t *testing.T) {
	t.Setenv("SECRET_OF_HALDANE", "do not pass on")
	h := start(t)
	p := program("serve", supervise.Var{Name: "TEXT", Value: "hello"})
	p.WarmUp = supervise.WarmUp{Requests: 3, Path: "/warm"}
	st := h.untilReady(h.run(p))
	if got, want := get(t, st.URL+"/"), fmt.Sprintf("hello %d 3", st.Pid); got != want {
		t.Errorf("answer %q, want %q (text, pid, warm-up requests before ready)", got, want)
	}
	env := get(t, st.URL+"/env")
	_, port, _ := strings.Cut(st.Address, ":")
	if !strings.Contains(env, "\nPORT="+port+"\n") && !strings.HasPrefix(env, "PORT="+port+"\n") {
		t.Errorf("no PORT=%s in the environment:\n%s", port, env)
	}
	if strings.Contains(env, "SECRET_OF_HALDANE") {
		t.Errorf("the environment is not clean:\n%s", env)
	}
}

func TestPortInCommandAndNamedVariable(t *testing.T) {
	h := start(t)
	p := supervise.Program{
		Command: []string{"/bin/sh", "-c", `test "$LISTEN" = "$1" && echo same; exit 0`, "sh", "{port}"},
		PortEnv: "LISTEN",
	}
	i := h.run(p)
	st := h.until(i, "an end", func(st supervise.Status) bool { return st.Restarts > 0 })
	if !strings.Contains(st.Error, "same") {
		t.Errorf("the port in the command differs from the variable: %s", st.Error)
	}
}

func TestH2C(t *testing.T) {
	h := start(t)
	p := program("serve")
	p.H2C = true
	if st := h.untilReady(h.run(p)); !strings.HasPrefix(st.URL, "h2c://127.0.0.1:") {
		t.Errorf("URL %s, want h2c://127.0.0.1:port", st.URL)
	}
}

func TestDiesAtOnceIsToldWithStatusAndLastLinesWithoutSecrets(t *testing.T) {
	t.Setenv("SECRET_OF_TEST", "pass word 1")
	h := start(t)
	i := h.run(program("dies", supervise.Var{Name: "SECRET", From: "env:SECRET_OF_TEST"}))
	st := h.until(i, "the third start", func(st supervise.Status) bool { return st.Restarts >= 2 && st.Error != "" })
	if st.Blocked || !strings.Contains(st.Error, "exit status 3") || !strings.Contains(st.Error, "the secret is ***") {
		t.Errorf("status %+v, want exit status 3 and a masked secret", st)
	}
	if n := strings.Count(st.Error, "\n"); n != 20 {
		t.Errorf("%d lines of output in the error, want the last 20:\n%s", n, st.Error)
	}
	for _, l := range i.Lines() {
		if strings.Contains(l.Text, "pass word 1") {
			t.Errorf("the secret is in the log: %q", l.Text)
		}
	}
}

func TestNeverReady(t *testing.T) {
	h := start(t)
	p := program("never")
	p.Ready.Deadline = 50 * time.Millisecond
	i := h.run(p)
	st := h.until(i, "a restart", func(st supervise.Status) bool { return st.Restarts > 0 })
	for _, want := range []string{"was not ready within 50ms", "refused", "it listens on no port", "the variable PORT", "it wrote nothing"} {
		if !strings.Contains(st.Error, want) {
			t.Errorf("error %q, want %q in it", st.Error, want)
		}
	}
}

func TestASlowStartIsNoErrorAtFirst(t *testing.T) {
	h := start(t, func(o *supervise.Options) { o.Patience = time.Hour })
	i := h.run(program("never"))
	h.until(i, "a process", func(st supervise.Status) bool { return st.Pid != 0 })
	if st := i.Status(); st.Error != "" || st.State != supervise.Starting {
		t.Errorf("status %+v, want starting without an error", st)
	}

	h = start(t, func(o *supervise.Options) { o.Patience = 50 * time.Millisecond })
	i = h.run(program("never"))
	st := h.until(i, "an error", func(st supervise.Status) bool { return st.Error != "" })
	if !strings.HasPrefix(st.Error, "not ready yet: ") || st.Restarts != 0 {
		t.Errorf("status %+v, want that it is not ready yet", st)
	}
}

func TestAWrongPortIsTold(t *testing.T) {
	h := start(t)
	p := program("astray")
	p.Ready.Deadline = 3 * time.Second
	i := h.run(p)
	// A slow machine may not have started it by the deadline; it is started again.
	st := h.until(i, "the port where it listens", func(st supervise.Status) bool {
		return st.Restarts > 0 && strings.Contains(st.Error, "it listens on port ")
	})
	if !slices.ContainsFunc(i.Lines(), func(l supervise.Line) bool {
		return strings.Contains(st.Error, "it listens on port "+l.Text+" instead")
	}) {
		t.Errorf("error %q, want one of the ports in it that the program told: %v", st.Error, i.Lines())
	}
}

func TestBlockedPrograms(t *testing.T) {
	file := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		program supervise.Program
		want    string
	}{
		"no such program":   {supervise.Program{Command: []string{"no-such-program"}}, `"no-such-program" was not found in PATH`},
		"no such file":      {supervise.Program{Command: []string{"./missing"}}, "missing"},
		"not executable":    {supervise.Program{Command: []string{file}}, "is not executable"},
		"no such directory": {supervise.Program{Command: []string{"true"}, Dir: file + "/none"}, "working directory"},
		"not a directory":   {supervise.Program{Command: []string{"true"}, Dir: file}, "expected a directory"},
		"unset variable":    {supervise.Program{Command: []string{"true"}, Env: []supervise.Var{{Name: "A", From: "env:NOT_SET_ANYWHERE"}}}, "env:NOT_SET_ANYWHERE, which is not set"},
		"missing file":      {supervise.Program{Command: []string{"true"}, Env: []supervise.Var{{Name: "A", From: "file:/no/such/file"}}}, "no such file"},
		"unknown source":    {supervise.Program{Command: []string{"true"}, Env: []supervise.Var{{Name: "A", From: "vault:x"}}}, "known are env:NAME and file:/path"},
		"empty command":     {supervise.Program{}, "the command is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t)
			i := h.run(c.program)
			st := h.until(i, "blocked", func(st supervise.Status) bool { return st.Blocked })
			if !strings.Contains(st.Error, c.want) {
				t.Errorf("error %q, want %q in it", st.Error, c.want)
			}
		})
	}
}

func TestBlockedHealsOnceMended(t *testing.T) {
	h := start(t)
	dir := t.TempDir()
	p := program("serve")
	p.Command, p.Dir = []string{"./program"}, dir
	i := h.run(p)
	h.until(i, "blocked", func(st supervise.Status) bool { return st.Blocked })
	if err := os.Symlink(os.Args[0], filepath.Join(dir, "program")); err != nil {
		t.Fatal(err)
	}
	if st := h.untilReady(i); st.Blocked || st.Error != "" {
		t.Errorf("status %+v, want nothing wrong", st)
	}
}

func TestCrashIsSeenAndStartedAgain(t *testing.T) {
	h := start(t)
	i := h.run(program("serve"))
	before := h.untilReady(i)
	if _, err := http.Get(before.URL + "/die"); err == nil {
		t.Error("the program answered /die")
	}
	st := h.until(i, "a restart", func(st supervise.Status) bool { return st.Restarts == 1 })
	if !strings.Contains(st.Error, "exit status 7") {
		t.Errorf("error %q, want exit status 7", st.Error)
	}
	after := h.untilReady(i)
	if after.Pid == before.Pid || after.Address == before.Address || after.Error != "" {
		t.Errorf("after the restart %+v, before %+v: want another process and port and no error", after, before)
	}
}

func TestUnreadyAndReadyAgain(t *testing.T) {
	h := start(t)
	i := h.run(program("serve"))
	st := h.untilReady(i)
	get(t, st.URL+"/sick")
	sick := h.until(i, "unready", func(st supervise.Status) bool { return st.State == supervise.Unready })
	if !strings.Contains(sick.Error, "answered 503") {
		t.Errorf("error %q, want the probe's answer", sick.Error)
	}
	get(t, st.URL+"/well")
	if again := h.untilReady(i); again.Pid != st.Pid || again.Restarts != 0 {
		t.Errorf("ready again as %+v, want the same process %+v", again, st)
	}
}

func TestDrainComesBeforeTermination(t *testing.T) {
	asked, leave := make(chan string), make(chan struct{})
	h := start(t, func(o *supervise.Options) {
		o.Leave = func(_ context.Context, address string) error {
			asked <- address
			<-leave
			return nil
		}
	})
	i := h.run(program("serve"))
	st := h.untilReady(i)
	i.Stop()
	if address := <-asked; address != st.Address {
		t.Errorf("asked to leave %s, want %s", address, st.Address)
	}
	if now := i.Status(); now.State != supervise.Draining || !alive(st.Pid) {
		t.Errorf("status %+v, want draining and alive while requests are in flight", now)
	}
	get(t, st.URL+"/")
	close(leave)
	<-i.Done()
	if now := i.Status(); now.State != supervise.Stopped || alive(st.Pid) {
		t.Errorf("status %+v, alive %v: want stopped", now, alive(st.Pid))
	}
}

func TestDrainIsBounded(t *testing.T) {
	end := make(chan struct{})
	defer close(end)
	h := start(t, func(o *supervise.Options) {
		o.Leave = func(context.Context, string) error { <-end; return nil } // ignores its context
	})
	p := program("serve")
	p.Drain = 20 * time.Millisecond
	i := h.run(p)
	h.untilReady(i)
	i.Stop()
	<-i.Done()
}

func TestIgnoredSIGTERMEndsInSIGKILL(t *testing.T) {
	h := start(t, func(o *supervise.Options) { o.Grace = 50 * time.Millisecond })
	i := h.run(program("stubborn"))
	st := h.untilReady(i)
	i.Stop()
	<-i.Done()
	if alive(st.Pid) {
		t.Error("the process is alive after its stop")
	}
	if lines := i.Lines(); len(lines) == 0 || lines[len(lines)-1].Text != "SIGTERM is ignored" {
		t.Errorf("log %v, want that it was asked before it was killed", lines)
	}
}

func children(t *testing.T, file string) []int {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, f := range strings.Fields(string(b)) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

func TestForkedChildrenEndWithTheProgram(t *testing.T) {
	for _, how := range []string{"stop", "crash"} {
		t.Run(how, func(t *testing.T) {
			h := start(t)
			file := filepath.Join(t.TempDir(), "children")
			i := h.run(program("forks", supervise.Var{Name: "CHILDREN", Value: file}))
			st := h.untilReady(i)
			pids := children(t, file)
			if how == "stop" {
				i.Stop()
				<-i.Done()
			} else {
				if err := syscall.Kill(st.Pid, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				h.until(i, "a restart", func(st supervise.Status) bool { return st.Restarts > 0 })
			}
			if slices.ContainsFunc(pids, alive) {
				t.Errorf("of the children %v some are alive", pids)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	h := start(t)
	i := h.run(program("serve"))
	st := h.untilReady(i)
	get(t, st.URL+"/burn")
	usage := func() supervise.Usage {
		u, err := h.Usage(i)
		if err != nil {
			t.Fatal(err)
		}
		return u[0]
	}
	first := usage()
	if first.CPU < 40*time.Millisecond || first.RSS < 1<<20 {
		t.Errorf("usage %+v after 50 ms of work: want at least 40 ms and 1 MiB", first)
	}
	if _, err := http.Get(st.URL + "/die"); err == nil {
		t.Error("the program answered /die")
	}
	h.until(i, "a restart", func(st supervise.Status) bool { return st.Restarts == 1 })
	if second := usage(); second.CPU < first.CPU || second.Restarts != 1 {
		t.Errorf("usage fell from %+v to %+v over a restart", first, second)
	}
}

func TestCloseKillsWhatDoesNotDrain(t *testing.T) {
	h := start(t, func(o *supervise.Options) {
		o.Leave = func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }
	})
	i := h.run(program("serve"))
	st := h.untilReady(i)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := h.Close(ctx); err == nil || !strings.Contains(err.Error(), "1 were killed") {
		t.Errorf("error %v, want that one was killed", err)
	}
	if alive(st.Pid) {
		t.Error("the process is alive after Close")
	}
	if _, err := h.Start(program("serve"), nil); err == nil {
		t.Error("a closed supervisor starts a program")
	}
}

func TestOneSupervisorPerDirectory(t *testing.T) {
	dir := t.TempDir()
	opts := supervise.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)}
	first, err := supervise.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := supervise.New(opts); err == nil || !strings.Contains(err.Error(), "another Haldane") {
		t.Errorf("error %v, want that another one is there", err)
	}
	if err := first.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	second, err := supervise.New(opts)
	if err != nil {
		t.Fatalf("after Close the directory is not free: %v", err)
	}
	if err := second.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// supervisor is a supervising process that is killed by a test: it runs a
// program that forks, in the directory DIR, and writes its pid when it is ready.
func supervisor() {
	s, err := supervise.New(supervise.Options{Dir: os.Getenv("DIR"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		panic(err)
	}
	ready := make(chan struct{}, 100)
	i, err := s.Start(program("forks", supervise.Var{Name: "CHILDREN", Value: os.Getenv("CHILDREN")}), func() { ready <- struct{}{} })
	if err != nil {
		panic(err)
	}
	for i.Status().State != supervise.Ready {
		<-ready
	}
	fmt.Println(i.Status().Pid)
	select {}
}

func TestKill9OfTheSupervisorLeavesNoOrphan(t *testing.T) {
	dir, file := filepath.Join(t.TempDir(), "run"), filepath.Join(t.TempDir(), "children")
	name, value := supervisetest.Env("supervisor")
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{name + "=" + value, "DIR=" + dir, "CHILDREN=" + file}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscan(out, &pid); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // says that it was killed
	eventually(t, "the program ends with its supervisor", func() bool { return !alive(pid) })

	pids := children(t, file)
	next, err := supervise.New(supervise.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(pids, alive) {
		t.Errorf("of the children %v some are alive after the next start", pids)
	}
	if err := next.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.json")); len(left) > 0 {
		t.Errorf("records are left: %v", left)
	}
}
