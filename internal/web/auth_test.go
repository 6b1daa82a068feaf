package web

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/client"
)

// people are a token of every role, with their secrets.
func people(t *testing.T) (tokens []Token, secret map[Role]string) {
	t.Helper()
	secret = map[Role]string{}
	for _, role := range []Role{Viewer, Operator, Author} {
		s, tok, err := NewToken("the-"+role.String(), role)
		if err != nil {
			t.Fatal(err)
		}
		tokens, secret[role] = append(tokens, tok), s
	}
	return tokens, secret
}

func TestOffLoopbackNeedsTokens(t *testing.T) {
	for listen, open := range map[string]bool{
		"127.0.0.1:7070": true, "localhost:7070": true, "[::1]:7070": true, "127.9.9.9:0": true,
		"0.0.0.0:7070": false, ":7070": false, "[::]:7070": false, "10.0.0.4:7070": false, "haldane.example.org:7070": false,
	} {
		_, err := New(Options{Store: newMemory(), Listen: listen})
		if (err == nil) != open {
			t.Errorf("listen on %s without tokens: %v", listen, err)
		}
		if err != nil && !strings.Contains(err.Error(), "--tokens") {
			t.Errorf("the error does not say how to mend it: %v", err)
		}
		tokens, _ := people(t)
		if _, err := New(Options{Store: newMemory(), Listen: listen, Tokens: tokens}); err != nil {
			t.Errorf("listen on %s with tokens: %v", listen, err)
		}
	}
}

// TestRoles tries every route with every role and without one.
func TestRoles(t *testing.T) {
	tokens, secret := people(t)
	m := newMemory()
	m.answer = "done"
	_, srv := start(t, m, func(o *Options) {
		o.Tokens = tokens
		ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { plain(w, 200, "ok") })
		o.Metrics, o.Query = ok, ok
		o.Differences = func(string) client.Differences { return client.Differences{} }
	})
	for _, c := range []struct {
		method, path, contentType, body string
		need                            Role
	}{
		{"GET", "/healthz", "", "", 0},
		{"GET", "/readyz", "", "", 0},
		{"GET", "/login", "", "", 0},
		{"GET", "/static/app.css", "", "", 0},
		{"GET", "/", "", "", Viewer},
		{"GET", "/releases/hello", "", "", Viewer},
		{"GET", "/releases/hello/ask?verb=abort", "", "", Viewer},
		{"GET", "/audit", "", "", Viewer},
		{"GET", "/metrics", "", "", Viewer},
		{"GET", "/openapi.json", "", "", Viewer},
		{"GET", "/api/v1/releases", "", "", Viewer},
		{"GET", "/api/v1/releases/hello", "", "", Viewer},
		{"GET", "/api/v1/watch", "", "", Viewer},
		{"GET", "/api/v1/releases/hello/differences", "", "", Operator},
		{"GET", "/releases/hello/differences", "", "", Operator},
		{"GET", "/prometheus/api/v1/query?query=up", "", "", Viewer},
		{"POST", "/prometheus/api/v1/query", "application/x-www-form-urlencoded", "query=up", Viewer},
		{"POST", "/api/v1/releases/hello/intents", "application/json", `{"verb":"pause","waitSeconds":1}`, Operator},
		{"POST", "/releases/hello/ask", "application/x-www-form-urlencoded", "verb=pause", Operator},
		{"PUT", "/api/v1/releases/hello", "application/yaml", helloManifest, Author},
		{"PUT", "/api/v1/releases/hello?dryRun=true", "application/yaml", helloManifest, Author},
		{"DELETE", "/api/v1/releases/hello", "", "", Author},
	} {
		for role := Role(0); role <= Author; role++ {
			live(m, "hello")
			before := m.written()
			h := map[string]string{"Sec-Fetch-Site": "same-origin"}
			if role > 0 {
				h["Authorization"] = "Bearer " + secret[role]
			}
			resp := send(t, srv, c.method, c.path, "", c.contentType, c.body, h)
			allowed := resp.StatusCode < 400 && resp.Header.Get("Location") != "/login?next="+url.QueryEscape(c.path)
			if allowed != (role >= c.need) {
				t.Errorf("%s %s as %s: %s", c.method, c.path, role, resp.Status)
			}
			if !allowed && m.written() > before {
				t.Errorf("%s %s as %s was refused but wrote", c.method, c.path, role)
			}
		}
	}
}

func TestAuditNamesTheToken(t *testing.T) {
	tokens, secret := people(t)
	m := newMemory()
	live(m, "hello")
	_, srv := start(t, m, func(o *Options) { o.Tokens = tokens })
	send(t, srv, "POST", "/api/v1/releases/hello/intents", "", "application/json", `{"verb":"abort"}`, map[string]string{"Authorization": "Bearer " + secret[Operator], "X-Forwarded-For": "8.8.8.8"})
	if len(m.audit) != 1 || m.audit[0].Actor.Subject != "the-operator" || m.audit[0].Actor.From != "127.0.0.1" {
		t.Errorf("audit %+v", m.audit)
	}
}

// login posts the form and returns the answer.
func login(t *testing.T, srv *httptest.Server, token, next string) *http.Response {
	t.Helper()
	return send(t, srv, "POST", "/login", "", "application/x-www-form-urlencoded", "token="+token+"&next="+next, map[string]string{"Sec-Fetch-Site": "same-origin"})
}

func TestLoginOpensAndLogoutEndsASession(t *testing.T) {
	tokens, secret := people(t)
	m := newMemory()
	m.answer = "done"
	live(m, "hello")
	at := now
	_, srv := start(t, m, func(o *Options) { o.Tokens = tokens; o.Now = func() time.Time { return at } })
	if resp := send(t, srv, "GET", "/releases/hello", "", "", "", nil); resp.StatusCode != 303 || resp.Header.Get("Location") != "/login?next=%2Freleases%2Fhello" {
		t.Fatalf("a stranger: %s to %s", resp.Status, resp.Header.Get("Location"))
	}
	if resp := login(t, srv, "wrong", "/"); resp.StatusCode != 401 || len(resp.Cookies()) != 0 {
		t.Fatalf("a wrong token: %s, %v", resp.Status, resp.Cookies())
	}
	resp := login(t, srv, secret[Operator], "/releases/hello")
	if resp.StatusCode != 303 || resp.Header.Get("Location") != "/releases/hello" || len(resp.Cookies()) != 1 {
		t.Fatalf("login: %s to %s, %v", resp.Status, resp.Header.Get("Location"), resp.Cookies())
	}
	c := resp.Cookies()[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || strings.Contains(c.Value, secret[Operator]) {
		t.Errorf("cookie %+v", c)
	}
	with := map[string]string{"Cookie": c.Name + "=" + c.Value, "Sec-Fetch-Site": "same-origin"}
	if resp := send(t, srv, "GET", "/releases/hello", "", "", "", with); resp.StatusCode != 200 {
		t.Errorf("with the session: %s", resp.Status)
	}
	if resp := send(t, srv, "POST", "/releases/hello/ask", "", "application/x-www-form-urlencoded", "verb=pause", with); resp.StatusCode != 303 || m.asked[0].By != "the-operator" {
		t.Errorf("asking with the session: %s", resp.Status)
	}
	if resp := send(t, srv, "DELETE", "/api/v1/releases/hello", "", "", "", with); resp.StatusCode != 403 {
		t.Errorf("a session has its token's role: %s", resp.Status)
	}
	send(t, srv, "POST", "/logout", "", "application/x-www-form-urlencoded", "", with)
	if resp := send(t, srv, "GET", "/api/v1/releases", "", "", "", with); resp.StatusCode != 401 {
		t.Errorf("after logout: %s", resp.Status)
	}
	c = login(t, srv, secret[Viewer], "/").Cookies()[0]
	at = at.Add(sessionLifetime + time.Second)
	if resp := send(t, srv, "GET", "/api/v1/releases", "", "", "", map[string]string{"Cookie": c.Name + "=" + c.Value}); resp.StatusCode != 401 {
		t.Errorf("after its lifetime: %s", resp.Status)
	}
}

func TestLoginLeadsNowhereElse(t *testing.T) {
	for _, next := range []string{"", "//evil.test", "/\\evil.test", "https://evil.test/", "javascript:alert(1)", "/ok\nSet-Cookie:x", "///evil.test", "\\/evil.test", "evil.test"} {
		if got := local(next); got != "/" {
			t.Errorf("local(%q) = %q", next, got)
		}
	}
	if got := local("/releases/hello?a=b"); got != "/releases/hello?a=b" {
		t.Errorf("an own path became %q", got)
	}
}

func TestWrongTokensAreSlowedDown(t *testing.T) {
	tokens, secret := people(t)
	at := now
	_, srv := start(t, newMemory(), func(o *Options) { o.Tokens = tokens; o.Now = func() time.Time { return at } })
	codes := map[int]int{}
	for i := range 30 {
		codes[login(t, srv, fmt.Sprint("guess", i), "/").StatusCode]++
	}
	if codes[401] != 10 || codes[429] != 20 {
		t.Errorf("30 guesses at once: %v", codes)
	}
	if resp := login(t, srv, secret[Viewer], "/"); resp.StatusCode != 429 {
		t.Errorf("the right token amid guesses: %s", resp.Status)
	}
	at = at.Add(time.Minute)
	if resp := login(t, srv, secret[Viewer], "/"); resp.StatusCode != 303 {
		t.Errorf("a minute later: %s", resp.Status)
	}
}

func TestSessionsAreBounded(t *testing.T) {
	a, err := newAuthority(nil, "local", func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	for range maxSessions + 50 {
		a.login(Token{})
	}
	if len(a.sessions) > maxSessions {
		t.Errorf("%d sessions", len(a.sessions))
	}
}

func TestTokenFile(t *testing.T) {
	tokens, _ := people(t)
	text := "# people\n\n"
	for _, x := range tokens {
		text += x.Line() + "  # comment\n"
	}
	got, err := ParseTokens(strings.NewReader(text))
	if err != nil || len(got) != 3 || got[1] != tokens[1] {
		t.Fatalf("%v, %v", got, err)
	}
	for _, bad := range []string{"ada", "ada admin " + strings.Repeat("0", 64), "ada viewer 12", "a/b viewer " + strings.Repeat("0", 64)} {
		if _, err := ParseTokens(strings.NewReader(bad)); err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := New(Options{Store: newMemory(), Listen: "127.0.0.1:1", Tokens: []Token{tokens[0], tokens[0]}}); err == nil {
		t.Error("two tokens of one name")
	}
}

func FuzzTokenFile(f *testing.F) {
	f.Add("ada author 00\n# x")
	f.Fuzz(func(t *testing.T, text string) {
		tokens, err := ParseTokens(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, x := range tokens {
			again, err := ParseTokens(strings.NewReader(x.Line()))
			if err != nil || again[0] != x {
				t.Fatalf("%q: %v", x.Line(), err)
			}
		}
	})
}
