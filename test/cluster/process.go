package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// process is one program of the cluster. Its output is DIR/NAME.log, its pid
// (that of its group) DIR/NAME.pid.
type process struct {
	name, dir string
	pid       int
	done      chan struct{} // closed when it ended
	err       error         // why, once done is closed
}

// start runs a program in a process group of its own. A program that is not
// detached is killed when this one ends, however it ends.
func start(dir, name string, detached bool, env []string, path string, args ...string) (*process, error) {
	log, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = dir, log, log, append(os.Environ(), env...)
	cmd.SysProcAttr = attributes(detached)
	p := &process{name: name, dir: dir, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the death signal comes with the end of the thread that forked
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
			err = os.WriteFile(p.pidFile(), []byte(strconv.Itoa(p.pid)), 0o600)
		}
		started <- err
		if cmd.Process != nil {
			p.err = cmd.Wait()
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

func (p *process) pidFile() string { return filepath.Join(p.dir, p.name+".pid") }

// failure is why the process ended, with the end of its log; nil while it runs.
func (p *process) failure() error {
	select {
	case <-p.done:
		log, _ := os.ReadFile(filepath.Join(p.dir, p.name+".log"))
		return fmt.Errorf("%s ended (%s); the end of its log:\n%s", p.name, exitText(p.err), tail(log, 3000))
	default:
		return nil
	}
}

// stop asks the group to end, kills it after grace and returns when it is gone.
func (p *process) stop(grace time.Duration) {
	if p == nil {
		return
	}
	_ = syscall.Kill(-p.pid, syscall.SIGTERM) // already gone: the wait below returns at once
	select {
	case <-p.done:
	case <-time.After(grace):
	}
	_ = syscall.Kill(-p.pid, syscall.SIGKILL)
	<-p.done
	os.Remove(p.pidFile())
}

// stopByPid ends the process whose pid file is path, if it still works in the
// directory of that file, as each process of a cluster does.
func stopByPid(path string, grace time.Duration) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil || pid < 2 {
		return fmt.Errorf("%s: %q is no pid", path, text)
	}
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err != nil || cwd != filepath.Dir(path) {
		return os.Remove(path) // gone; the number is somebody else's now
	}
	_ = syscall.Kill(-pid, syscall.SIGTERM)
	for end := time.Now().Add(grace); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if syscall.Kill(-pid, 0) != nil {
			return os.Remove(path)
		}
	}
	_ = syscall.Kill(-pid, syscall.SIGKILL)
	return os.Remove(path)
}

// wait polls until ready returns nil, a process ended, or the time is over.
func wait(limit time.Duration, what string, ready func() error, needs ...*process) error {
	var last error
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(30 * time.Millisecond) {
		if last = ready(); last == nil {
			return nil
		}
		for _, p := range needs {
			if err := p.failure(); err != nil {
				return fmt.Errorf("wait for %s: %w", what, err)
			}
		}
	}
	return fmt.Errorf("wait for %s: not after %s: %w", what, limit, last)
}

// exitText says how a program ended.
func exitText(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}
