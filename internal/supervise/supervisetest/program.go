// Package supervisetest is the programs that tests of supervised processes run:
// the test binary itself, started again. Call Main first in TestMain. It must
// know nothing of the tests; program.go is all of it.
package supervisetest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// as names the program that a started test binary is.
const as = "TEST_AS"

// Self is the command that starts this test binary as the program of Env.
func Self() []string { return []string{os.Args[0]} }

// Env is the variable that makes Self the named program: serve, never, dies,
// stubborn, forks, astray or idle.
func Env(program string) (name, value string) { return as, program }

// Main runs a program instead of the tests when the environment names one.
// Further programs may be given by a test.
func Main(more map[string]func()) {
	programs := map[string]func(){
		"serve":    func() { serve(true) },
		"stubborn": func() { serve(false) },
		"never":    idle,
		"idle":     idle,
		"astray":   astray,
		"dies":     dies,
		"forks":    forks,
	}
	for name, run := range more {
		programs[name] = run
	}
	name, ok := os.LookupEnv(as)
	if !ok {
		return
	}
	run, known := programs[name]
	if !known {
		fmt.Println("no such program:", name)
		syscall.Exit(2)
	}
	run()
	syscall.Exit(0)
}

func idle() { select {} }

// astray listens on a port of its own choice.
func astray() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr().(*net.TCPAddr).Port)
	select {}
}

// dies writes 30 lines and the variable SECRET, then ends with status 3.
func dies() {
	for n := range 30 {
		fmt.Println("line", n)
	}
	fmt.Fprintln(os.Stderr, "the secret is", os.Getenv("SECRET"))
	syscall.Exit(3)
}

// forks starts two idle children, one in a session of its own, writes their
// pids to the file CHILDREN and serves.
func forks() {
	pids := ""
	for _, own := range []bool{false, true} {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), as+"=idle")
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: own}
		if err := c.Start(); err != nil {
			panic(err)
		}
		pids += strconv.Itoa(c.Process.Pid) + " "
	}
	if err := os.WriteFile(os.Getenv("CHILDREN"), []byte(pids), 0o600); err != nil {
		panic(err)
	}
	serve(true)
}

// serve answers on PORT: / with TEXT and the pid, /healthz 200 or, when /sick
// was asked, 503 until /well; /die ends it at once with status 7; /burn uses
// 50 ms of processor time; /warm counts and / tells how often.
func serve(obey bool) {
	var sick atomic.Bool
	var warm atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%s %d %d", os.Getenv("TEXT"), os.Getpid(), warm.Load())
	})
	mux.HandleFunc("/env", func(w http.ResponseWriter, _ *http.Request) {
		for _, v := range os.Environ() {
			fmt.Fprintln(w, v)
		}
	})
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if sick.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/sick", func(http.ResponseWriter, *http.Request) { sick.Store(true) })
	mux.HandleFunc("/well", func(http.ResponseWriter, *http.Request) { sick.Store(false) })
	mux.HandleFunc("/warm", func(http.ResponseWriter, *http.Request) { warm.Add(1) })
	mux.HandleFunc("/die", func(http.ResponseWriter, *http.Request) { syscall.Exit(7) })
	mux.HandleFunc("/burn", func(http.ResponseWriter, *http.Request) { burn(50 * time.Millisecond) })
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: mux, Protocols: protocols, ReadHeaderTimeout: 10 * time.Second}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", os.Getenv("PORT")))
	if err != nil {
		fmt.Println(err)
		syscall.Exit(1)
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() {
		for range term {
			if obey {
				_ = server.Shutdown(context.Background())
				syscall.Exit(0)
			}
			fmt.Println("SIGTERM is ignored")
		}
	}()
	fmt.Println(server.Serve(l))
	select {} // until Shutdown has ended
}

// burn uses processor time of this process, not time of the clock.
func burn(d time.Duration) {
	for begin := used(); used()-begin < d; {
	}
}

func used() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
