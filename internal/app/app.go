// Package app is the composition root: the only place that names adapters. It
// builds the daemon's parts, hands them to each other through the ports, and
// gives them to the shell that runs them.
//
// Read this file first; wire.go holds the small pieces between two parts.
package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/haldane-project/haldane/internal/compare"
	"github.com/haldane-project/haldane/internal/evaluate"
	"github.com/haldane-project/haldane/internal/reconcile"
	"github.com/haldane-project/haldane/internal/standalone"
	"github.com/haldane-project/haldane/internal/store"
	"github.com/haldane-project/haldane/internal/store/sqlite"
	router "github.com/haldane-project/haldane/internal/traffic/embedded"
	"github.com/haldane-project/haldane/internal/web"
	"github.com/haldane-project/haldane/internal/workload"
	"github.com/haldane-project/haldane/internal/workload/endpoints"
	"github.com/haldane-project/haldane/internal/workload/process"
	"github.com/haldane-project/haldane/internal/workload/switchboard"
)

// Version of the binary, set by the linker.
var Version = "dev"

// Options of the local daemon.
type Options struct {
	Listen     string   // API and pages, host:port; port 0 takes a free one
	Names      []string // further host names that browsers may use for it
	Data       string   // directory of everything that is kept
	TokensFile string   // who may do what; required off loopback
	Files      []string // manifests that are applied at the start
	Grace      time.Duration
	// OTLP is the base URL of the collector that gets a span of requests; empty:
	// the environment's, and none where that names none. TraceRatio is the share of
	// the requests without a caller's word that is recorded.
	OTLP       string
	TraceRatio float64
	// Notify is the URL that gets a POST of what happens to releases; empty: none.
	// NotifyToken is a file with the bearer that it is sent.
	Notify      string
	NotifyToken string
	Log         *slog.Logger
	// Ready is told the address once the daemon answers; nil: nobody.
	Ready func(address string)
}

// Serve runs the local daemon until ctx ends, and then stops it without losing
// a request that was accepted.
func Serve(ctx context.Context, o Options) error {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Grace == 0 {
		o.Grace = 30 * time.Second
	}
	tokens, err := readTokens(o.TokensFile)
	if err != nil {
		return err
	}
	traced, err := openSpans(ctx, o)
	if err != nil {
		return err
	}
	defer traced.close()
	if err := os.MkdirAll(o.Data, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	d, err := build(ctx, o, tokens, traced)
	if err != nil {
		return err
	}
	return standalone.Run(ctx, d)
}

// build makes the parts in the order in which they need each other, and closes
// what was opened when one of them can not be made.
func build(ctx context.Context, o Options, tokens []web.Token, traced spans) (_ standalone.Parts, err error) {
	var undo closing
	defer func() {
		if err != nil {
			undo.run()
		}
	}()
	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return standalone.Parts{}, fmt.Errorf("listen for the API on %s: %w; stop what has this address or choose another with --listen", o.Listen, err)
	}
	undo = append(undo, listener.Close)
	db, err := sqlite.Open(ctx, o.Data)
	if err != nil {
		return standalone.Parts{}, err
	}
	undo = append(undo, db.Close)
	m := openMetrics(o)
	undo = append(undo, m.close)
	copies, evals := compare.New(), evaluate.New(o.Log, compare.Words)
	rt := router.New(router.Options{Observer: m.recorder, Feedback: m.recorder, Comparer: comparers{copies, evals}, Listener: evals,
		Tracer: traced.tracer(), Drain: o.Grace, Log: o.Log})
	run, err := openRuntimes(o, rt)
	if err != nil {
		return standalone.Parts{}, err
	}
	undo = append(undo, func() error { return run.procs.Close(context.Background()) })
	provider, err := m.provider(rt, copies, evals)
	if err != nil {
		return standalone.Parts{}, err
	}
	m.follow(run.procs, rt, evals, o.Log)
	hears, told, err := sinks(o)
	if err != nil {
		return standalone.Parts{}, err
	}
	passes := reconcile.New(reconcile.Ports{
		Store: db, Sinks: hears, Router: rt, Runtime: run.all, Metrics: provider,
		Parse: parse, Ask: askWebhook, Seen: traced.seen(m.seen), Log: o.Log,
	})
	server, err := web.New(web.Options{
		Store: db, Listen: listener.Addr().String(), Names: o.Names, Tokens: tokens, Version: Version,
		Log: o.Log, Metrics: m.handler, Query: m.query, Check: check(provider, m.refuse), Plan: plan,
		Rates: rates(m.recorder, run.procs), Feedback: rt.Feedback, Logs: logs(run.procs, db), Differences: differences(copies, rt),
	})
	if err != nil {
		return standalone.Parts{}, err
	}
	if err = applyFiles(ctx, db, o.Files, check(provider, noRefusal)); err != nil {
		return standalone.Parts{}, err
	}
	return standalone.Parts{
		Listener: listener, Passes: passes.Run, Log: o.Log, Grace: o.Grace,
		Web:        serveWeb(server, o.Ready),
		Background: append(told, m.background...),
		Drains:     []func(context.Context) error{rt.Shutdown, run.procs.Close, run.ends.Close, run.all.Close},
		Closes:     []func() error{m.close, db.Close},
	}, nil
}

// runtimes run what releases of this machine name as their workload.
type runtimes struct {
	procs *process.Runtime
	ends  *endpoints.Runtime
	all   *switchboard.Runtime // chooses between them
}

func openRuntimes(o Options, rt *router.Router) (runtimes, error) {
	procs, err := process.New(process.Options{Dir: filepath.Join(o.Data, "processes"), Logger: o.Log, InFlight: rt.InFlightAt})
	if err != nil {
		return runtimes{}, err
	}
	ends := endpoints.New(o.Log)
	all := switchboard.New(map[string]workload.Runtime{switchboard.Process: procs, switchboard.Endpoints: ends})
	return runtimes{procs, ends, all}, nil
}

// closing is what was opened, in that order.
type closing []func() error

// run closes it, last first; the error that led here is the one to tell.
func (c closing) run() {
	for _, shut := range slices.Backward(c) {
		_ = shut()
	}
}

var _ store.Store = (*sqlite.Store)(nil)
