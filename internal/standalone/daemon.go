// Package standalone is the local daemon: it starts the parts that it is given
// in the right order, keeps them running, and stops them so that no accepted
// request is lost. It knows parts by what they do, and names no adapter; those
// are chosen in internal/app.
package standalone

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sync/errgroup"
)

// Parts are what the daemon runs.
type Parts struct {
	Listener net.Listener // of the API and the pages
	// Web serves the API and the pages until its context ends.
	Web func(context.Context, net.Listener) error
	// Passes runs the reconciler until its context ends.
	Passes func(context.Context) error
	// Background runs beside them until its context ends: recorders, scrapers.
	Background []func(context.Context) error
	// Drains stop what carries requests, one after the other: the router first,
	// then the instances behind it. Each gets the time that is left.
	Drains []func(context.Context) error
	// Closes release the rest, in order, after everything stopped.
	Closes []func() error
	// Grace is how long accepted requests may take to finish at a stop.
	Grace time.Duration
	Log   *slog.Logger
}

// Run runs the parts until ctx ends or one of them fails. Then passes end first,
// so that nothing is decided any more; requests are finished; the rest is closed.
func Run(ctx context.Context, p Parts) error {
	background, stop := context.WithCancel(context.Background())
	defer stop()
	parts, pctx := errgroup.WithContext(ctx)
	parts.Go(func() error { return named("passes", p.Passes(pctx)) })
	rest, rctx := errgroup.WithContext(background)
	rest.Go(func() error { return named("web", p.Web(rctx, p.Listener)) })
	for _, f := range p.Background {
		rest.Go(func() error { return named("background", f(rctx)) })
	}
	parts.Go(func() error { // a failed background part stops the daemon
		select {
		case <-pctx.Done():
			return nil
		case <-rctx.Done():
			return errors.New("a part of the daemon ended")
		}
	})
	errs := []error{parts.Wait()}
	errs = append(errs, drain(p))
	stop()
	errs = append(errs, rest.Wait())
	for _, f := range p.Closes {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

func drain(p Parts) error {
	ctx, cancel := context.WithTimeout(context.Background(), p.Grace)
	defer cancel()
	var errs []error
	for _, f := range p.Drains {
		errs = append(errs, f(ctx))
	}
	return errors.Join(errs...)
}

func named(part string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return nil
	}
	return fmt.Errorf("%s: %w", part, err)
}
