package supervise

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// supported says that this system has what supervision relies on.
const supported = true

// attributes give a process a group of its own and end it with the thread that
// forked it.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// waitExit returns once the process has ended, and does not reap it.
func waitExit(pid int) {
	for errors.Is(unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
	}
}
