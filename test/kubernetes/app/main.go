// Command app is the service of the end-to-end tests on Kubernetes: over HTTP on
// :8080 and gRPC on :9090 it answers with its version, and fails as its
// environment says. GET /metrics counts its answers as a Prometheus server wants
// them.
//
//	VERSION     what it answers, and says in the header X-Version
//	ERRORS      share of requests answered 500 (gRPC: Internal), 0 to 1
//	LATENCY     time that an answer takes, such as 5ms
//	TAIL        time that 3 of 100 answers take, such as 80ms
//	CRASH       ends with exit code 1 after this many requests
//	HOG         MiB of memory that it takes after as many requests as CRASH says, in place of its end
//	BROKEN      ends with exit code 1 at its start
//	UNREADY     is never ready
//
// POST /fail lets it answer 500 from then on: a version that turns bad at a
// moment of the test's choice.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
)

func main() {
	if os.Getenv("BROKEN") != "" {
		log.Fatal("broken, as its environment says")
	}
	a := newApp()
	l, err := net.Listen("tcp", ":9090")
	if err != nil {
		log.Fatal(err)
	}
	rpc := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(rpc, a)
	go func() {
		if err := rpc.Serve(l); err != nil {
			log.Fatal(err)
		}
	}()
	server := &http.Server{Addr: ":8080", Handler: a.handler(), ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan struct{})
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		defer close(ended)
		<-stop
		time.Sleep(3 * time.Second) // routers learn of it meanwhile
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		go rpc.GracefulStop()
		_ = server.Shutdown(ctx) // what is cut short then had its time
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	<-ended
}

type app struct {
	testgrpc.UnimplementedTestServiceServer
	version       string
	faults        float64
	latency, tail time.Duration
	crash         int64
	hog           int
	served        atomic.Int64
	failing       atomic.Bool
	good, bad     atomic.Int64 // answers
	hogging       sync.Once
}

// newApp reads the environment; what is unset is zero.
func newApp() *app {
	a := &app{version: os.Getenv("VERSION")}
	a.faults, _ = strconv.ParseFloat(os.Getenv("ERRORS"), 64)
	a.crash, _ = strconv.ParseInt(os.Getenv("CRASH"), 10, 64)
	a.hog, _ = strconv.Atoi(os.Getenv("HOG"))
	a.latency, _ = time.ParseDuration(os.Getenv("LATENCY"))
	a.tail, _ = time.ParseDuration(os.Getenv("TAIL"))
	return a
}

// serve takes the time of one answer and says whether it is a good one.
func (a *app) serve() bool {
	if n := a.served.Add(1); a.crash > 0 && n > a.crash {
		if a.hog == 0 {
			os.Exit(1)
		}
		a.hogging.Do(func() { take(a.hog) })
	}
	wait := a.latency
	if rand.Float64() < 0.03 { //nolint:gosec // which requests are slow is no secret
		wait = max(wait, a.tail)
	}
	time.Sleep(wait)
	good := !a.failing.Load() && rand.Float64() >= a.faults //nolint:gosec // which requests fail is no secret
	if good {
		a.good.Add(1)
	} else {
		a.bad.Add(1)
	}
	return good
}

var taken [][]byte

// take touches MiB of memory and keeps them.
func take(mib int) {
	for range mib {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		taken = append(taken, b)
	}
}

// UnaryCall implements the gRPC service.
func (a *app) UnaryCall(context.Context, *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	if !a.serve() {
		return nil, status.Error(codes.Internal, a.version)
	}
	return &testgrpc.SimpleResponse{ServerId: a.version}, nil
}

func (a *app) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if os.Getenv("UNREADY") != "" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		const name = "http_server_request_duration_seconds_count"
		fmt.Fprintf(w, "# TYPE %[1]s counter\n%[1]s{http_response_status_code=\"200\"} %[2]d\n%[1]s{http_response_status_code=\"500\"} %[3]d\n",
			name, a.good.Load(), a.bad.Load())
	})
	mux.HandleFunc("POST /fail", func(http.ResponseWriter, *http.Request) { a.failing.Store(true) })
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Version", a.version)
		if !a.serve() {
			w.WriteHeader(http.StatusInternalServerError)
		}
		fmt.Fprint(w, a.version)
	})
	return mux
}
