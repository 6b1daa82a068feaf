// Package loopback gives tests addresses for programs that they start and that can
// not say which port they were given. It knows nothing of Haldane.
package loopback

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// Free returns an address of 127.0.0.1 that was free a moment ago. Its port is none
// that the system gives to who asks for any, which it might do until the program
// listens (on Linux those are 32768 and up).
func Free() (string, error) {
	var errs error
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 12000+rand.IntN(20000))) //nolint:gosec // a port is no secret
		if err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		address := l.Addr().String()
		return address, l.Close()
	}
	return "", fmt.Errorf("find a free port: %w", errs)
}
