// Package loopback gives tests addresses for programs that they start and that can
// not say which port they were given. It knows nothing of Haldane.
package loopback

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// given marks the ports that were given out, for other test programs too: a socket of
// UDP, which takes none of TCP's, is bound to each until this program ends.
var given struct {
	sync.Mutex
	marks []net.PacketConn
}

// Free returns an address of 127.0.0.1 that was free a moment ago and that no other
// call gives, of whatever test program, while this one runs. Its port is none that
// the system gives to who asks for any, which it might do until the program listens
// (on Linux those are 32768 and up), and none of the ten thousand below those, of
// which a supervisor takes its processes' ports.
func Free() (string, error) {
	var errs error
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 12000+rand.IntN(10000)) //nolint:gosec // a port is no secret
		if err := take(address); err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		return address, nil
	}
	return "", fmt.Errorf("find a free port: %w", errs)
}

// take marks an address as given out where nobody has it.
func take(address string) error {
	mark, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return errors.Join(err, mark.Close())
	}
	given.Lock()
	given.marks = append(given.marks, mark)
	given.Unlock()
	return l.Close()
}
