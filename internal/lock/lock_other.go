//go:build !unix

// Package lock makes one process the owner of a directory, where the system has
// flock; here it only makes the file.
package lock

import "os"

// Open makes the file if need be.
func Open(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
}
