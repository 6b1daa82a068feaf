// Command app is the service of the end-to-end tests on Kubernetes: it answers
// with its version, and fails as its environment says.
//
//	VERSION     what it answers, and says in the header X-Version
//	ERRORS      share of requests answered 500, 0 to 1
//	LATENCY     time that an answer takes, such as 5ms
//	CRASH       ends with exit code 1 after this many requests
package main

import (
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
	version := os.Getenv("VERSION")
	errors, _ := strconv.ParseFloat(os.Getenv("ERRORS"), 64) // unset: none
	crash, _ := strconv.ParseInt(os.Getenv("CRASH"), 10, 64) // unset: never
	latency, _ := time.ParseDuration(os.Getenv("LATENCY"))   // unset: at once
	var served atomic.Int64
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Version", version)
		if r.URL.Path == "/ready" {
			return
		}
		if n := served.Add(1); crash > 0 && n > crash {
			os.Exit(1)
		}
		time.Sleep(latency)
		if rand.Float64() < errors { //nolint:gosec // which requests fail is no secret
			w.WriteHeader(http.StatusInternalServerError)
		}
		fmt.Fprint(w, version)
	})
	server := &http.Server{Addr: ":8080", Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		time.Sleep(2 * time.Second) // routers learn of it meanwhile
		os.Exit(0)
	}()
	log.Fatal(server.ListenAndServe())
}
