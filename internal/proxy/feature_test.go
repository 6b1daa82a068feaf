package proxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math"
	"math/big"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// The hash must spread users evenly and independently of the salt.
func TestHashIsMixed(t *testing.T) {
	const users, bins = 200_000, 100
	one, two := &Table{seed: hashSeed("run-1")}, &Table{seed: hashSeed("run-2")}
	var count [bins]float64
	both := 0
	for i := range users {
		u := fmt.Sprint("user-", i)
		a := one.keyOf(u)
		count[int(point(a.hash))*bins/int(release.Full)]++
		if point(a.hash) < 1000 && point(two.keyOf(u).hash) < 1000 {
			both++
		}
	}
	chi := 0.0
	for _, c := range count {
		chi += (c - users/bins) * (c - users/bins) / (users / bins)
	}
	if chi > 99+6*math.Sqrt(2*99) { // mean 99, deviation sqrt(198)
		t.Errorf("chi square %f over %d bins", chi, bins)
	}
	if both < users/100-270 || both > users/100+270 { // 1 % of users are in both tenths; sigma 44
		t.Errorf("%d of %d users are in the first tenth of both salts: want about %d", both, users, users/100)
	}
}

// What a user says of an answer finds it in whatever run it comes.
func TestUsersAreTheSameInEveryRun(t *testing.T) {
	config := release.Embedded{Feedback: &release.TakesFeedback{}}
	one, two := &Table{seed: hashSeed("run-1"), config: config}, &Table{seed: hashSeed("run-2"), config: config}
	if a, b := one.keyOf("ann"), two.keyOf("ann"); a.user != b.user || a.user == 0 || a.user == one.keyOf("bob").user || a.hash == b.hash {
		t.Errorf("ann is %+v, and %+v in the next run", a, b)
	}
}

func TestStickyKeys(t *testing.T) {
	token := func(payload string) string {
		return "Bearer x." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".y"
	}
	table := &Table{config: release.Embedded{Sticky: release.Sticky{Header: "X-User", JWT: "sub", Client: true}}}
	key := func(header ...string) uint64 {
		k, fresh := table.stickyKey(request("GET", "http://x/", nil, header...), "10.0.0.1", "")
		if fresh != "" {
			t.Error("a cookie where none is configured")
		}
		return k.hash
	}
	client := key()
	if client == 0 {
		t.Error("no key by client address")
	}
	for name, pair := range map[string][2][]string{
		"header before token": {{"X-User", "u1", "Authorization", token(`{"sub":"u2"}`)}, {"X-User", "u1"}},
		"string claim":        {{"Authorization", token(`{"sub":"u2","x":1}`)}, {"Authorization", token(`{"sub":"u2"}`)}},
		"number claim":        {{"Authorization", token(`{"sub":7}`)}, {"Authorization", token(`{"x":[],"sub":7}`)}},
	} {
		if a, b := key(pair[0]...), key(pair[1]...); a != b || a == client {
			t.Errorf("%s: keys %d and %d, client %d", name, a, b, client)
		}
	}
	for _, bad := range []string{"Bearer", "Bearer x", "Bearer x.!!.y", "Basic eDp5", token(`{"sub":null}`), token(`[]`), token(`{"sub":"` + strings.Repeat("a", 300) + `"}`)} {
		if key("Authorization", bad) != client {
			t.Errorf("token %.30q made a key", bad)
		}
	}
}

func FuzzClaim(f *testing.F) {
	f.Add("Bearer a.eyJzdWIiOiJ4In0.c")
	f.Add("bearer ..")
	f.Fuzz(func(t *testing.T, s string) {
		if len(claim(s, "sub")) > maxKey {
			t.Error("a key beyond the limit")
		}
	})
}

func TestMatches(t *testing.T) {
	w := newWorld(t, Options{})
	s := shares(0)
	s.Matched = []release.Matched{
		{Version: canary, Match: release.Match{Headers: []release.HeaderMatch{{Name: "x-beta", Exact: "yes"}}, Path: "/app"}},
		{Version: canary, Match: release.Match{Cookie: &release.HeaderMatch{Name: "group", Prefix: "beta-"}}},
		{Version: canary, Match: release.Match{Headers: []release.HeaderMatch{{Name: "User-Agent", Regexp: "Fire(fox|bird)"}}}},
	}
	w.set(t, Routing{Split: s, Backends: backends(serve(t, named("s")), serve(t, named("c")))})
	for _, c := range []struct {
		path   string
		header []string
		want   string
	}{
		{"/", nil, "s"},
		{"/app/x", []string{"X-Beta", "yes"}, "c"},
		{"/other", []string{"X-Beta", "yes"}, "s"},
		{"/app", []string{"X-Beta", "yes!"}, "s"},
		{"/%61pp", []string{"X-Beta", "yes"}, "s"},
		{"/", []string{"X_Beta", "yes"}, "s"},
		{"/", []string{"Cookie", "a=b; group=beta-7"}, "c"},
		{"/", []string{"Cookie", "xgroup=beta-7"}, "s"},
		{"/", []string{"User-Agent", "Firefox"}, "c"},
		{"/", []string{"User-Agent", "My Firefox 7"}, "s"},
	} {
		if _, b, _ := get(t, http.DefaultClient, request("GET", w.url+c.path, nil, c.header...)); b != c.want {
			t.Errorf("%s %v: version %q, want %q", c.path, c.header, b, c.want)
		}
	}
	if o := w.seen.wait(t, 10)[1]; o.Route != release.ByMatch || o.Weight != 0 || o.Version != canary {
		t.Errorf("observation %+v", o)
	}
}

func TestCohort(t *testing.T) {
	w := newWorld(t, Options{})
	s := shares(0)
	s.Matched = []release.Matched{{Version: canary, Match: release.Match{Cohort: 3000}}}
	w.set(t, Routing{Config: release.Embedded{Sticky: release.Sticky{Header: "X-User"}}, Split: s})
	n := 0
	for i := range 10_000 {
		r := request("GET", "http://x/", nil, "X-User", fmt.Sprint(i))
		k, _ := w.Table().stickyKey(r, "", "")
		if w.Table().matched(r, k) != nil {
			n++
		}
	}
	if n < 2725 || n > 3275 { // six sigma of 45.8
		t.Errorf("%d of 10000 users in a cohort of 30 %%", n)
	}
	if w.Table().matched(request("GET", "http://x/", nil), key{}) != nil {
		t.Error("a request without a key is in the cohort")
	}
}

func TestTestHeader(t *testing.T) {
	w := newWorld(t, Options{})
	r := Routing{Split: shares(0), Names: map[release.VersionID]string{canary: "v2"},
		Backends: backends(serve(t, named("s")), serve(t, named("c")))}
	ask := func(value string) string {
		_, b, _ := get(t, http.DefaultClient, request("GET", w.url, nil, "X-Version", value))
		return b
	}
	w.set(t, r)
	if ask("canary") != "s" {
		t.Error("the test header works while it is switched off")
	}
	r.Config.TestHeader = "x-version"
	w.set(t, r)
	for value, want := range map[string]string{
		"canary": "c", "Canary": "c", "v2": "c", string(canary): "c", "stable": "s", "nobody": "s", "": "s",
	} {
		if got := ask(value); got != want {
			t.Errorf("%q: version %s, want %s", value, got, want)
		}
	}
	for _, o := range w.seen.wait(t, 8)[1:] {
		if o.Version == canary && o.Route != release.ByTest {
			t.Errorf("observation %+v", o)
		}
	}
}

func TestTrustedHops(t *testing.T) {
	seen := make(chan http.Header, 1)
	w := newWorld(t, Options{Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	w.set(t, Routing{Split: shares(0), Backends: backends(serve(t, func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header }), "")})
	get(t, http.DefaultClient, request("GET", w.url, nil, "X-Forwarded-For", "6.6.6.6, 7.7.7.7", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "shop"))
	h := <-seen
	if h.Get("X-Forwarded-For") != "6.6.6.6, 7.7.7.7, 127.0.0.1" || h.Get("X-Forwarded-Proto") != "https" || h.Get("X-Forwarded-Host") != "shop" {
		t.Errorf("header %v", h)
	}
	r := request("GET", "http://x/", nil, "X-Forwarded-For", "6.6.6.6, 7.7.7.7, 127.0.0.9")
	r.RemoteAddr = "127.0.0.1:1"
	if client, _, _ := w.origin(r); client != "7.7.7.7" {
		t.Errorf("client %s: want the nearest that is not trusted", client)
	}
	r.RemoteAddr = "8.8.8.8:1"
	if client, _, _ := w.origin(r); client != "8.8.8.8" {
		t.Errorf("client %s: want the peer, which is not trusted", client)
	}
}

func TestRewrite(t *testing.T) {
	type seen struct {
		uri, body string
		header    http.Header
	}
	got := make(chan seen, 1)
	back := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- seen{r.RequestURI, string(b), r.Header}
	})
	w := newWorld(t, Options{})
	w.set(t, Routing{Split: shares(0), Backends: []release.Backend{{
		Version: stable, Addresses: []string{back},
		Rewrite: &release.Rewrite{
			PathPrefix: "/v2/", SetHeaders: map[string]string{"x-model": "new"}, RemoveHeaders: []string{"X-Old"},
			SetJSON: map[string]any{"model": "m2", "options.temperature": 0.5},
		},
	}}})
	for in, out := range map[string]string{
		`{"model":"m1","messages":[{"a":1}],"n":12345678901234567890}`: `{"model":"m2","messages":[{"a":1}],"n":12345678901234567890,"options":{"temperature":0.5}}`,
		`{"options":{"top":1,"temperature":1}}`:                        `{"options":{"top":1,"temperature":0.5},"model":"m2"}`,
		`[1,2]`:                                                        `[1,2]`,
		`{"model":`:                                                    `{"model":`,
	} {
		get(t, http.DefaultClient, request("POST", w.url+"/a%2Fb?x=1", strings.NewReader(in), "Content-Type", "application/json; charset=utf-8", "X-Old", "1"))
		s := <-got
		if s.uri != "/v2/a%2Fb?x=1" || s.header.Get("X-Model") != "new" || s.header.Get("X-Old") != "" {
			t.Errorf("target %s, header %v", s.uri, s.header)
		}
		if s.body != out {
			t.Errorf("body %s\nwant %s", s.body, out)
		}
	}
	get(t, http.DefaultClient, request("POST", w.url, strings.NewReader(`{"model":1}`), "Content-Type", "text/plain"))
	if s := <-got; s.body != `{"model":1}` {
		t.Errorf("a body that is not JSON by its type was changed: %s", s.body)
	}
}

func TestMirror(t *testing.T) {
	type copied struct {
		method string
		header http.Header
	}
	shadow, hang := make(chan copied, 1000), make(chan struct{})
	back := serve(t, func(w http.ResponseWriter, r *http.Request) {
		shadow <- copied{r.Method, r.Header}
		w.Header().Set("Set-Cookie", "shadow=1")
		w.WriteHeader(500)
		if r.URL.Path == "/hang" {
			<-hang
		}
	})
	defer close(hang)
	w := newWorld(t, Options{})
	s := shares(0)
	s.Mirror = &release.Mirror{Version: canary, Share: release.Full}
	w.set(t, Routing{Split: s, Backends: backends(serve(t, named("s")), back)})
	for _, method := range []string{"GET", "POST", "DELETE"} {
		status, b, h := get(t, http.DefaultClient, request(method, w.url, nil, "Authorization", "secret", "Cookie", "a=b", "X-Kept", "1"))
		if status != 200 || b != "s" || h.Get("Set-Cookie") != "" {
			t.Errorf("%s: %d %q %v", method, status, b, h)
		}
	}
	c := <-shadow
	if c.method != "GET" || c.header.Get("Authorization") != "" || c.header.Get("Cookie") != "" || c.header.Get("X-Kept") != "1" {
		t.Errorf("the copy: %+v", c)
	}
	found := false
	for _, o := range w.seen.wait(t, 4) {
		if o.Route == release.ByMirror {
			found = true
			if o.Version != canary || o.Outcome != release.Failed || o.Status != 500 {
				t.Errorf("observation %+v", o)
			}
		}
	}
	if !found {
		t.Error("the copy was not observed")
	}
	// A shadow that hangs delays nobody and holds a bounded number of copies.
	for range 2 * mirrorSlots {
		if _, b, _ := get(t, http.DefaultClient, request("GET", w.url+"/hang", nil)); b != "s" {
			t.Fatalf("answer %q", b)
		}
	}
	if n := len(shadow); n > mirrorSlots {
		t.Errorf("%d copies to a shadow that hangs: want at most %d", n, mirrorSlots)
	}
}

func writeCertificate(t *testing.T, files release.TLS, serial int64) *x509.CertPool {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	pk, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	for file, b := range map[string][]byte{
		files.CertFile: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		files.KeyFile:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pk}),
	} {
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return pool
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	files := release.TLS{CertFile: filepath.Join(dir, "c.pem"), KeyFile: filepath.Join(dir, "k.pem")}
	pool := writeCertificate(t, files, 1)
	proto := make(chan string, 10)
	w := newWorld(t, Options{})
	b := backends(serve(t, func(_ http.ResponseWriter, r *http.Request) { proto <- r.Header.Get("X-Forwarded-Proto") }), "")
	w.set(t, Routing{Split: shares(0), Backends: b})
	// the same listener turns to TLS
	w.set(t, Routing{Config: release.Embedded{TLS: &files, Sticky: release.Sticky{Cookie: "k"}}, Split: shares(0), Backends: b})
	url := "https://localhost:" + w.addr[strings.LastIndex(w.addr, ":")+1:]
	for _, h2 := range []bool{true, false} {
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: h2}}
		res, err := c.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if (res.ProtoMajor == 2) != h2 || <-proto != "https" || !strings.Contains(res.Header.Get("Set-Cookie"), "Secure") {
			t.Errorf("%s, Set-Cookie %q", res.Proto, res.Header.Get("Set-Cookie"))
		}
		c.CloseIdleConnections()
	}
	old := tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10, InsecureSkipVerify: true}
	if c, err := tls.Dial("tcp", w.addr, &old); err == nil {
		c.Close()
		t.Error("TLS 1.1 was accepted")
	}
}

func TestCertificateReload(t *testing.T) {
	dir := t.TempDir()
	files := release.TLS{CertFile: filepath.Join(dir, "c.pem"), KeyFile: filepath.Join(dir, "k.pem")}
	if err := checkTLS(&files); err == nil {
		t.Error("files that are absent were accepted")
	}
	writeCertificate(t, files, 1)
	c := &certificate{files: files, log: New(Options{}).log}
	now := time.Now()
	serial := func() int64 {
		pair, err := c.get(now)
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf.SerialNumber.Int64()
	}
	if serial() != 1 {
		t.Error("not the first certificate")
	}
	writeCertificate(t, files, 2)
	later := time.Now().Add(time.Minute)
	os.Chtimes(files.CertFile, later, later)
	if serial() != 1 {
		t.Error("the files were looked at again at once")
	}
	now = now.Add(2 * lookEvery)
	if serial() != 2 {
		t.Error("the new certificate was not read")
	}
	os.WriteFile(files.CertFile, []byte("half"), 0o600)
	now = now.Add(2 * lookEvery)
	if serial() != 2 {
		t.Error("a broken file took the certificate away")
	}
}

// Bad routings leave the old one in force.
func TestSetRefuses(t *testing.T) {
	w := newWorld(t, Options{})
	good := Routing{Split: shares(0), Backends: backends(serve(t, named("s")), "")}
	w.set(t, good)
	bad := map[string]func(*Routing){
		"sum":      func(r *Routing) { r.Split.Shares[0].Weight = 1 },
		"negative": func(r *Routing) { r.Split.Shares[0].Weight, r.Split.Shares[1].Weight = 10001, -1 },
		"twice":    func(r *Routing) { r.Split.Shares[1].Version = stable },
		"rest":     func(r *Routing) { r.Split.Rest = "other" },
		"regexp": func(r *Routing) {
			r.Split.Matched = []release.Matched{{Version: canary, Match: release.Match{Headers: []release.HeaderMatch{{Name: "a", Regexp: "("}}}}}
		},
		"match version": func(r *Routing) { r.Split.Matched = []release.Matched{{Version: "other"}} },
		"mirror":        func(r *Routing) { r.Split.Mirror = &release.Mirror{Version: "other", Share: 1} },
		"scheme":        func(r *Routing) { r.Backends = backends("ftp://127.0.0.1:1", "") },
		"port":          func(r *Routing) { r.Backends = backends("http://127.0.0.1", "") },
		"path":          func(r *Routing) { r.Backends = backends("http://127.0.0.1:1/x", "") },
		"certificate":   func(r *Routing) { r.Config.TLS = &release.TLS{CertFile: "/nowhere", KeyFile: "/nowhere"} },
	}
	for name, spoil := range bad {
		r := good
		r.Split = shares(0)
		spoil(&r)
		if err := w.Set(r); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, b, _ := get(t, http.DefaultClient, request("GET", w.url, nil)); b != "s" {
			t.Errorf("%s: the old routing is gone", name)
		}
	}
}

// An idle connection that the instance closes never costs a request, not even
// one that must not be sent twice.
func TestKeepAliveRace(t *testing.T) {
	s := newIdleServer(t, 20*time.Millisecond)
	w := newWorld(t, Options{})
	w.set(t, Routing{Split: shares(0), Backends: backends(s, "")})
	var failed atomic.Int64
	done := make(chan struct{})
	const clients, each = 20, 50
	for range clients {
		go func() {
			defer func() { done <- struct{}{} }()
			c := &http.Client{Transport: &http.Transport{}}
			defer c.CloseIdleConnections()
			for i := range each {
				time.Sleep(time.Duration(15+i%10) * time.Millisecond) // around the instance's own timeout
				res, err := c.Post(w.url, "text/plain", strings.NewReader("x"))
				if err != nil || res.StatusCode != 200 {
					failed.Add(1)
				}
				if err == nil {
					res.Body.Close()
				}
			}
		}()
	}
	for range clients {
		<-done
	}
	if n := failed.Load(); n > 0 {
		t.Errorf("%d of %d POSTs failed", n, clients*each)
		for _, o := range w.seen.list {
			if o.Outcome != release.OK {
				t.Logf("%+v", o)
			}
		}
	}
}
