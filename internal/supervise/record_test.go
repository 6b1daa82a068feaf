package supervise

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// stranger is a process that no supervisor started.
func stranger(t *testing.T) (pid int, start uint64) {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	stat, err := procStat(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, stat.Starttime
}

func living(t *testing.T, pid int) bool {
	t.Helper()
	stat, err := procStat(pid)
	return err == nil && stat.State != "Z"
}

func TestRecordsEndOnlyWhatTheyMean(t *testing.T) {
	dir := t.TempDir()
	rec, err := openRecords(dir)
	if err != nil {
		t.Fatal(err)
	}
	reused, start := stranger(t)
	meant, meantStart := stranger(t)
	for _, r := range []record{
		{Token: newToken(), Pid: reused, Start: start - 1}, // the pid means another process by now
		{Token: newToken(), Pid: meant, Start: meantStart},
		{Token: newToken()}, // no process was started
	} {
		if err := rec.write(r); err != nil {
			t.Fatal(err)
		}
	}
	torn := filepath.Join(dir, newToken()+".json")
	if err := os.WriteFile(torn, []byte(`{"token":`), 0o600); err != nil {
		t.Fatal(err)
	}
	ended, err := rec.endLeftovers()
	if err != nil || ended != 1 {
		t.Errorf("ended %d, %v: want the one that is meant", ended, err)
	}
	if !living(t, reused) || living(t, meant) {
		t.Errorf("stranger alive %v, leftover alive %v: want true, false", living(t, reused), living(t, meant))
	}
	if err := rec.close(); err != nil {
		t.Fatal(err)
	}
}

func TestRecordOfAnotherBootMeansNobody(t *testing.T) {
	rec, err := openRecords(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pid, start := stranger(t)
	boot := rec.boot
	rec.boot = "before"
	if err := rec.write(record{Token: newToken(), Pid: pid, Start: start}); err != nil {
		t.Fatal(err)
	}
	rec.boot = boot
	if ended, err := rec.endLeftovers(); err != nil || ended != 0 || !living(t, pid) {
		t.Errorf("ended %d, %v, alive %v: want nothing ended", ended, err, living(t, pid))
	}
	if err := rec.close(); err != nil {
		t.Fatal(err)
	}
}

func TestAStrangeFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := New(Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "is no process record") {
		t.Errorf("error %v, want that the file is no record", err)
	}
}

func TestPortsAreFreeAndHandedOutOnce(t *testing.T) {
	p := newPorts()
	seen := map[int]bool{}
	for range 50 {
		port, err := p.take()
		if err != nil {
			t.Fatal(err)
		}
		if seen[port] {
			t.Errorf("port %d was handed out twice", port)
		}
		seen[port] = true
	}
	p.low, p.end = 0, 0 // where every port may be taken by outgoing connections
	if port, err := p.take(); err != nil || seen[port] {
		t.Errorf("port %d, %v: want another free port", port, err)
	}
}

func TestQuietWaitsForTheLastRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		inFlight := func(string) int64 {
			if time.Since(begin) < time.Second {
				return 1
			}
			return 0
		}
		if err := Quiet(inFlight, 250*time.Millisecond)(t.Context(), "x"); err != nil || time.Since(begin) < 1200*time.Millisecond {
			t.Errorf("%v after %v, want 250 ms after the last request at 1 s", err, time.Since(begin))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := Quiet(func(string) int64 { return 3 }, time.Millisecond)(ctx, "x")
		if err == nil || !strings.Contains(err.Error(), "waiting for 3 requests at x") {
			t.Errorf("error %v, want what was waited for", err)
		}
	})
}
