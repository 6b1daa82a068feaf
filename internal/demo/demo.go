// Package demo is the story of `haldane demo`: the real daemon in this process,
// a sample service as real processes, a constant load of users, a bad version
// that is rolled back and a good one that is promoted. Nothing in it is staged
// but the sample's luck (sample.go says how): what decides is the daemon's judge.
//
// Read this file first, then scenario.go (what is released), report.go (what is
// told at the end) and sample.go.
package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/app"
	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/load"
)

// Options of the demo.
type Options struct {
	Scenario string  // one of Scenarios. Default: the first
	Program  string  // this binary, which is the sample services too (sample-app, sample-llm)
	Listen   string  // of the API and the pages. Default 127.0.0.1:0
	Rate     float64 // requests a second. Default: the scenario's
	Log      *slog.Logger
	// Say tells what happens next, in one sentence.
	Say func(string)
	// Stage is called once, when there is something to watch.
	Stage func(Stage)
	// After is called when the story is over, before everything is taken down.
	After func(Report)
}

// Stage is what there is to watch.
type Stage struct {
	Client  *client.Client
	Release string
	Page    string // URL of the web page
	Now     func() Moment
}

// Moment is how the story stands.
type Moment struct {
	Act   int // 1 to 3
	Title string
	Users load.Report
}

const (
	startDeadline = time.Minute
	actDeadline   = 5 * time.Minute
	history       = 5 * time.Second // of v1 alone, so that the judge knows it
	grace         = 5 * time.Second
)

// story is one telling.
type story struct {
	opt Options
	scenario
	c      *client.Client
	page   string
	target string // host:port of the release
	users  *load.Generator

	mu      sync.Mutex
	act     int
	title   string
	sight   map[string]sight // by version
	reports []Outcome
}

// sight is when users first and last met a version.
type sight struct{ first, last time.Time }

// Run tells the story. The report is complete when the error is nil; whether
// both versions ended as they should is Report.OK.
func Run(ctx context.Context, opt Options) (rep Report, err error) {
	of, err := scenarioOf(opt.Scenario)
	if err != nil {
		return Report{}, err
	}
	if opt.Listen == "" {
		opt.Listen = "127.0.0.1:0"
	}
	if opt.Rate == 0 {
		opt.Rate = of.rate
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := os.MkdirTemp("", "haldane-demo-")
	if err != nil {
		return Report{}, fmt.Errorf("make a directory for the demo: %w", err)
	}
	defer func() {
		if removeErr := os.RemoveAll(dir); err == nil && removeErr != nil {
			err = fmt.Errorf("remove the demo's data: %w", removeErr)
		}
	}()
	s := &story{opt: opt, scenario: of, sight: map[string]sight{}}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ready, ended := make(chan string, 1), make(chan error, 1)
	// The daemon outlives the story's context, so that it can drain.
	daemon, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	go func() {
		err := app.Serve(daemon, app.Options{Listen: opt.Listen, Data: filepath.Join(dir, "data"), Grace: grace, Log: opt.Log,
			Ready: func(address string) { ready <- address }})
		if daemon.Err() == nil {
			cancel(fmt.Errorf("the daemon ended: %w", err))
		}
		ended <- err
	}()
	rep, err = s.tell(ctx, ready)
	stop()
	if stopErr := <-ended; err == nil && stopErr != nil {
		err = fmt.Errorf("stop the daemon: %w", stopErr)
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	return rep, err
}

// tell is the story from the daemon's first answer to the report.
func (s *story) tell(ctx context.Context, ready <-chan string) (Report, error) {
	begun := time.Now()
	if err := s.open(ctx, ready); err != nil {
		return Report{}, err
	}
	s.next(1, fmt.Sprintf("%s %.0f requests a second.", s.cast[0].entrance, s.opt.Rate))
	if _, err := s.release(ctx, s.cast[0], startDeadline); err != nil {
		return Report{}, err
	}
	s.opt.Stage(Stage{Client: s.c, Release: s.scenario.name, Page: s.page, Now: s.now})
	stopUsers := s.startUsers(ctx)
	defer stopUsers()
	if err := sleep(ctx, history); err != nil {
		return Report{}, err
	}
	for i, should := range []string{"RolledBack", "Promoted"} {
		v := s.cast[i+1]
		s.next(i+2, v.entrance)
		if err := s.act2and3(ctx, v, should); err != nil {
			return Report{}, err
		}
	}
	stopUsers()
	rep, err := s.report(ctx, time.Since(begun))
	if err == nil && s.opt.After != nil {
		s.mu.Lock()
		s.title = "The end: v2 " + s.reports[0].word() + ", v3 " + s.reports[1].word() + "."
		s.mu.Unlock()
		s.opt.After(rep)
	}
	return rep, err
}

// open waits for the daemon and finds a free port for the release.
func (s *story) open(ctx context.Context, ready <-chan string) error {
	select {
	case address := <-ready:
		c, err := client.New(address, client.Options{})
		if err != nil {
			return fmt.Errorf("reach the demo's daemon: %w", err)
		}
		s.c, s.page = c, c.URL("/releases/"+s.scenario.name)
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(startDeadline):
		return fmt.Errorf("the demo's daemon did not answer within %s", startDeadline)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("find a free port for the demo: %w", err)
	}
	s.target = l.Addr().String()
	return l.Close()
}

// release applies a version and waits for the end of its run.
func (s *story) release(ctx context.Context, v version, deadline time.Duration) (v1alpha1.RunStatus, error) {
	m, err := s.manifest(v, s.opt.Program, s.target)
	if err != nil {
		return v1alpha1.RunStatus{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	a, err := s.c.Apply(ctx, s.scenario.name, m, client.ApplyOptions{})
	if err != nil {
		return v1alpha1.RunStatus{}, fmt.Errorf("apply %s: %w", v.name, err)
	}
	var run v1alpha1.RunStatus
	message := "nothing was heard of it"
	err = s.c.Watch(ctx, s.scenario.name, func(ch client.Change) error {
		if ch.Release == nil {
			return nil
		}
		st := ch.Release.Status
		message = st.Message
		if st.ObservedGeneration < a.Release.Generation || st.Run == nil || st.Run.To != v.name {
			return nil
		}
		if run = *st.Run; run.Ended != nil {
			return errEnded
		}
		return nil
	})
	if errors.Is(err, errEnded) {
		return run, nil
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no end within %s: %s", deadline, message)
	}
	return run, fmt.Errorf("follow the run to %s: %w", v.name, err)
}

var errEnded = errors.New("the run ended")

// act2and3 releases a version under load and keeps how that ended.
func (s *story) act2and3(ctx context.Context, v version, should string) error {
	run, err := s.release(ctx, v, actDeadline)
	if err != nil {
		return err
	}
	o, err := s.outcome(ctx, v, run, should)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reports = append(s.reports, o)
	return nil
}

// startUsers sends the load until the returned function is called, which may be twice.
func (s *story) startUsers(ctx context.Context) (stop func()) {
	o := s.visit
	o.URL, o.Rate, o.VersionHeader, o.Each = "http://"+s.target+o.URL, s.opt.Rate, VersionHeader, s.see
	g, err := load.New(o)
	if err != nil {
		panic("demo: " + err.Error()) // the options are the demo's own
	}
	s.mu.Lock()
	s.users = g
	s.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.Run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// see notes when users met a version.
func (s *story) see(shot load.Shot) {
	if shot.Version == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	x, ok := s.sight[shot.Version]
	if !ok || shot.Due.Before(x.first) {
		x.first = shot.Due
	}
	if shot.Due.After(x.last) {
		x.last = shot.Due
	}
	s.sight[shot.Version] = x
}

func (s *story) next(act int, title string) {
	s.mu.Lock()
	s.act, s.title = act, title
	s.mu.Unlock()
	s.opt.Say(fmt.Sprintf("%d/3  %s", act, title))
}

func (s *story) now() Moment {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := Moment{Act: s.act, Title: s.title}
	if s.users != nil {
		m.Users = s.users.Report()
	}
	return m
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
