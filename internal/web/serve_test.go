package web

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestStopEndsStreams stops a server while an event stream is open.
func TestStopEndsStreams(t *testing.T) {
	m := newMemory()
	live(m, "hello")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{Store: m, Listen: l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	resp, err := http.Get("http://" + l.Addr().String() + "/api/v1/watch")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() && lines.Text() != ": ready" {
	}
	stop()
	for lines.Scan() {
	}
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("Serve did not return")
	}
	if _, err := http.Get("http://" + l.Addr().String() + "/healthz"); err == nil {
		t.Error("it still answers")
	}
}

func TestStreamsAreBounded(t *testing.T) {
	m := newMemory()
	s, srv := start(t, m, nil)
	for range maxWatchers {
		s.watchers <- struct{}{}
	}
	if resp := send(t, srv, "GET", "/api/v1/watch", "", "", "", nil); resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" {
		t.Errorf("stream %d: %s", maxWatchers+1, resp.Status)
	}
	<-s.watchers
	if resp := send(t, srv, "GET", "/api/v1/watch", "", "", "", nil); resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("a free place: %s", resp.Status)
	}
}

func TestReadiness(t *testing.T) {
	var why error
	_, srv := start(t, newMemory(), func(o *Options) { o.Ready = func() error { return why } })
	if resp := send(t, srv, "GET", "/readyz", "", "", "", nil); resp.StatusCode != 200 {
		t.Error(resp.Status)
	}
	why = errors.New("the store is still being read")
	if resp := send(t, srv, "GET", "/readyz", "", "", "", nil); resp.StatusCode != 503 || !strings.Contains(readAll(t, resp), "still being read") {
		t.Error(resp.Status)
	}
}
