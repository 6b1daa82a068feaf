package proxy

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// unreceived reports whether the peer's kernel has acknowledged nothing beyond
// the first n bytes of a connection: what was written after them reached no
// program. The count of Linux begins with one for the handshake.
func unreceived(raw syscall.RawConn, n int64) bool {
	proven := false
	err := raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		proven = err == nil && info.Bytes_acked <= uint64(n)+1
	})
	return err == nil && proven
}
