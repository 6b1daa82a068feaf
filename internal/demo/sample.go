package demo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/haldane-project/haldane/internal/demo/modelserver"
)

// VersionHeader is in every answer of the sample services.
const VersionHeader = modelserver.VersionHeader

// spread is the standard deviation of the logarithm of the sample's latency.
const spread = 0.25

// Sample is the service that the demo releases: GET /hello greets, or fails
// with 500 in ERROR_RATE of the requests, after about LATENCY (log-normal). It
// reads PORT, VERSION, ERROR_RATE, LATENCY and SEED, listens on loopback, and
// runs until ctx ends. Which requests fail is drawn from SEED, so that two runs
// of the demo meet the same luck.
func Sample(ctx context.Context) error {
	s, err := sampleOf(os.Getenv)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", s.port))
	if err != nil {
		return fmt.Errorf("sample service: listen on port %s: %w", s.port, err)
	}
	return s.serve(ctx, l)
}

type sample struct {
	port, version string
	errorRate     float64
	latency       time.Duration

	mu   sync.Mutex
	dice *rand.Rand
}

func sampleOf(env func(string) string) (*sample, error) {
	s := &sample{port: env("PORT"), version: env("VERSION")}
	if s.port == "" || s.version == "" {
		return nil, errors.New("sample service: PORT and VERSION must be set; `haldane demo` sets them")
	}
	var err error
	if s.errorRate, err = strconv.ParseFloat(env("ERROR_RATE"), 64); err != nil || !(s.errorRate >= 0 && s.errorRate <= 1) {
		return nil, fmt.Errorf("sample service: ERROR_RATE is %q, expected a share from 0 to 1", env("ERROR_RATE"))
	}
	if s.latency, err = time.ParseDuration(env("LATENCY")); err != nil || s.latency < 0 || s.latency > time.Minute {
		return nil, fmt.Errorf("sample service: LATENCY is %q, expected a duration such as 8ms", env("LATENCY"))
	}
	seed, err := strconv.ParseUint(env("SEED"), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("sample service: SEED is %q, expected a whole number", env("SEED"))
	}
	s.dice = rand.New(rand.NewPCG(seed, 1))
	return s, nil
}

func (s *sample) serve(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello", s.hello)
	mux.HandleFunc("GET /ready", func(http.ResponseWriter, *http.Request) {})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("sample service: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		return fmt.Errorf("sample service: finish the open requests: %w", err)
	}
	return nil
}

func (s *sample) hello(w http.ResponseWriter, r *http.Request) {
	fails, wait := s.draw()
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
		return
	}
	w.Header().Set(VersionHeader, s.version)
	if fails {
		http.Error(w, "the greeting got lost", http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, "Hello from %s\n", s.version)
}

// draw decides the fate of one request.
func (s *sample) draw() (fails bool, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fails = s.dice.Float64() < s.errorRate
	return fails, time.Duration(float64(s.latency) * math.Exp(spread*s.dice.NormFloat64()))
}
