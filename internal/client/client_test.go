package client

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func TestServerNames(t *testing.T) {
	for in, want := range map[string]string{
		"": "http://" + DefaultAddress, "10.0.0.1:7070": "http://10.0.0.1:7070", "https://haldane.example.org/": "https://haldane.example.org",
		"http://h:1/base/": "http://h:1/base",
	} {
		c, err := New(in, Options{})
		if err != nil || c.URL("") != want {
			t.Errorf("New(%q) = %v, %v; want %s", in, c, err, want)
		}
	}
	for _, bad := range []string{"ftp://h", "http://", "http://ada:secret@h:1", "http://h:port"} {
		if c, err := New(bad, Options{}); err == nil {
			t.Errorf("New(%q) = %s", bad, c.URL(""))
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows a password: %v", err)
		}
	}
}

func TestNobodyThereSaysWhatToDo(t *testing.T) {
	srv := httptest.NewServer(nil)
	srv.Close()
	c, err := New(srv.URL, Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.List(context.Background())
	var down *Unreachable
	if !errors.As(err, &down) || !strings.Contains(err.Error(), "haldane serve") {
		t.Errorf("error %v", err)
	}
}

func TestProblemsAreErrors(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer s3cret" {
			t.Errorf("Authorization %q", r.Header.Get("Authorization"))
		}
		if strings.HasSuffix(r.URL.Path, "/plain") {
			http.Error(w, "gateway trouble", http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = w.Write([]byte(`{"title":"no","detail":"f has a problem","errors":[{"message":"is over 100","location":"f:1:2: spec.x"}]}`))
	}))
	defer srv.Close()
	c, err := New(srv.URL, Options{Token: "s3cret"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Get(context.Background(), "hello")
	if !IsInvalid(err) || err.Error() != "f has a problem\nf:1:2: spec.x: is over 100" {
		t.Errorf("error %v", err)
	}
	_, err = c.Get(context.Background(), "plain")
	if err == nil || !strings.Contains(err.Error(), "502") {
		t.Errorf("an answer that is no problem document: %v", err)
	}
}

// TestWatchComesBack breaks the first stream and looks for the second.
func TestWatchComesBack(t *testing.T) {
	var calls atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		name := "first"
		if calls.Add(1) > 1 {
			name = "second"
		}
		_, _ = w.Write([]byte(": hello\n\nevent: release\ndata: {\"metadata\":\ndata: {\"name\":\"" + name + "\"}}\n\n"))
	}))
	defer srv.Close()
	c, err := New(srv.URL, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	done := errors.New("done")
	err = c.Watch(context.Background(), "", func(ch Change) error {
		switch {
		case ch.Down != nil:
			got = append(got, "down")
		case ch.Release.Name == "second":
			return done
		default:
			got = append(got, ch.Release.Name)
		}
		return nil
	})
	if !errors.Is(err, done) || strings.Join(got, " ") != "first down" {
		t.Errorf("saw %q, ended by %v", got, err)
	}
}

func FuzzStream(f *testing.F) {
	f.Add("event: release\ndata: {\"metadata\":{\"name\":\"x\"}}\n\n: c\n\nevent: gone\ndata: {\"name\":\"x\"}\n\n")
	f.Add("data\nevent\n\n\n:\n")
	f.Fuzz(func(t *testing.T, text string) {
		_ = readStream(strings.NewReader(text), func() {}, func(ch Change) error {
			if ch.Release == nil && ch.Gone == "" && !strings.Contains(text, "gone") {
				t.Fatal("an empty change")
			}
			return nil
		})
	})
}
