package kube

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/rest"
)

// TestReachWaitsForTheAPIServer that is away or not ready, and for no other.
func TestReachWaitsForTheAPIServer(t *testing.T) {
	var asked, code atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(int(code.Load()))
	}))
	defer server.Close()
	s := &Shell{options: Options{Config: &rest.Config{Host: server.URL}, Log: slog.New(slog.DiscardHandler)}}
	for _, c := range []struct {
		code int
		want string
	}{{http.StatusOK, ""}, {http.StatusForbidden, ""}, {http.StatusUnauthorized, server.URL}} {
		asked.Store(0)
		code.Store(int64(c.code))
		err := s.reach(t.Context())
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("with the code %d: %v", c.code, err)
		}
		if asked.Load() != 2 {
			t.Errorf("with the code %d it was asked %d times, expected again after it was not ready", c.code, asked.Load())
		}
	}
	server.Close()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := s.reach(ctx); err != nil {
		t.Errorf("a server that is gone, at the end: %v", err)
	}
}
