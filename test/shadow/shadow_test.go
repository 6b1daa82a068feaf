// Package shadow tests, through a whole daemon, releases whose requests are
// copied to the new version: what is found, and that no user notices.
package shadow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/app"
	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/test/loopback"
)

// patience is how long a test waits for something that must happen; it is no figure.
const patience = 10 * time.Minute

type daemon struct {
	*testing.T
	api   *client.Client
	front string
}

func start(t *testing.T) *daemon {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan string, 1), make(chan error, 1)
	data := t.TempDir()
	go func() {
		ended <- app.Serve(ctx, app.Options{Listen: "127.0.0.1:0", Data: data, Grace: 10 * time.Second, Ready: func(a string) { ready <- a }})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the daemon did not stop cleanly: %v", err)
		}
	})
	c, err := client.New(<-ready, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	front, err := loopback.Free()
	if err != nil {
		t.Fatal(err)
	}
	return &daemon{T: t, api: c, front: front}
}

func manifest(d *daemon, version string, back *httptest.Server, more string) string {
	return fmt.Sprintf(`apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: {name: classify}
spec:
  version: %s
  workload: {endpoints: {addresses: [%s]}}
  traffic:
    embedded:
      listen: %s
      mirror: {methods: [GET, POST], noise: 100, compare: {ignore: [took]}, keep: {fields: [email]}}
  strategy: {shadow: {share: 100, hold: 0s}}
%s`, version, strings.TrimPrefix(back.URL, "http://"), d.front, more)
}

// apply applies a manifest and sends requests until its release is as wanted.
func (d *daemon) apply(text string, want func(v1alpha1.ReleaseStatus) bool) v1alpha1.ReleaseStatus {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), patience)
	defer cancel()
	applied, err := d.api.Apply(ctx, "classify", []byte(text), client.ApplyOptions{File: "release.yaml"})
	if err != nil {
		d.Fatal(err)
	}
	asking, stop := context.WithCancel(ctx)
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		for asking.Err() == nil {
			d.ask(asking)
		}
	}()
	defer func() { stop(); <-asked }()
	var last v1alpha1.ReleaseStatus
	done := errors.New("done")
	err = d.api.Watch(ctx, "classify", func(c client.Change) error {
		if c.Release == nil {
			return nil
		}
		last = c.Release.Status
		if last.ObservedGeneration >= applied.Release.Generation && want(last) {
			return done
		}
		return nil
	})
	if !errors.Is(err, done) {
		d.Fatalf("%v; last: %s: %s", err, last.Phase, last.Message)
	}
	return last
}

// ask sends one request; users get stable's answer.
func (d *daemon) ask(ctx context.Context) {
	req, _ := http.NewRequestWithContext(ctx, "POST", "http://"+d.front+"/classify?key=k-12345", strings.NewReader(`{"text":"hello","password":"hunter2"}`))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer abcdefgh12345678")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return // the release does not listen yet
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	if ctx.Err() == nil && res.StatusCode != http.StatusServiceUnavailable && !strings.Contains(string(b), `"from":"v1"`) {
		d.Errorf("a user got %d %s", res.StatusCode, b)
	}
}

// model answers by a class and a nonce; one in ten of its answers differs by chance.
func model(t *testing.T, name, class string, status int, copies *atomic.Int64) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if r.Header.Get("X-Haldane-Mirror") == "1" {
			copies.Add(1)
			if r.Header.Get("Authorization") != "" || !strings.Contains(string(b), "hello") {
				t.Errorf("a copy bears %v and says %q", r.Header, b)
			}
		}
		answer := class
		if rand.IntN(10) == 0 {
			answer = "by chance"
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"from":%q,"verdict":%q,"email":"a@b.c","took":%d}`, "v1", answer, rand.Int())
	}))
	t.Cleanup(s.Close)
	return s
}

func waitsForPerson(st v1alpha1.ReleaseStatus) bool { return strings.Contains(st.Message, "person") }

func TestShadow(t *testing.T) {
	d := start(t)
	var copies atomic.Int64
	d.apply(manifest(d, "v1", model(t, "v1", "cat", 200, &copies), ""), func(st v1alpha1.ReleaseStatus) bool { return st.Phase == "Idle" })

	// A version as noisy as the old one has evidence without `require: none`.
	d.apply(manifest(d, "v2", model(t, "v2", "cat", 200, &copies), ""), waitsForPerson)
	if copies.Load() == 0 {
		t.Error("no copy was made")
	}
	found, err := d.api.Differences(t.Context(), "classify")
	if err != nil || found.Counts.Compared == 0 || found.Counts.Noise == 0 {
		t.Errorf("found %+v, %v", found.Counts, err)
	}

	// One that answers otherwise is found, beyond the noise, and pauses.
	st := d.apply(manifest(d, "v3", model(t, "v3", "dog", 200, &copies), ""), func(st v1alpha1.ReleaseStatus) bool { return st.Phase == "Paused" })
	if !strings.Contains(st.Message, "answers") {
		t.Errorf("paused: %s", st.Message)
	}
	found, err = d.api.Differences(t.Context(), "classify")
	if err != nil || len(found.Pairs) == 0 {
		t.Fatalf("found %+v, %v", found, err)
	}
	p := found.Pairs[0]
	if text := fmt.Sprint(found.Pairs); strings.Contains(text, "hunter2") || strings.Contains(text, "a@b.c") || strings.Contains(text, "k-12345") {
		t.Errorf("secrets are kept: %s", text)
	}
	if !strings.Contains(p.Request, "hello") || p.Method != "POST" || p.Path != "/classify" || !strings.Contains(p.Why, "verdict") {
		t.Errorf("pair %+v", p)
	}

	// One whose copies fail is rolled back by its failures.
	st = d.apply(manifest(d, "v4", model(t, "v4", "cat", 500, &copies), ""), func(st v1alpha1.ReleaseStatus) bool { return st.Phase == "RolledBack" })
	if !strings.Contains(st.Message, "errors") {
		t.Errorf("rolled back: %s", st.Message)
	}
}
