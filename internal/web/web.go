// Package web is the daemon's HTTP side: the API under /api/v1, the pages people
// look at, and the guard before both (host names, origins, tokens, sessions,
// limits). It is built on ports only: what is shown comes from the store, what
// is asked goes into it. It touches no router, runtime or judge, and formats
// nothing by itself that internal/status can say.
//
// Read this file first (what it is built from), then guard.go and auth.go (who
// may do what), api.go (the API) and pages.go (the pages).
package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"

	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/store"
)

// Limits of the server.
const (
	maxManifest    = 1 << 20  // bytes of an applied manifest
	maxForm        = 64 << 10 // bytes of a form or an intent
	maxHeader      = 64 << 10
	maxConnections = 2048
	maxWatchers    = 512 // open event streams
	headerTimeout  = 10 * time.Second
	bodyTimeout    = 30 * time.Second
	answerTimeout  = 2 * time.Minute
	idleTimeout    = 2 * time.Minute
	stopTimeout    = 5 * time.Second // for answers under way when the server stops
)

// Options is what a Server is built from.
type Options struct {
	Store store.Store
	// Listen is the host:port that will be listened on. Off loopback Tokens are required.
	Listen string
	// Names are further host names or addresses that browsers may use for this
	// server, such as the name that a reverse proxy answers to.
	Names []string
	// Tokens that are accepted; none: everyone on this machine is an author.
	Tokens []Token
	// Local is who everyone on this machine is where there are no Tokens. Default: local.
	Local string
	// TLS: the server is reached by HTTPS only, so session cookies are marked Secure.
	TLS     bool
	Version string // of Haldane
	Now     func() time.Time
	Log     *slog.Logger

	// Metrics serves /metrics, Query everything under /prometheus/; nil: absent.
	Metrics http.Handler
	Query   http.Handler
	// Ready says why the daemon is not ready; nil: always ready.
	Ready func() error
	// Check says whether this daemon can serve the release, such as whether it
	// has the provider that a metric needs; nil: it can.
	Check func(ctx context.Context, rel release.Release) error
	// Plan says in sentences what applying the release would do; before is the
	// record it would change, nil for a new one.
	Plan func(ctx context.Context, rel release.Release, before *store.Record) ([]string, error)
	// Differences is what was found when a release's requests were copied; nil:
	// nothing compares them.
	Differences func(release string) client.Differences
	// Feedback takes what was said of an answer of a release; nil: nobody does.
	Feedback func(name string, f release.Feedback, session string) error
	// Rates are the requests that the versions of a release get now.
	Rates func(release string) []Rate
	// Logs returns the last output of a release's instances; version "" is all.
	Logs func(ctx context.Context, release string, version release.VersionID) (string, error)
}

// Rate is what one version does now.
type Rate struct {
	Version  release.VersionID
	Requests float64  // a second
	Errors   float64  // share that failed, 0..1
	Latency  float64  // median seconds; 0: not known
	CPU      *float64 // cores in use; nil: not known
	Memory   *float64 // bytes; nil: not known
	Restarts int      // of its instances
}

// Server answers the API and the pages.
type Server struct {
	o        Options
	hosts    hostList
	auth     *authority
	handler  http.Handler
	openapi  []byte
	pages    *pages
	watchers chan struct{}   // a slot each
	stopped  context.Context // ends when Serve stops, so that event streams end
	stop     context.CancelFunc
}

// New builds a server, and refuses one that would be open to the network
// without authentication.
func New(o Options) (*Server, error) {
	if o.Store == nil {
		return nil, errors.New("web server: needs a store")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	hosts, err := newHostList(o.Listen, o.Names)
	if err != nil {
		return nil, err
	}
	if !hosts.loopback && len(o.Tokens) == 0 {
		return nil, fmt.Errorf("listen on %s: the API would be open to the network without authentication; give a token file (`haldane serve --tokens FILE`; `haldane token NAME ROLE` writes a line of it) or listen on 127.0.0.1", o.Listen)
	}
	auth, err := newAuthority(o.Tokens, cmp.Or(o.Local, "local"), o.Now)
	if err != nil {
		return nil, err
	}
	p, err := newPages()
	if err != nil {
		return nil, err
	}
	s := &Server{o: o, hosts: hosts, auth: auth, pages: p, watchers: make(chan struct{}, maxWatchers)}
	s.stopped, s.stop = context.WithCancel(context.Background())
	s.handler = s.guard(s.routes())
	return s, nil
}

// Handler is the whole server, guard included.
func (s *Server) Handler() http.Handler { return s.handler }

// Serve answers connections of l until ctx ends, then closes event streams,
// lets other answers finish for a few seconds and returns nil.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.o.Log.Handler(), slog.LevelDebug),
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(netutil.LimitListener(l, maxConnections)) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve the API on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	s.stop()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		_ = srv.Close() // the time is up: what is still open is cut
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the API on %s: %w", l.Addr(), err)
	}
	return nil
}

func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	s.apiRoutes(mux)
	s.pageRoutes(mux)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", s.ready)
	if s.o.Metrics != nil {
		mux.Handle("GET /metrics", s.o.Metrics)
	}
	if s.o.Query != nil {
		mux.Handle("/prometheus/", s.o.Query)
	}
	mux.HandleFunc("/", s.notFound)
	return mux
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if s.o.Ready != nil {
		if err := s.o.Ready(); err != nil {
			plain(w, http.StatusServiceUnavailable, err.Error())
			return
		}
	}
	plain(w, http.StatusOK, "ok")
}

func plain(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text + "\n"))
}
