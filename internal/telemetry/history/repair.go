package history

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/tsdb"
)

// aside is where damaged parts of the store are moved to. What was moved there
// at an earlier start is deleted first.
const aside = "damaged"

// open opens the store, and takes away what keeps it from opening: first the
// blocks that cannot be read, then the chunks that the log holds as well, then
// the log, then everything. (The TSDB itself cuts a log at its first damaged
// record, and skips a block without a readable meta.json.)
func open(o Options) (*tsdb.DB, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	try := func() (*tsdb.DB, error) {
		return tsdb.Open(o.Dir, quiet(o.Log), nil, o.storage(), nil)
	}
	db, err := try()
	if err != nil && mendable(err) {
		if old := os.RemoveAll(filepath.Join(o.Dir, aside)); old != nil {
			return nil, errors.Join(err, old)
		}
	}
	for _, damaged := range []func(string) []string{unreadable, mapped, logs, everything} {
		if err == nil || !mendable(err) {
			return db, err
		}
		names := damaged(o.Dir)
		if len(names) == 0 {
			continue
		}
		if moved := setAside(o.Dir, names); moved != nil {
			return nil, errors.Join(err, moved)
		}
		o.Log.Warn("the metrics history was damaged; the damaged part was moved aside, the rest is kept",
			"parts", strings.Join(names, ", "), "to", filepath.Join(o.Dir, aside), "cause", err.Error())
		db, err = try()
	}
	return db, err
}

// mendable reports whether an error can be due to damaged files, rather than
// to the directory or to another process that uses it.
func mendable(err error) bool {
	for _, other := range []error{fs.ErrPermission, syscall.ENOSPC, syscall.EROFS, syscall.EMFILE, syscall.ENOMEM} {
		if errors.Is(err, other) {
			return false
		}
	}
	return !strings.Contains(err.Error(), "lock DB directory")
}

// unreadable lists the blocks that cannot be opened.
func unreadable(dir string) []string {
	var out []string
	for _, name := range everything(dir) {
		if _, err := ulid.ParseStrict(name); err != nil {
			continue
		}
		b, err := tsdb.OpenBlock(slog.New(slog.DiscardHandler), filepath.Join(dir, name), nil, nil)
		if err == nil {
			err = b.Close()
		}
		if err != nil {
			out = append(out, name)
		}
	}
	return out
}

// mapped lists the chunks that were written out of memory.
func mapped(dir string) []string { return existing(dir, "chunks_head") }

// logs lists what holds the samples that are in no block yet.
func logs(dir string) []string { return existing(dir, "wal", "wbl", "chunks_head") }

func existing(dir string, names ...string) []string {
	var out []string
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			out = append(out, name)
		}
	}
	return out
}

func everything(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if e.Name() != aside && e.Name() != "lock" {
			out = append(out, e.Name())
		}
	}
	return out
}

// setAside moves parts of the store away.
func setAside(dir string, names []string) error {
	to := filepath.Join(dir, aside)
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for _, name := range names {
		if err := os.RemoveAll(filepath.Join(to, name)); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(dir, name), filepath.Join(to, name)); err != nil {
			return err
		}
	}
	return nil
}
