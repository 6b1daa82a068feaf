package supervise

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"

	"github.com/haldane-project/haldane/internal/lock"
)

// records keeps one small file per running process. A record alone never kills:
// a process is ended only when it carries the record's token in its
// environment, or has the recorded pid, start time and boot.
type records struct {
	dir  string
	lock *os.File
	boot string
}

// record is written before the process starts (without pid) and again after.
type record struct {
	Token string `json:"token"`
	Pid   int    `json:"pid,omitempty"`
	Start uint64 `json:"start,omitempty"` // clock ticks after boot, from /proc/PID/stat
	Boot  string `json:"boot"`
}

func openRecords(dir string) (*records, error) {
	if dir == "" {
		return nil, errors.New("supervise: Options.Dir is required: a directory for the records of running processes")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of process records: %w", err)
	}
	path := filepath.Join(dir, "lock")
	held, err := lock.Open(path)
	switch {
	case errors.Is(err, lock.ErrHeld):
		return nil, fmt.Errorf("locking %s: another Haldane runs its processes from there: stop it or use another directory: %w", path, err)
	case err != nil:
		return nil, fmt.Errorf("opening the lock of process records: %w", err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading the boot id: %w", err), held.Close())
	}
	return &records{dir: dir, lock: held, boot: strings.TrimSpace(string(boot))}, nil
}

func (r *records) close() error { return r.lock.Close() }

func newToken() string { return rand.Text() }

// minToken guards against a token so short that it could mean a stranger.
const minToken = 26

func (r *records) path(token string) string { return filepath.Join(r.dir, token+".json") }

func (r *records) write(rec record) error {
	rec.Boot = r.boot
	b, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("recording a process: %w", err)
	}
	if err := os.WriteFile(r.path(rec.Token), b, 0o600); err != nil {
		return fmt.Errorf("recording a process: %w", err)
	}
	return nil
}

func (r *records) remove(token string) error {
	if err := os.Remove(r.path(token)); err != nil {
		return fmt.Errorf("removing the record of an ended process: %w", err)
	}
	return nil
}

// endLeftovers kills what the records name, removes the records and returns how
// many processes it killed.
func (r *records) endLeftovers() (int, error) {
	files, err := filepath.Glob(filepath.Join(r.dir, "*.json"))
	if err != nil || len(files) == 0 {
		return 0, err
	}
	tokens := map[string]record{}
	for _, f := range files {
		token := strings.TrimSuffix(filepath.Base(f), ".json")
		if len(token) < minToken {
			return 0, fmt.Errorf("%s is no process record: the directory must hold nothing else", f)
		}
		b, err := os.ReadFile(f)
		if err != nil {
			return 0, fmt.Errorf("reading a process record: %w", err)
		}
		var rec record
		// A record that was cut off by a crash still has its token in its name.
		if json.Unmarshal(b, &rec) != nil || rec.Boot != r.boot {
			rec = record{}
		}
		tokens[token] = rec
	}
	ended, err := r.endAll(tokens)
	if err != nil {
		return ended, err
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			return ended, fmt.Errorf("removing the record of an ended process: %w", err)
		}
	}
	return ended, nil
}

// endAll kills until a look at /proc finds nothing more: a process may fork
// while it is being looked at.
func (r *records) endAll(tokens map[string]record) (int, error) {
	ended := 0
	for range 100 {
		found, err := strays(tokens)
		if err != nil || len(found) == 0 {
			return ended, err
		}
		for _, p := range found {
			if err := syscall.Kill(p, syscall.SIGKILL); err == nil {
				ended++
			} else if !errors.Is(err, syscall.ESRCH) {
				return ended, fmt.Errorf("killing process %d, left by an earlier supervisor: %w", p, err)
			}
		}
		time.Sleep(5 * time.Millisecond) // the kernel needs a moment to end them
	}
	return ended, errors.New("killing the processes of an earlier supervisor: they keep coming back after 100 tries")
}

// strays lists the living processes that belong to one of the tokens.
func strays(tokens map[string]record) ([]int, error) {
	starts := map[int]uint64{}
	for _, rec := range tokens {
		if rec.Pid > 0 {
			starts[rec.Pid] = rec.Start
		}
	}
	procs, err := procfs.AllProcs()
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	var found []int
	for _, p := range procs {
		if p.PID == os.Getpid() {
			continue
		}
		stat, err := p.Stat()
		if err != nil || stat.State == "Z" || stat.State == "X" {
			continue // ended meanwhile
		}
		start, known := starts[p.PID]
		if known && stat.Starttime == start {
			found = append(found, p.PID)
			continue
		}
		token := tokenOf(p.PID)
		if _, marked := tokens[token]; marked && token != "" {
			found = append(found, p.PID)
		}
	}
	return found, nil
}

// tokenOf reads the mark of a process; empty: none, or not ours to read.
func tokenOf(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return ""
	}
	for part := range bytes.SplitSeq(b, []byte{0}) {
		if token, ok := bytes.CutPrefix(part, []byte(tokenEnv+"=")); ok {
			return string(token)
		}
	}
	return ""
}
