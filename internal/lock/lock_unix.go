//go:build unix

// Package lock makes one process the owner of a directory. The kernel frees the
// lock when the process ends, however it ends. It knows nothing of what lies in
// the directory. This file is all of it where the system has flock.
package lock

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// patience is how long a lock may outlive its process: a child that was being
// started when it was killed holds it until it runs its own program.
const patience = 2 * time.Second

// Open makes the file if need be and locks it until it is closed. It waits a
// moment for a lock that outlives its process; ErrHeld: another process has it.
func Open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the path is the operator's
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) //nolint:gosec // a descriptor fits an int
		switch {
		case err == nil:
			return f, nil
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		case time.Now().After(end):
			return nil, errors.Join(ErrHeld, f.Close())
		}
	}
}
