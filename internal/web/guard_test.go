package web

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// send makes a request as a browser or a program would, with any Host.
func send(t *testing.T, srv *httptest.Server, method, path, host, contentType, body string, header map[string]string) *http.Response {
	t.Helper()
	req, err := http.NewRequest(method, srv.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if host != "" {
		req.Host = host
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	resp, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(req.WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); resp.Body.Close() })
	return resp
}

func TestOnlyOwnHostNamesAreServed(t *testing.T) {
	m := newMemory()
	live(m, "hello")
	_, srv := start(t, m, func(o *Options) { o.Names = []string{"haldane.example.org"} })
	for host, ok := range map[string]bool{
		"127.0.0.1": true, "127.0.0.1:7070": true, "localhost": true, "LOCALHOST:80": true, "[::1]": true, "[::1]:7070": true, "haldane.example.org": true,
		"evil.test": false, "127.0.0.1.nip.io": false, "0.0.0.0": false, "0.0.0.0:7070": false, "[::]": false, "localhost.evil.test": false,
		"10.0.0.1": false, "localhost.": false, "127.1": false, "2130706433": false, "evil.test:127.0.0.1": false,
	} {
		for _, path := range []string{"/", "/api/v1/releases", "/api/v1/watch", "/healthz", "/static/app.css", "/login"} {
			resp := send(t, srv, "GET", path, host, "", "", nil)
			served := resp.StatusCode < 400
			if served != ok {
				t.Errorf("GET %s with Host %q: %s", path, host, resp.Status)
			}
		}
	}
}

// TestEmptyHostIsRefused speaks HTTP/1.0, the only version that may leave it out.
func TestEmptyHostIsRefused(t *testing.T) {
	_, srv := start(t, newMemory(), nil)
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET /api/v1/releases HTTP/1.0\r\n\r\n")
	b, _ := io.ReadAll(c)
	if !strings.HasPrefix(string(b), "HTTP/1.0 4") {
		t.Errorf("answered %.40q", b)
	}
}

// mutations are all routes that change something, with a body they would accept.
var mutations = []struct{ method, path, contentType, body string }{
	{"PUT", "/api/v1/releases/hello", "application/yaml", helloManifest},
	{"DELETE", "/api/v1/releases/hello", "", ""},
	{"POST", "/api/v1/releases/hello/intents", "application/json", `{"verb":"pause"}`},
	{"POST", "/releases/hello/ask", "application/x-www-form-urlencoded", "verb=pause"},
	{"POST", "/login", "application/x-www-form-urlencoded", "token=x"},
	{"POST", "/logout", "application/x-www-form-urlencoded", ""},
}

// foreign are the headers that browsers send with what another site started.
var foreign = []map[string]string{
	{"Origin": "http://evil.test"},
	{"Origin": "null"},
	{"Origin": "http://127.0.0.1:1"},
	{"Origin": "https://localhost.evil.test"},
	{"Sec-Fetch-Site": "cross-site"},
	{"Sec-Fetch-Site": "same-site"},
	{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
	{"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.test"},
	{"Sec-Fetch-Site": "nonsense"},
}

func TestForeignSitesChangeNothing(t *testing.T) {
	m := newMemory()
	m.answer = "done"
	live(m, "hello")
	_, srv := start(t, m, nil)
	cells := 0
	for _, route := range mutations {
		for _, from := range foreign {
			for _, kind := range []string{route.contentType, "application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", "application/json"} {
				resp := send(t, srv, route.method, route.path, "", kind, route.body, from)
				if resp.StatusCode != 403 && resp.StatusCode != 415 {
					t.Errorf("%s %s as %q from %v: %s", route.method, route.path, kind, from, resp.Status)
				}
				cells++
			}
		}
	}
	for _, path := range []string{"/api/v1/releases", "/api/v1/watch", "/api/v1/releases/hello", "/openapi.json", "/", "/releases/hello"} {
		for _, from := range foreign {
			resp := send(t, srv, "GET", path, "", "", "", from)
			link := from["Sec-Fetch-Mode"] == "navigate" && !strings.HasPrefix(path, "/api/")
			if (resp.StatusCode == 403) == link {
				t.Errorf("GET %s from %v: %s", path, from, resp.Status)
			}
			cells++
		}
	}
	if m.written() != 0 {
		t.Errorf("%d writes got through", m.written())
	}
	t.Logf("%d cells", cells)
}

func TestOwnPagesAndProgramsMayChangeThings(t *testing.T) {
	for _, from := range []map[string]string{{"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "same-origin", "Origin": "own"}, {"Origin": "own"}} {
		m := newMemory()
		m.answer = "done"
		live(m, "hello")
		_, srv := start(t, m, nil)
		h := map[string]string{}
		for k, v := range from {
			h[k] = strings.Replace(v, "own", srv.URL, 1)
		}
		resp := send(t, srv, "POST", "/releases/hello/ask", "", "application/x-www-form-urlencoded", "verb=pause&reason=lunch", h)
		if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/releases/hello?asked=1" || len(m.asked) != 1 {
			t.Errorf("form from %v: %s to %s, %d asked", h, resp.Status, resp.Header.Get("Location"), len(m.asked))
		}
	}
	m := newMemory()
	m.answer = "done"
	live(m, "hello")
	_, srv := start(t, m, nil)
	if resp := send(t, srv, "POST", "/api/v1/releases/hello/intents", "", "application/json", `{"verb":"pause","waitSeconds":1}`, nil); resp.StatusCode != 200 {
		t.Errorf("a program without a browser's headers: %s", resp.Status)
	}
	if resp := send(t, srv, "POST", "/releases/hello/ask", "", "application/x-www-form-urlencoded", "verb=pause", nil); resp.StatusCode != 403 {
		t.Errorf("a form that does not show where it comes from: %s", resp.Status)
	}
}

func TestOnlyTheRightContentTypes(t *testing.T) {
	m := newMemory()
	live(m, "hello")
	_, srv := start(t, m, nil)
	own := map[string]string{"Sec-Fetch-Site": "same-origin"}
	for _, route := range mutations {
		for _, kind := range []string{"text/plain", "multipart/form-data; boundary=x", "text/plain; application/json", ""} {
			if route.method == "DELETE" {
				continue
			}
			if resp := send(t, srv, route.method, route.path, "", kind, route.body, own); resp.StatusCode != 415 {
				t.Errorf("%s %s as %q: %s", route.method, route.path, kind, resp.Status)
			}
		}
	}
	if resp := send(t, srv, "DELETE", "/api/v1/releases/hello", "", "", "x", own); resp.StatusCode != 415 {
		t.Errorf("DELETE with a body: %s", resp.Status)
	}
	if m.written() != 0 {
		t.Errorf("%d writes got through", m.written())
	}
}

func TestReadingChangesNothing(t *testing.T) {
	m := newMemory()
	m.answer = "done"
	live(m, "hello")
	_, srv := start(t, m, nil)
	for _, method := range []string{"GET", "HEAD"} {
		for _, path := range []string{"/", "/releases/hello", "/releases/hello/ask?verb=abort", "/releases/hello?verb=abort&reason=x", "/runs/hello-7", "/audit", "/login", "/logout",
			"/api/v1/releases", "/api/v1/releases/hello", "/api/v1/releases/hello?dryRun=false", "/api/v1/releases/hello/intents?verb=abort", "/api/v1/releases/hello/runs", "/api/v1/audit", "/api/v1/version"} {
			send(t, srv, method, path, "", "", "verb=abort", nil)
		}
	}
	for _, method := range []string{"OPTIONS", "TRACE", "PATCH", "CONNECT", "BREW"} {
		resp := send(t, srv, method, "/api/v1/releases/hello", "", "application/json", "{}", nil)
		if resp.StatusCode < 400 {
			t.Errorf("%s: %s", method, resp.Status)
		}
	}
	if m.written() != 0 || len(m.asked) != 0 {
		t.Errorf("%d writes, %d intents", m.written(), len(m.asked))
	}
}

func TestLargeBodiesEndEarly(t *testing.T) {
	m := newMemory()
	live(m, "hello")
	_, srv := start(t, m, nil)
	resp := send(t, srv, "PUT", "/api/v1/releases/hello", "", "application/yaml", strings.Repeat("#", maxManifest+1), nil)
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a manifest of more than 1 MiB: %s", resp.Status)
	}
	resp = send(t, srv, "POST", "/api/v1/releases/hello/intents", "", "application/json", strings.Repeat(" ", maxForm+1), nil)
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("an intent of more than 64 KiB: %s", resp.Status)
	}
}

func TestEveryAnswerBindsTheBrowser(t *testing.T) {
	m := newMemory()
	live(m, "hello")
	_, srv := start(t, m, nil)
	for _, path := range []string{"/", "/releases/hello", "/api/v1/releases", "/nothing", "/static/app.js", "/openapi.json"} {
		h := send(t, srv, "GET", path, "", "", "", nil).Header
		csp := h.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "require-trusted-types-for 'script'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: the policy lacks %q: %s", path, want, csp)
			}
		}
		if strings.Contains(csp, "unsafe") {
			t.Errorf("%s: %s", path, csp)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Frame-Options") != "DENY" || h.Get("Cross-Origin-Opener-Policy") == "" {
			t.Errorf("%s: headers %v", path, h)
		}
	}
}

func TestPanicIsAnAnswer(t *testing.T) {
	_, srv := start(t, newMemory(), func(o *Options) {
		o.Metrics = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("boom") })
	})
	if resp := send(t, srv, "GET", "/metrics", "", "", "", nil); resp.StatusCode != 500 {
		t.Error(resp.Status)
	}
	if resp := send(t, srv, "GET", "/healthz", "", "", "", nil); resp.StatusCode != 200 {
		t.Error(resp.Status)
	}
}
