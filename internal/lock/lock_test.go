package lock_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/haldane-project/haldane/internal/lock"
)

func TestOneOwnerAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := lock.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Open(path); !errors.Is(err, lock.ErrHeld) {
		t.Errorf("a second owner got %v, expected ErrHeld", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := lock.Open(path)
	if err != nil {
		t.Fatalf("after the owner closed it: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}
