// Command app is the service of the end-to-end tests on Kubernetes: it answers
// with its version, and fails as its environment says.
//
//	VERSION     what it answers, and says in the header X-Version
//	ERRORS      share of requests answered 500, 0 to 1
//	LATENCY     time that an answer takes, such as 5ms
//	CRASH       ends with exit code 1 after this many requests
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
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	if os.Getenv("BROKEN") != "" {
		log.Fatal("broken, as its environment says")
	}
	server := &http.Server{Addr: ":8080", Handler: handler(), ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan struct{})
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		defer close(ended)
		<-stop
		time.Sleep(3 * time.Second) // routers learn of it meanwhile
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = server.Shutdown(ctx) // what is cut short then had its time
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	<-ended
}

func handler() http.Handler {
	version := os.Getenv("VERSION")
	faults, _ := strconv.ParseFloat(os.Getenv("ERRORS"), 64) // unset: none
	crash, _ := strconv.ParseInt(os.Getenv("CRASH"), 10, 64) // unset: never
	latency, _ := time.ParseDuration(os.Getenv("LATENCY"))   // unset: at once
	var served atomic.Int64
	var failing atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if os.Getenv("UNREADY") != "" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("POST /fail", func(http.ResponseWriter, *http.Request) { failing.Store(true) })
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Version", version)
		if n := served.Add(1); crash > 0 && n > crash {
			os.Exit(1)
		}
		time.Sleep(latency)
		if failing.Load() || rand.Float64() < faults { //nolint:gosec // which requests fail is no secret
			w.WriteHeader(http.StatusInternalServerError)
		}
		fmt.Fprint(w, version)
	})
	return mux
}
