//go:build !linux

package proxy

import "syscall"

// unreceived cannot be told on this system.
func unreceived(syscall.RawConn, int64) bool { return false }
