package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed ui
var ui embed.FS

// pages holds the parsed templates and the static files. Everything foreign
// (names, reasons, errors of versions) reaches a page through html/template only.
type pages struct {
	byName map[string]*template.Template
	static map[string]asset // by path under /static/
}

type asset struct {
	data []byte
	kind string
	etag string
}

var assetKinds = map[string]string{
	".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
}

// newPages parses what is embedded: every page is layout.html, parts-*.html and
// a file of its own.
func newPages() (*pages, error) {
	p := &pages{byName: map[string]*template.Template{}, static: map[string]asset{}}
	files, err := fs.Glob(ui, "ui/static/*")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		data, err := ui.ReadFile(f)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(data)
		p.static[path.Base(f)] = asset{data: data, kind: assetKinds[path.Ext(f)], etag: hex.EncodeToString(sum[:8])}
	}
	base, err := template.New("").Funcs(p.functions()).ParseFS(ui, "ui/templates/layout.html", "ui/templates/parts-*.html")
	if err != nil {
		return nil, fmt.Errorf("page templates: %w", err)
	}
	files, err = fs.Glob(ui, "ui/templates/*.html")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		name := strings.TrimSuffix(path.Base(f), ".html")
		if name == "layout" || strings.HasPrefix(name, "parts-") {
			continue
		}
		t, err := template.Must(base.Clone()).ParseFS(ui, f)
		if err != nil {
			return nil, fmt.Errorf("page template %s: %w", name, err)
		}
		p.byName[name] = t
	}
	return p, nil
}

func (p *pages) functions() template.FuncMap {
	return template.FuncMap{
		"static": func(name string) string { return "/static/" + name + "?v=" + p.static[name].etag },
		"look":   lookOf,
		"f":      func(x float64) string { return fmt.Sprintf("%.1f", x) },
		"add":    func(a, b float64) float64 { return a + b },
		"sub":    func(a, b float64) float64 { return a - b },
		"dict":   dict,
	}
}

// dict gives a template part several named values.
func dict(kv ...any) (map[string]any, error) {
	m := map[string]any{}
	for i := 0; i+1 < len(kv); i += 2 {
		k, ok := kv[i].(string)
		if !ok {
			return nil, fmt.Errorf("dict: key %v is not a word", kv[i])
		}
		m[k] = kv[i+1]
	}
	return m, nil
}

// frame is what every page has around its own content.
type frame struct {
	Title   string
	Nav     string // which entry of the navigation is current
	Person  string // who is logged in; empty: nobody needs to
	CanAsk  bool
	Version string
	Watch   string // name of the release to follow, "*" for all; empty: the page stands still
	Note    string // what became of the last click
	NoteBad bool
	Page    any
}

func (s *Server) frame(r *http.Request, title string, page any) frame {
	f := frame{Title: title, Version: s.o.Version, Page: page}
	who := sender(r.Context())
	f.CanAsk = who.role >= Operator
	if !s.auth.open() {
		f.Person = fmt.Sprintf("%s (%s)", who.Subject, who.role)
	}
	return f
}

// render writes a whole page or, if the template fails, an error.
func (s *Server) render(w http.ResponseWriter, r *http.Request, code int, name string, f frame) {
	var b bytes.Buffer
	if err := s.pages.byName[name].ExecuteTemplate(&b, "layout", f); err != nil {
		s.o.Log.Error("page failed", "page", name, "path", r.URL.Path, "error", err)
		plain(w, http.StatusInternalServerError, "this page failed; the daemon's log has the details")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_, _ = b.WriteTo(w)
}

// fail is the page of an error, without anything that needs a store or a login.
func (p *pages) fail(w http.ResponseWriter, _ *http.Request, code int, detail string) {
	var b bytes.Buffer
	title := http.StatusText(code)
	err := p.byName["error"].ExecuteTemplate(&b, "layout", frame{Title: title, Page: map[string]any{"Code": code, "Detail": detail}})
	if err != nil {
		plain(w, code, detail)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_, _ = b.WriteTo(w)
}

func (s *Server) pageRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /{$}", s.releasesPage)
	mux.HandleFunc("GET /releases/{name}", s.releasePage)
	mux.HandleFunc("GET /releases/{name}/logs", s.logsPage)
	mux.HandleFunc("GET /releases/{name}/differences", s.differencesPage)
	mux.HandleFunc("GET /releases/{name}/ask", s.askPage)
	mux.HandleFunc("POST /releases/{name}/ask", s.askForm)
	mux.HandleFunc("GET /runs/{id}", s.runPage)
	mux.HandleFunc("GET /audit", s.auditPage)
	mux.HandleFunc("GET /login", s.loginPage)
	mux.HandleFunc("POST /login", s.loginForm)
	mux.HandleFunc("POST /logout", s.logoutForm)
	mux.HandleFunc("GET /static/{file}", s.staticFile)
}

func (s *Server) staticFile(w http.ResponseWriter, r *http.Request) {
	a, ok := s.pages.static[r.PathValue("file")]
	if !ok {
		s.notFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("ETag", `"`+a.etag+`"`)
	h.Set("Cache-Control", "no-cache")
	if r.URL.Query().Get("v") == a.etag {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.data))
}
