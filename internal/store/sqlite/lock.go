package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/haldane-project/haldane/internal/lock"
)

// lockDir makes sure that one process has the directory: two that decide for
// the same releases would undo each other.
func lockDir(dir string) (*os.File, error) {
	f, err := lock.Open(filepath.Join(dir, "haldane.lock"))
	switch {
	case errors.Is(err, lock.ErrHeld):
		return nil, fmt.Errorf("the data directory %s is in use by another haldane; stop that one or name another with --data: %w", dir, err)
	case err != nil:
		return nil, fmt.Errorf("open the data directory: %w", err)
	}
	return f, nil
}
