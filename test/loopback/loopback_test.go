package loopback

import (
	"net"
	"testing"
)

func TestFree(t *testing.T) {
	address, err := Free()
	if err != nil {
		t.Fatal(err)
	}
	if err := take(address); err == nil {
		t.Errorf("%s is given twice", address)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if port := l.Addr().(*net.TCPAddr).Port; port >= 22768 {
		t.Errorf("port %d is of those that the system or a supervisor gives away", port)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}
