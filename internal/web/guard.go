package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"
	"time"
)

// hostList is the set of names under which a browser may reach the server.
// Another name in the Host header means DNS rebinding: a foreign page that
// pointed its own name at this address.
type hostList struct {
	loopback bool // listens on this machine only
	names    map[string]bool
}

func newHostList(listen string, names []string) (hostList, error) {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return hostList{}, fmt.Errorf("listen on %q: expected host:port, such as 127.0.0.1:7070", listen)
	}
	h := hostList{names: map[string]bool{"localhost": true}, loopback: host == "localhost"}
	ip, err := netip.ParseAddr(host)
	switch {
	case err == nil:
		h.loopback = ip.IsLoopback()
	case host != "":
		h.names[strings.ToLower(host)] = true
	}
	for _, n := range names {
		h.names[strings.ToLower(n)] = true
	}
	return h, nil
}

// allows reports whether a Host header names this server. Addresses are not
// open to rebinding: loopback ones always pass, others when the server listens
// on the network; the unspecified one never does.
func (h hostList) allows(hostport string) bool {
	host := hostport
	if x, _, err := net.SplitHostPort(hostport); err == nil {
		host = x
	}
	host = strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	if h.names[host] {
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.IsUnspecified() || ip.Zone() != "" {
		return false
	}
	return ip.IsLoopback() || !h.loopback
}

// guard is before everything: it sets the headers that bind browsers, and turns
// away wrong hosts, foreign origins, unknown people, too small roles, wrong
// content types and large bodies. A panic behind it answers 500.
func (s *Server) guard(next http.Handler) http.Handler {
	cross := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer s.recovered(w, r)
		protect(w.Header())
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout))
		if !s.hosts.allows(r.Host) {
			s.fail(w, r, http.StatusMisdirectedRequest, fmt.Sprintf("the Host header %q does not name this server; if it should, start it with --name", r.Host))
			return
		}
		if cross.Check(r) != nil || !sameSite(r) {
			s.fail(w, r, http.StatusForbidden, "requests that other sites start are refused")
			return
		}
		p, ok := s.admit(w, r)
		if !ok {
			return
		}
		if !s.body(w, r) {
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), personKey{}, p)))
	})
}

// protect sets the headers that every answer has.
func protect(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	// Not no-referrer: that makes browsers send "Origin: null" with our own forms.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("Cache-Control", "no-store")
}

// sameSite refuses what a foreign page asked for, reads as well: event streams
// and JSON are nobody else's. Following a link to a page is allowed. Forms
// must show where they come from.
func sameSite(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	origin := r.Header.Get("Origin")
	own := origin != "" && sameOrigin(r, origin)
	if origin != "" && !own {
		return false
	}
	switch site {
	case "same-origin", "none":
		return true
	case "":
		return own || !isForm(r) || strings.HasPrefix(r.URL.Path, "/prometheus/")
	}
	return r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate" &&
		r.Header.Get("Sec-Fetch-Dest") == "document" && !strings.HasPrefix(r.URL.Path, "/api/")
}

func sameOrigin(r *http.Request, origin string) bool {
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Host, r.Host)
}

func isForm(r *http.Request) bool {
	return !safe(r.Method) && mediaType(r) == "application/x-www-form-urlencoded"
}

func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead
}

func mediaType(r *http.Request) string {
	t, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(t))
}

type personKey struct{}

// sender is who the guard let in.
func sender(ctx context.Context) person {
	p, _ := ctx.Value(personKey{}).(person)
	return p
}

// admit identifies the sender and checks the role that the request needs.
func (s *Server) admit(w http.ResponseWriter, r *http.Request) (person, bool) {
	need := roleFor(r.Method, r.URL.Path)
	p, known := s.auth.who(r)
	switch {
	case need == 0 || known && p.role >= need:
		return p, true
	case known:
		s.fail(w, r, http.StatusForbidden, fmt.Sprintf("token %s has the role %s; this needs %s", p.Subject, p.role, need))
	case r.Header.Get("Authorization") != "" && !s.auth.mayTry(address(r)):
		s.fail(w, r, http.StatusTooManyRequests, "too many wrong tokens from this address; try again in a few seconds")
	case isPage(r) && r.Method == http.MethodGet:
		http.Redirect(w, r, "/login?next="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
	default:
		w.Header().Set("WWW-Authenticate", `Bearer realm="haldane"`)
		s.fail(w, r, http.StatusUnauthorized, "no accepted token: send `Authorization: Bearer TOKEN` (command line: --token-file or HALDANE_TOKEN), or log in at /login")
	}
	return person{}, false
}

// roleFor is the role that a request needs; 0: none. What is not listed needs
// the largest.
func roleFor(method, path string) Role {
	switch {
	case safe(method) && (path == "/healthz" || path == "/readyz" || path == "/login" || strings.HasPrefix(path, "/static/")):
		return 0
	case method == http.MethodPost && path == "/login":
		return 0
	case safe(method) && strings.HasSuffix(path, "/differences"): // what users asked and were answered
		return Operator
	case safe(method), method == http.MethodPost && (strings.HasPrefix(path, "/prometheus/") || path == "/logout"):
		return Viewer
	case method == http.MethodPost && strings.HasPrefix(path, "/api/v1/releases/") && (strings.HasSuffix(path, "/intents") || strings.HasSuffix(path, "/feedback")):
		return Operator
	case method == http.MethodPost && strings.HasPrefix(path, "/releases/") && strings.HasSuffix(path, "/ask"):
		return Operator
	}
	return Author
}

// body checks the content type of what changes something and reads the body
// whole, so that a slow or large one ends here.
func (s *Server) body(w http.ResponseWriter, r *http.Request) bool {
	if safe(r.Method) {
		r.Body = http.NoBody
		return true
	}
	limit, ok := accepts(r)
	if !ok {
		s.fail(w, r, http.StatusUnsupportedMediaType, fmt.Sprintf("content type %q: the API takes application/json, manifests also as application/yaml; pages take their own forms", mediaType(r)))
		return false
	}
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(bodyTimeout))
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		var large *http.MaxBytesError
		code, detail := http.StatusBadRequest, "the request's body broke off or came too slowly"
		if errors.As(err, &large) {
			code, detail = http.StatusRequestEntityTooLarge, fmt.Sprintf("the request's body is larger than %d bytes", limit)
		}
		s.fail(w, r, code, detail)
		return false
	}
	// A deadline left behind would look like a client that hung up.
	_ = rc.SetReadDeadline(time.Time{})
	r.Body = io.NopCloser(bytes.NewReader(data))
	return true
}

// accepts reports whether a body of this content type may change something,
// and how large it may be.
func accepts(r *http.Request) (limit int64, ok bool) {
	t := mediaType(r)
	api := strings.HasPrefix(r.URL.Path, "/api/")
	switch {
	case r.Method == http.MethodDelete && api:
		return 0, r.ContentLength == 0
	case r.Method == http.MethodPut && api:
		return maxManifest, t == "application/json" || t == "application/yaml"
	case api:
		return maxForm, t == "application/json"
	}
	return maxForm, t == "application/x-www-form-urlencoded"
}

func (s *Server) recovered(w http.ResponseWriter, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v)
	}
	s.o.Log.Error("a request made the server panic", "method", r.Method, "path", r.URL.Path, "panic", v, "stack", string(debug.Stack()))
	s.fail(w, r, http.StatusInternalServerError, "this is a bug of Haldane; the daemon's log has the details")
}

// address is the sender's network address, without the port. Headers that
// claim another one are not believed.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

func isPage(r *http.Request) bool {
	p := r.URL.Path
	return !strings.HasPrefix(p, "/api/") && !strings.HasPrefix(p, "/prometheus/") && p != "/metrics" && p != "/openapi.json"
}
