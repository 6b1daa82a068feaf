package sqlite

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/haldane-project/haldane/internal/store"
	"github.com/haldane-project/haldane/internal/store/storetest"
)

// smallDisk mounts a file system of its own with the given size.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("mounting a small file system needs root and its permission: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// On a full disk writes fail with a reason and leave nothing behind, reads go
// on, and all is well again when there is room.
func TestFullDisk(t *testing.T) {
	dir := smallDisk(t, "2m")
	data := filepath.Join(dir, "data")
	s, err := Open(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	fill(t, s, 5)
	ballast := filepath.Join(dir, "ballast")
	fillDisk(t, ballast)

	revision, saved, failed := int64(0), 4, error(nil)
	for i := 5; failed == nil && i < 2000; i++ {
		r, err := s.Get(t.Context(), "hello")
		if err != nil {
			t.Fatalf("read on a full disk: %v", err)
		}
		revision = r.Revision
		if _, failed = s.Save(t.Context(), lookSave(r.Revision, i)); failed == nil {
			saved = i
		}
	}
	if failed == nil || !strings.Contains(failed.Error(), "nothing was written") {
		t.Fatalf("save on a full disk: %v", failed)
	}
	t.Logf("after %d saves: %v", saved, failed)
	checkUnchanged(t, s, revision, saved)
	if _, err := s.Apply(t.Context(), "other", []byte(`{"a":"`+strings.Repeat("x", 100_000)+`"}`), store.Actor{}, storetest.Epoch); err == nil {
		t.Error("apply on a full disk succeeded")
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	r, err := s.Get(t.Context(), "hello")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Save(t.Context(), lookSave(r.Revision, 9999)); err != nil {
		t.Fatalf("save when there is room again: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, data)
	looks, err := s.Looks(t.Context(), "hello-1", 0)
	if err != nil || looks[len(looks)-1].Step != 9999 {
		t.Errorf("after a restart: %d looks, %v", len(looks), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// fillDisk writes until nothing more fits.
func fillDisk(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name) //nolint:gosec // a test's own file
	if err != nil {
		t.Fatal(err)
	}
	for block := make([]byte, 4096); ; {
		if _, err := f.Write(block); err != nil {
			break
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func checkUnchanged(t *testing.T, s *Store, revision int64, saved int) {
	t.Helper()
	r, err := s.Get(t.Context(), "hello")
	if err != nil {
		t.Fatal(err)
	}
	if r.Revision != revision || r.Look.Step != saved {
		t.Errorf("revision %d with look %d; want %d with %d", r.Revision, r.Look.Step, revision, saved)
	}
	events, err := s.Events(t.Context(), "hello", 0, 1)
	if err != nil || events[0].Message != fmt.Sprint(saved) {
		t.Errorf("newest event %v, %v; want %d", events, err, saved)
	}
	looks, err := s.Looks(t.Context(), "hello-1", 1)
	if err != nil || looks[0].Step != saved {
		t.Errorf("newest look %v, %v; want %d", looks, err, saved)
	}
}
