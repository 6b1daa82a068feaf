// Package supervise is the engine that starts, probes, restarts and drains local
// processes. It knows programs, ports and process groups, and nothing of
// releases, versions or routers. Linux only: it relies on /proc, process groups
// and the parent-death signal.
//
// An Instance is one wanted process: it is started, probed until ready, probed
// on, started again with back-off when it ends, and drained when it is stopped.
// Nothing survives the supervisor: a stop drains, the death of the supervising
// process kills its children (parent-death signal), and what escaped that is
// found by its record and killed by the next New on the same directory.
//
// Read this file first, then program.go (what is run), instance.go (its life),
// process.go (one operating-system process) and probe.go (readiness).
package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Options of a Supervisor.
type Options struct {
	// Dir keeps one record per running process, so that the next supervisor on
	// it ends what this one left behind. It is created; one supervisor at a time.
	Dir string
	// Logger gets starts and ends. Required.
	Logger *slog.Logger
	// Leave is called when an instance that was ready begins to drain, with its
	// host:port. It returns once no request is at the address and none will be
	// sent there; ctx ends with the program's Drain. Nil: nothing to wait for.
	Leave func(ctx context.Context, address string) error
	// Grace from SIGTERM to SIGKILL. Default: 5 s.
	Grace time.Duration
	// Patience is how long a starting program may fail its probe before that is
	// told as an error: every program refuses connections at first. Default: 3 s.
	Patience time.Duration
	// BackOff between two starts of a program that ends: Min doubles up to Max,
	// and begins again once the program was ready for Reset. Defaults: 100 ms, 30 s, 30 s.
	BackOff BackOff
}

// BackOff bounds the delays between starts.
type BackOff struct{ Min, Max, Reset time.Duration }

// Supervisor runs instances until Close.
type Supervisor struct {
	opts    Options
	records *records
	forks   *forker
	ports   *ports

	mu        sync.Mutex
	closed    bool
	instances map[*Instance]struct{}
}

// New opens the directory, kills what an earlier supervisor left running, and
// returns a supervisor without instances. It fails when another one uses the
// directory.
func New(opts Options) (*Supervisor, error) {
	if opts.Logger == nil {
		return nil, errors.New("supervise: Options.Logger is required")
	}
	if !supported {
		return nil, errors.New("supervising local processes needs Linux: use endpoints that already run, or run Haldane on Linux")
	}
	opts.Grace = orDefault(opts.Grace, 5*time.Second)
	opts.Patience = orDefault(opts.Patience, 3*time.Second)
	opts.BackOff.Min = orDefault(opts.BackOff.Min, 100*time.Millisecond)
	opts.BackOff.Max = orDefault(opts.BackOff.Max, 30*time.Second)
	opts.BackOff.Reset = orDefault(opts.BackOff.Reset, 30*time.Second)
	rec, err := openRecords(opts.Dir)
	if err != nil {
		return nil, err
	}
	ended, err := rec.endLeftovers()
	if err != nil {
		return nil, errors.Join(err, rec.close())
	}
	if ended > 0 {
		opts.Logger.Warn("killed processes that an earlier supervisor left running", "processes", ended, "dir", opts.Dir)
	}
	return &Supervisor{
		opts:      opts,
		records:   rec,
		forks:     newForker(),
		ports:     newPorts(),
		instances: map[*Instance]struct{}{},
	}, nil
}

// Start returns an instance of the program at once and runs it until it is
// stopped. changed is called after every change of its Status, one call at a
// time; it must return quickly and may call Status.
func (s *Supervisor) Start(p Program, changed func()) (*Instance, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("starting %s: the supervisor is closed", p)
	}
	i := newInstance(s, p.withDefaults(), changed)
	s.instances[i] = struct{}{}
	go func() {
		i.run()
		s.mu.Lock()
		delete(s.instances, i)
		s.mu.Unlock()
		close(i.done)
	}()
	return i, nil
}

// Close drains and stops every instance and waits for that. When ctx ends first
// the rest is killed, still waited for, and the error says how many.
func (s *Supervisor) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	var list []*Instance
	for i := range s.instances {
		list = append(list, i)
	}
	s.mu.Unlock()
	for _, i := range list {
		i.Stop()
	}
	killed := 0
	for _, i := range list {
		select {
		case <-i.Done():
			continue
		case <-ctx.Done():
		}
		i.Kill()
		<-i.Done()
		killed++
	}
	s.forks.close()
	err := s.records.close()
	if killed > 0 {
		err = errors.Join(err, fmt.Errorf("stopping %d processes: %d were killed before they had drained: %w", len(list), killed, ctx.Err()))
	}
	return err
}

// Quiet makes a Leave of a count of requests in flight: it returns once the
// count was 0 for the whole of quiet, for routers that cannot say when they
// took an address out.
func Quiet(inFlight func(address string) int64, quiet time.Duration) func(context.Context, string) error {
	return func(ctx context.Context, address string) error {
		tick := time.NewTicker(max(quiet/10, time.Millisecond))
		defer tick.Stop()
		since := time.Now()
		for {
			if n := inFlight(address); n > 0 {
				since = time.Now()
			} else if time.Since(since) >= quiet {
				return nil
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return fmt.Errorf("waiting for %d requests at %s to end: %w", inFlight(address), address, ctx.Err())
			}
		}
	}
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}
