package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

const stable, canary = release.VersionID("aaaaaaaaaa"), release.VersionID("bbbbbbbbbb")

// recorder keeps all observations.
type recorder struct {
	mu   sync.Mutex
	list []release.Observation
}

func (r *recorder) Observe(o *release.Observation) {
	r.mu.Lock()
	r.list = append(r.list, *o)
	r.mu.Unlock()
}

// wait returns the observations once there are n.
func (r *recorder) wait(t testing.TB, n int) []release.Observation {
	t.Helper()
	var got []release.Observation
	eventually(t, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		got = slices.Clone(r.list)
		return len(got) >= n
	}, "%d observations", n)
	return got
}

// patience is how long a test waits for something that must happen; it is no figure.
const patience = 5 * time.Minute

func eventually(t testing.TB, ok func() bool, what string, args ...any) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within five minutes: "+what, args...)
		}
		time.Sleep(time.Millisecond)
	}
}

// world is a proxy with a listener and what it observed.
type world struct {
	*Proxy
	seen *recorder
	addr string
	url  string
}

func newWorld(t testing.TB, o Options) *world {
	t.Helper()
	seen := &recorder{}
	if o.Observer == nil {
		o.Observer = seen
	}
	o.Name = "hello"
	p := New(o)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if err := p.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &world{Proxy: p, seen: seen, addr: l.Addr().String(), url: "http://" + l.Addr().String()}
}

// shares is a split of two versions with stable as the rest.
func shares(weight release.Weight) release.Split {
	return release.Split{Salt: "hello-1", Rest: stable, Shares: []release.Share{
		{Version: stable, Weight: release.Full - weight}, {Version: canary, Weight: weight},
	}}
}

func (w *world) set(t testing.TB, r Routing) {
	t.Helper()
	if err := w.Set(r); err != nil {
		t.Fatal(err)
	}
}

func backends(s, c string) []release.Backend {
	return []release.Backend{{Version: stable, Addresses: addresses(s)}, {Version: canary, Addresses: addresses(c)}}
}

func addresses(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

func serve(t testing.TB, h http.HandlerFunc) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func named(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, name) }
}

func get(t testing.TB, c *http.Client, r *http.Request) (int, string, http.Header) {
	t.Helper()
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b), res.Header
}

func request(method, url string, body io.Reader, header ...string) *http.Request {
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		panic(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func TestNoVersionReady(t *testing.T) {
	w := newWorld(t, Options{})
	w.set(t, Routing{Split: shares(1000), Backends: backends("", "")})
	status, _, h := get(t, http.DefaultClient, request("GET", w.url, nil))
	if status != 503 || h.Get("Retry-After") == "" {
		t.Errorf("status %d, Retry-After %q: want 503 with Retry-After", status, h.Get("Retry-After"))
	}
	if w.Unserved() != 1 || len(w.seen.list) != 0 {
		t.Errorf("unserved %d, observations %d: want 1 that counts for nobody", w.Unserved(), len(w.seen.list))
	}
}

// While stable has no instance its requests are refused, and those of the canary
// alone are no random draw: they are no evidence.
func TestTheCanaryAloneIsNoEvidence(t *testing.T) {
	w := newWorld(t, Options{})
	w.set(t, Routing{Split: shares(5000), Backends: backends("", serve(t, named("c")))})
	const n = 50
	served := 0
	for range n {
		if status, _, _ := get(t, http.DefaultClient, request("GET", w.url, nil)); status == http.StatusOK {
			served++
		}
	}
	if served == 0 || w.Unserved() != int64(n-served) {
		t.Errorf("%d of %d were served and %d refused", served, n, w.Unserved())
	}
	for _, o := range w.seen.wait(t, served) {
		if o.Version != canary || o.Route != release.ByFallback {
			t.Errorf("%s by route %d: want the canary by fallback", o.Version, o.Route)
		}
	}
	// With an instance of stable it is.
	w.set(t, Routing{Split: shares(5000), Backends: backends(serve(t, named("s")), serve(t, named("c")))})
	get(t, http.DefaultClient, request("GET", w.url, nil))
	if o := w.seen.wait(t, served+1)[served]; o.Route != release.BySplit {
		t.Errorf("by route %d: want the split", o.Route)
	}
}

func TestShareIsBinomial(t *testing.T) {
	w := newWorld(t, Options{})
	w.set(t, Routing{Split: shares(1000), Backends: backends(serve(t, named("s")), serve(t, named("c")))})
	const n = 2000
	got := 0
	for range n {
		if _, b, _ := get(t, http.DefaultClient, request("GET", w.url, nil)); b == "c" {
			got++
		}
	}
	// 10 %: mean 200, sigma 13.4; six sigma
	if got < 200-81 || got > 200+81 {
		t.Errorf("%d of %d requests at weight 10 %%: outside six sigma", got, n)
	}
	for _, o := range w.seen.wait(t, n) {
		if o.Route != release.BySplit || o.Outcome != release.OK || o.Status != 200 || o.Release != "hello" {
			t.Fatalf("observation %+v", o)
		}
	}
}

func TestRaisingAWeightMovesNobodyBack(t *testing.T) {
	w := newWorld(t, Options{})
	b := backends(serve(t, named("s")), serve(t, named("c")))
	users := map[int]bool{}
	for _, weight := range []release.Weight{0, 1, 500, 1000, 5000, 9999, 10000} {
		w.set(t, Routing{Config: release.Embedded{Sticky: release.Sticky{Header: "X-User"}}, Split: shares(weight), Backends: b})
		moved := 0
		for u := range 300 {
			_, body, _ := get(t, http.DefaultClient, request("GET", w.url, nil, "X-User", fmt.Sprint("user-", u)))
			if users[u] && body == "s" {
				t.Errorf("weight %d: user %d went back to stable", weight, u)
			}
			users[u] = body == "c"
			if users[u] {
				moved++
			}
		}
		if weight == 0 && moved != 0 || weight == release.Full && moved != 300 {
			t.Errorf("weight %d: %d of 300 users on the canary", weight, moved)
		}
	}
}

func TestStickyCookie(t *testing.T) {
	w := newWorld(t, Options{})
	sticky := release.Sticky{Cookie: "haldane", TTL: time.Hour}
	w.set(t, Routing{
		Config: release.Embedded{Sticky: sticky}, Split: shares(5000),
		Backends: backends(serve(t, named("s")), serve(t, named("c"))),
	})
	_, first, h := get(t, http.DefaultClient, request("GET", w.url, nil))
	c, err := http.ParseSetCookie(h.Get("Set-Cookie"))
	if err != nil {
		t.Fatal(err)
	}
	if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.MaxAge != 3600 || c.Secure || len(c.Value) != 22 {
		t.Errorf("cookie %s", c.Raw)
	}
	for range 20 {
		_, b, h := get(t, http.DefaultClient, request("GET", w.url, nil, "Cookie", "a=b; haldane="+c.Value))
		if b != first {
			t.Error("a user with the cookie changed versions")
		}
		if h.Get("Set-Cookie") != "" {
			t.Error("a cookie that was sent is set again")
		}
	}
	o := w.seen.wait(t, 21)
	if o[0].Unit == 0 || o[0].Unit != o[20].Unit {
		t.Errorf("units %d and %d of one user", o[0].Unit, o[20].Unit)
	}
}

func TestShielding(t *testing.T) {
	var stableBody string
	good := func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		stableBody = string(b)
		io.WriteString(w, "s")
	}
	kinds := map[string]struct {
		canary string
		cause  string
	}{
		"status": {serve(t, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			w.WriteHeader(500)
		}), causeStatus},
		"early status": {serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) }), causeStatus},
		"reset": {serve(t, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			panic(http.ErrAbortHandler)
		}), causeReset},
		"refused": {"http://127.0.0.1:1", causeRefused},
		"timeout": {serve(t, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}), causeTimeout},
	}
	s := serve(t, good)
	for name, k := range kinds {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Options{})
			response := patience
			if k.cause == causeTimeout {
				response = 2 * time.Second
			}
			w.set(t, Routing{
				Config: release.Embedded{
					Shield:   release.Shield{Enabled: true, MaxBody: 1 << 20},
					Timeouts: release.Timeouts{Response: response},
				},
				Split: shares(release.Full), Backends: backends(s, k.canary),
			})
			body := strings.Repeat("x", 100_000)
			status, b, _ := get(t, http.DefaultClient, request("PUT", w.url, strings.NewReader(body)))
			if status != 200 || b != "s" || stableBody != body {
				t.Errorf("answer %d %q, stable saw %d bytes: want stable's answer to the whole body", status, b, len(stableBody))
			}
			o := w.seen.wait(t, 2)
			if o[0].Version != canary || o[0].Outcome != release.Failed || !o[0].Shielded || o[0].Cause != k.cause {
				t.Errorf("canary's observation %+v: want a shielded failure by %s", o[0], k.cause)
			}
			if o[1].Version != stable || o[1].Outcome != release.OK || o[1].Route != release.ByShield {
				t.Errorf("stable's observation %+v", o[1])
			}
		})
	}
}

func TestShieldLeavesPOST(t *testing.T) {
	w := newWorld(t, Options{})
	bad := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) })
	w.set(t, Routing{
		Config: release.Embedded{Shield: release.Shield{Enabled: true, MaxBody: 1 << 20}},
		Split:  shares(release.Full), Backends: backends(serve(t, named("s")), bad),
	})
	if status, _, _ := get(t, http.DefaultClient, request("POST", w.url, strings.NewReader("x"))); status != 500 {
		t.Errorf("status %d: want the canary's own, POST is not idempotent", status)
	}
}

func TestConnectRetryOtherInstance(t *testing.T) {
	w := newWorld(t, Options{})
	good := serve(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	w.set(t, Routing{Split: shares(0), Backends: backends("http://127.0.0.1:1,"+good+",http://127.0.0.1:2", "")})
	for i := range 20 {
		status, b, _ := get(t, http.DefaultClient, request("POST", w.url, strings.NewReader("body")))
		if status != 200 || b != "body" {
			t.Fatalf("request %d: %d %q", i, status, b)
		}
	}
	for _, o := range w.seen.wait(t, 20) {
		if o.Outcome != release.OK {
			t.Errorf("observation %+v", o)
		}
	}
}

func TestFallbackToRest(t *testing.T) {
	w := newWorld(t, Options{})
	w.set(t, Routing{Split: shares(release.Full), Backends: backends(serve(t, named("s")), "")})
	if _, b, _ := get(t, http.DefaultClient, request("GET", w.url, nil)); b != "s" {
		t.Errorf("answer %q", b)
	}
	o := w.seen.wait(t, 1)[0]
	if o.Version != stable || o.Route != release.ByFallback {
		t.Errorf("observation %+v", o)
	}
}

func TestClientFaults(t *testing.T) {
	w := newWorld(t, Options{})
	reached := make(chan struct{}, 1)
	w.set(t, Routing{Split: shares(0), Backends: backends(serve(t, func(_ http.ResponseWriter, r *http.Request) {
		reached <- struct{}{}
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}), "")})
	t.Run("broken chunk", func(t *testing.T) {
		c, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n\r\n")
		b, _ := io.ReadAll(c)
		if !strings.HasPrefix(string(b), "HTTP/1.1 400 ") {
			t.Errorf("answer %q: want 400", b)
		}
		if o := w.seen.wait(t, 1)[0]; o.Outcome != release.ClientFault || o.Status != 400 {
			t.Errorf("observation %+v", o)
		}
	})
	t.Run("hang-up", func(t *testing.T) {
		for len(reached) > 0 {
			<-reached
		}
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			<-reached
			cancel()
		}()
		if _, err := http.DefaultClient.Do(request("GET", w.url, nil).WithContext(ctx)); err == nil {
			t.Error("an answer came")
		}
		if o := w.seen.wait(t, 2)[1]; o.Outcome != release.ClientFault || o.Status != 499 {
			t.Errorf("observation %+v", o)
		}
	})
}

func TestTruncatedAnswer(t *testing.T) {
	w := newWorld(t, Options{})
	w.set(t, Routing{Split: shares(0), Backends: backends(serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100000")
		io.WriteString(w, "begin")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}), "")})
	res, err := http.DefaultClient.Do(request("GET", w.url, nil))
	if err == nil {
		defer res.Body.Close()
		if _, err = io.ReadAll(res.Body); err == nil {
			t.Error("the client took a truncated answer for a whole one")
		}
	}
	if o := w.seen.wait(t, 1)[0]; o.Outcome != release.Failed || o.Cause != causeTruncated {
		t.Errorf("observation %+v", o)
	}
}

func TestForwardedHeader(t *testing.T) {
	seen := make(chan *http.Request, 1)
	w := newWorld(t, Options{})
	w.set(t, Routing{Split: shares(0), Backends: backends(serve(t, func(_ http.ResponseWriter, r *http.Request) { seen <- r }), "")})
	r := request("GET", w.url+"/a%2Fb/%7Ec?x=%zz&y=1;2", nil,
		"X-Forwarded-For", "6.6.6.6", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "evil", "Forwarded", "for=6.6.6.6",
		"X-Real-Ip", "6.6.6.6", "Connection", "x-forwarded-for, X-Secret", "X-Secret", "1", "X_Twin", "1",
		"Upgrade", "h2c", "Te", "trailers, deflate", "Keep-Alive", "1", "Proxy-Connection", "1", "X-Kept", "1")
	r.Host = "shop.example"
	get(t, http.DefaultClient, r)
	got := <-seen
	if got.Host != "shop.example" || got.RequestURI != "/a%2Fb/%7Ec?x=%zz&y=1;2" {
		t.Errorf("host %q, target %q", got.Host, got.RequestURI)
	}
	want := map[string]string{
		"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "shop.example",
		"Te": "trailers", "X-Kept": "1", "User-Agent": "Go-http-client/1.1", "Accept-Encoding": "gzip",
	}
	for name, v := range want {
		if got.Header.Get(name) != v {
			t.Errorf("%s: %q, want %q", name, got.Header.Get(name), v)
		}
		got.Header.Del(name)
	}
	if len(got.Header.Get("X-Request-Id")) != 32 || len(got.Header.Get("Traceparent")) != 55 {
		t.Errorf("ids %v", got.Header)
	}
	got.Header.Del("X-Request-Id")
	got.Header.Del("Traceparent")
	got.Header.Del("Connection")
	if len(got.Header) != 0 {
		t.Errorf("also passed: %v", got.Header)
	}
}

func TestSwapIsSeenAtOnce(t *testing.T) {
	w := newWorld(t, Options{})
	b := backends(serve(t, named("s")), serve(t, named("c")))
	for i := range 50 {
		weight := release.Weight(i%2) * release.Full
		w.set(t, Routing{Split: shares(weight), Backends: b})
		if _, body, _ := get(t, http.DefaultClient, request("GET", w.url, nil)); (body == "c") != (i%2 == 1) {
			t.Fatalf("after change %d: %q", i, body)
		}
	}
	eventually(t, func() bool {
		f := w.InFlight()
		return len(f) == 2 && f[0].Count == 0 && f[1].Count == 0
	}, "no request in flight")
}

func TestHTTP2BothSides(t *testing.T) {
	h2c := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		fmt.Fprintf(w, "%s ", r.Proto)
		io.Copy(w, r.Body)
		w.Header().Set("X-Sum", "42")
	}))
	h2c.Config.Protocols = new(http.Protocols)
	h2c.Config.Protocols.SetUnencryptedHTTP2(true)
	h2c.Start()
	t.Cleanup(h2c.Close)
	w := newWorld(t, Options{})
	w.set(t, Routing{Split: shares(0), Backends: backends("h2c://"+h2c.Listener.Addr().String(), "")})
	client := &http.Client{Transport: &http.Transport{Protocols: new(http.Protocols)}}
	client.Transport.(*http.Transport).Protocols.SetUnencryptedHTTP2(true)
	res, err := client.Post(w.url, "text/plain", strings.NewReader("ping"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || string(b) != "HTTP/2.0 ping" || res.ProtoMajor != 2 || res.Trailer.Get("X-Sum") != "42" {
		t.Errorf("%s %q trailer %v: %v", res.Proto, b, res.Trailer, err)
	}
}
