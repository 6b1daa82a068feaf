package supervise

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// State is where an instance is in its life.
type State string

// The states. Only Ready takes requests. Waiting: until the next start.
const (
	Starting State = "Starting"
	Ready    State = "Ready"
	Unready  State = "Unready" // was ready, then failed its probe
	Waiting  State = "Waiting"
	Draining State = "Draining"
	Stopped  State = "Stopped"
)

// Status is what is known of an instance now.
type Status struct {
	State    State
	Address  string // host:port of the running process; empty: none runs
	URL      string // scheme://host:port, scheme http or h2c
	Pid      int    // 0: none runs
	Restarts int    // starts after the first
	Since    time.Time
	// Error says why it is not ready, in one sentence and, where the program
	// ended, its last lines. Empty: nothing is wrong.
	Error string
	// Blocked: a person must act. It is still tried again, at the longest back-off.
	Blocked bool
}

// Instance is one wanted process.
type Instance struct {
	s       *Supervisor
	program Program
	changed func()
	log     ring

	stop, kill         chan struct{}
	stopOnce, killOnce sync.Once
	done               chan struct{}

	mu     sync.Mutex
	status Status
	spent  spending
}

func newInstance(s *Supervisor, p Program, changed func()) *Instance {
	return &Instance{
		s:       s,
		program: p,
		changed: changed,
		stop:    make(chan struct{}),
		kill:    make(chan struct{}),
		done:    make(chan struct{}),
		status:  Status{State: Starting, Since: time.Now()},
	}
}

// Status returns what is known now.
func (i *Instance) Status() Status {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.status
}

// Lines returns the last lines of output over all starts, oldest first.
func (i *Instance) Lines() []Line { return i.log.all() }

// Stop begins to drain and returns at once.
func (i *Instance) Stop() { i.stopOnce.Do(func() { close(i.stop) }) }

// Kill ends the process without draining and returns at once.
func (i *Instance) Kill() {
	i.Stop()
	i.killOnce.Do(func() { close(i.kill) })
}

// Done is closed when the instance was stopped and nothing of it is left.
func (i *Instance) Done() <-chan struct{} { return i.done }

func (i *Instance) set(change func(*Status)) {
	i.mu.Lock()
	before := i.status
	change(&i.status)
	if i.status.State != before.State {
		i.status.Since = time.Now()
	}
	same := i.status == before
	i.mu.Unlock()
	if !same && i.changed != nil {
		i.changed()
	}
}

// run is the instance's life: start after start, until it is stopped.
func (i *Instance) run() {
	bounds := i.s.opts.BackOff
	delay := bounds.Min
	for {
		up, err := i.live()
		if up >= bounds.Reset {
			delay = bounds.Min
		}
		wait := delay
		if isBlocked(err) {
			wait = bounds.Max
		} else {
			delay = min(2*delay, bounds.Max)
		}
		if !i.stopped() {
			i.set(func(st *Status) { st.State, st.Error, st.Blocked = Waiting, err.Error(), isBlocked(err) })
			i.s.opts.Logger.Warn("an instance ended and will be started again", "program", i.program.String(), "in", wait, "error", err)
		}
		select {
		case <-i.stop:
			i.set(func(st *Status) { *st = Status{State: Stopped, Restarts: st.Restarts, Since: st.Since} })
			return
		case <-time.After(wait):
		}
		i.set(func(st *Status) { st.State, st.Restarts = Starting, st.Restarts+1 })
	}
}

func (i *Instance) stopped() bool {
	select {
	case <-i.stop:
		return true
	default:
		return false
	}
}

// live runs one process from start to end. It returns how long it was ready
// and, unless it was stopped, why it ended.
func (i *Instance) live() (time.Duration, error) {
	port, err := i.s.ports.take()
	if err != nil {
		return 0, err
	}
	defer i.s.ports.release(port)
	token := newToken()
	l, err := i.program.prepare(port, token)
	if err != nil {
		return 0, err
	}
	from := i.log.written()
	p, err := i.s.fork(l, token, &i.log)
	if err != nil {
		return 0, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	i.set(func(st *Status) { st.Address, st.URL, st.Pid = address, i.program.url(address), p.pid })
	i.s.opts.Logger.Info("an instance was started", "program", i.program.String(), "pid", p.pid, "address", address)
	up, why := i.attend(p, address)
	state := p.end()
	i.settle(state)
	if i.stopped() {
		i.s.opts.Logger.Info("an instance was stopped", "program", i.program.String(), "pid", p.pid, "end", state.String())
	}
	return up, i.explain(why, state, up, i.log.since(from, errorLines))
}

// errorLines is how many lines of output an error shows.
const errorLines = 20

// attend watches a process until it has exited. It returns how long it was
// ready, and why it was ended when it did not end by itself.
func (i *Instance) attend(p *process, address string) (up time.Duration, why error) {
	ctx, cancel := context.WithCancel(context.Background())
	health := make(chan error)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		Watch(ctx, i.program.url(address), i.program.Ready, i.program.WarmUp, func(err error) {
			select {
			case health <- err:
			case <-ctx.Done():
			}
		})
	}()
	defer func() { cancel(); <-watched }()
	deadline := time.NewTimer(i.program.Ready.Deadline)
	defer deadline.Stop()
	patience := time.NewTimer(i.s.opts.Patience)
	defer patience.Stop()

	var ready time.Time
	var last error
	for {
		select {
		case <-p.exited:
			return readyFor(ready), nil
		case last = <-health:
			if last == nil && ready.IsZero() {
				ready = time.Now()
				deadline.Stop()
			}
			if !ready.IsZero() {
				i.report(last)
			}
		case <-patience.C:
			i.complain(last)
		case <-deadline.C:
			cancel()
			hint := i.hint(p, address)
			i.terminate(p)
			return 0, fmt.Errorf("%s was not ready within %s: %w%s", i.program, i.program.Ready.Deadline, orNoAnswer(last), hint)
		case <-i.stop:
			cancel()
			i.drain(p, address, !ready.IsZero())
			return readyFor(ready), nil
		}
	}
}

// report tells the readiness of a program that was ready before.
func (i *Instance) report(err error) {
	i.set(func(st *Status) {
		st.State, st.Error, st.Blocked = Ready, "", false
		if err != nil {
			st.State, st.Error = Unready, err.Error()
		}
	})
}

// complain tells why a starting program is not ready, unless there is more to
// say: why the process before this one ended.
func (i *Instance) complain(last error) {
	i.set(func(st *Status) {
		if st.State == Starting && st.Error == "" {
			st.Error = "not ready yet: " + orNoAnswer(last).Error()
		}
	})
}

// drain waits until no request is at the process, then ends it.
func (i *Instance) drain(p *process, address string, served bool) {
	i.set(func(st *Status) { st.State, st.Error, st.Blocked = Draining, "", false })
	if served && i.s.opts.Leave != nil && i.program.Drain > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), i.program.Drain)
		left := make(chan error, 1)
		go func() { left <- i.s.opts.Leave(ctx, address) }()
		select {
		case err := <-left:
			if err != nil {
				i.s.opts.Logger.Warn("an instance is ended although it has not drained", "program", i.program.String(), "address", address, "error", err)
			}
		case <-ctx.Done():
			i.s.opts.Logger.Warn("an instance is ended although it has not drained", "program", i.program.String(), "address", address, "drain", i.program.Drain)
		case <-p.exited:
		case <-i.kill:
		}
		cancel()
	}
	i.terminate(p)
}

// terminate asks the group to end, kills it after the grace, and returns when
// the leader has exited.
func (i *Instance) terminate(p *process) {
	p.signal(syscall.SIGTERM)
	grace := time.NewTimer(i.s.opts.Grace)
	defer grace.Stop()
	exited := p.exited
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-exited:
			exited = nil // its children may still be at it
		case <-tick.C:
			if exited == nil && p.groupGone() {
				return
			}
		case <-grace.C:
			p.signal(syscall.SIGKILL)
			<-p.exited
			return
		case <-i.kill:
			p.signal(syscall.SIGKILL)
			<-p.exited
			return
		}
	}
}

// explain makes the error of an end: what ended, how, and its last lines.
func (i *Instance) explain(why error, state *os.ProcessState, up time.Duration, lines []string) error {
	text := ""
	switch {
	case why != nil:
		text = why.Error()
	case up == 0:
		text = fmt.Sprintf("%s ended before it was ready: %s", i.program, state)
	default:
		text = fmt.Sprintf("%s ended after %s of being ready: %s", i.program, up.Round(time.Millisecond), state)
	}
	if len(lines) == 0 {
		return fmt.Errorf("%s; it wrote nothing", text)
	}
	return fmt.Errorf("%s; its last lines:\n  %s", text, strings.Join(lines, "\n  "))
}

func orNoAnswer(err error) error {
	if err == nil {
		return fmt.Errorf("no probe has ended")
	}
	return err
}

func readyFor(t time.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return max(time.Since(t), time.Nanosecond)
}
