//go:build unix && !linux

package supervise

import "syscall"

// supported says that this system lacks /proc, pidfds and the parent-death
// signal: New refuses.
const supported = false

func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func waitExit(int) {}
