package supervise

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
)

// forker starts processes from one operating-system thread that lives as long
// as the supervisor: the parent-death signal follows the thread that forked, so
// a thread that the Go runtime ends would take its children along.
type forker struct{ calls chan func() }

func newForker() *forker {
	f := &forker{calls: make(chan func())}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		for call := range f.calls {
			call()
		}
	}()
	return f
}

func (f *forker) close() { close(f.calls) }

func (f *forker) start(l launch, attr *os.ProcAttr) (p *os.Process, err error) {
	done := make(chan struct{})
	f.calls <- func() {
		defer close(done)
		p, err = os.StartProcess(l.path, l.argv, attr)
	}
	<-done
	return p, err
}

// process is one operating-system process, leader of its own process group. Its
// methods are called by the instance's goroutine only: as the leader is not
// reaped before end, its pid cannot mean anything else.
type process struct {
	s      *Supervisor
	os     *os.Process
	pid    int
	token  string
	output *os.File
	copied chan struct{} // closed when all output was read
	exited chan struct{} // closed when the leader has ended
}

// fork starts the launch and copies its output into log.
func (s *Supervisor) fork(l launch, token string, log *ring) (*process, error) {
	rec := record{Token: token}
	if err := s.records.write(rec); err != nil {
		return nil, err
	}
	p, err := s.forkRecorded(l, token, log)
	if err != nil {
		return nil, errors.Join(err, s.records.remove(token))
	}
	// The pid only helps to find a program that overwrites its environment.
	if stat, err := procStat(p.pid); err == nil {
		rec.Pid, rec.Start = p.pid, stat.Starttime
		if err := s.records.write(rec); err != nil {
			s.opts.Logger.Warn("the record of a process has no pid", "pid", p.pid, "error", err)
		}
	}
	return p, nil
}

func (s *Supervisor) forkRecorded(l launch, token string, log *ring) (*process, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer letGo(null)
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer letGo(w)
	started, err := s.forks.start(l, &os.ProcAttr{
		Dir:   l.dir,
		Env:   l.env,
		Files: []*os.File{null, w, w},
		Sys:   attributes(),
	})
	if err != nil {
		letGo(r)
		return nil, startError(l, err)
	}
	p := &process{s: s, os: started, pid: started.Pid, token: token, output: r, copied: make(chan struct{}), exited: make(chan struct{})}
	go func() {
		defer close(p.copied)
		log.copyFrom(r, l.secrets)
	}()
	go p.await()
	return p, nil
}

// startError tells what a person must mend from a shortage that may pass.
func startError(l launch, err error) error {
	err = fmt.Errorf("starting %s: %w", l.path, err)
	for _, transient := range []error{syscall.EAGAIN, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE, syscall.ETXTBSY} {
		if errors.Is(err, transient) {
			return err
		}
	}
	return blockedError{err}
}

// await closes exited once the leader has ended and leaves it to be reaped.
func (p *process) await() {
	defer close(p.exited)
	waitExit(p.pid)
}

// signal sends to the whole process group.
func (p *process) signal(sig syscall.Signal) {
	if err := syscall.Kill(-p.pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		p.s.opts.Logger.Warn("signalling a process group failed", "pid", p.pid, "signal", sig.String(), "error", err)
	}
}

// end kills what is left of the group and of its escaped descendants, reaps the
// leader and removes the record. The leader must have exited.
func (p *process) end() *os.ProcessState {
	p.signal(syscall.SIGKILL)
	// Only children of the leader's own making can be left.
	if _, err := p.s.records.endAll(map[string]record{p.token: {}}); err != nil {
		p.s.opts.Logger.Warn("descendants of an ended process may be left", "pid", p.pid, "error", err)
	}
	p.finishOutput()
	state, err := p.os.Wait()
	if err != nil {
		p.s.opts.Logger.Warn("waiting for an ended process failed", "pid", p.pid, "error", err)
	}
	if err := p.s.records.remove(p.token); err != nil {
		p.s.opts.Logger.Warn(err.Error(), "pid", p.pid)
	}
	return state
}

// finishOutput reads the last lines; whoever still holds the pipe is cut off.
func (p *process) finishOutput() {
	if err := p.output.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		letGo(p.output)
	}
	<-p.copied
	letGo(p.output)
}

// letGo closes what was only read or inherited: nothing can be lost.
func letGo(f *os.File) { _ = f.Close() }

// groupGone reports whether nothing of the group lives any more.
func (p *process) groupGone() bool {
	procs, err := procfs.AllProcs()
	if err != nil {
		return true
	}
	for _, q := range procs {
		stat, err := q.Stat()
		if err == nil && stat.PGRP == p.pid && stat.State != "Z" && stat.State != "X" {
			return false
		}
	}
	return true
}

func procStat(pid int) (procfs.ProcStat, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return procfs.ProcStat{}, err
	}
	return p.Stat()
}
