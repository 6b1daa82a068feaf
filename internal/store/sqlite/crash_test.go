package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
	"github.com/haldane-project/haldane/internal/store/storetest"
)

const crashDir = "HALDANE_TEST_CRASH_DIR"

// TestMain lets the test binary be the process that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		fmt.Fprintln(os.Stderr, writeForEver(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// writeForEver saves as fast as it can and prints each number once its save
// was acknowledged. Every save writes the same number to three places.
func writeForEver(dir string) error {
	ctx := context.Background()
	s, err := Open(ctx, dir)
	if err != nil {
		return err
	}
	r, err := s.Apply(ctx, "hello", []byte(`{}`), store.Actor{Subject: "test"}, storetest.Epoch)
	if err != nil {
		return err
	}
	for {
		n := r.State.RunSeq + 1
		r.State.RunSeq = n
		r.Revision, err = s.Save(ctx, store.Save{Name: "hello", Revision: r.Revision, State: r.State, Cursor: []byte(strconv.FormatInt(n, 10)),
			Events: []rollout.Event{{At: storetest.Epoch, Reason: "Count", Message: strconv.FormatInt(n, 10)}},
			Audit:  []store.Audit{{At: storetest.Epoch, Action: "count", Detail: strconv.FormatInt(n, 10)}}})
		if err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// killWriter starts the writer, kills it after some acknowledged saves and a
// moment more, and returns the last number that was acknowledged.
func killWriter(t *testing.T, dir string, rng *rand.Rand) int64 {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	last, after := int64(0), 1+rng.IntN(30)
	for read := 0; lines.Scan(); read++ {
		n, err := strconv.ParseInt(lines.Text(), 10, 64)
		if err != nil {
			break // a line that was cut by the kill acknowledges nothing
		}
		last = n
		if read == after {
			// The moment is random within a save, so the kill must not wait for a line.
			time.AfterFunc(time.Duration(rng.IntN(3000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
		}
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Exited() {
		t.Fatalf("the writer ended by itself: %v", err)
	}
	if last == 0 {
		t.Fatal("the writer acknowledged nothing")
	}
	return last
}

// A process that is killed at any moment loses nothing that it acknowledged and
// leaves nothing half-written. HALDANE_CRASH_ROUNDS sets the number of rounds.
func TestKillLosesNothing(t *testing.T) {
	rounds := 20
	if text := os.Getenv("HALDANE_CRASH_ROUNDS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("HALDANE_CRASH_ROUNDS=%s: %v", text, err)
		}
		rounds = n
	}
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // any bits will do
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // not a secret
	dir := t.TempDir()
	for round := range rounds {
		acknowledged := killWriter(t, dir, rng)
		checkWhole(t, dir, round, acknowledged)
	}
}

// checkWhole opens what a killed writer left: at least what it acknowledged, at
// most one save more, and the same in all places.
func checkWhole(t *testing.T, dir string, round int, acknowledged int64) {
	t.Helper()
	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatalf("round %d: %v", round, err)
	}
	defer func() { _ = s.Close() }()
	r, err := s.Get(t.Context(), "hello")
	if err != nil {
		t.Fatal(err)
	}
	events, err := s.Events(t.Context(), "hello", 0, 1)
	if err != nil || len(events) != 1 {
		t.Fatalf("round %d: events %v, %v", round, events, err)
	}
	trail, err := s.AuditTrail(t.Context(), 1)
	if err != nil || len(trail) != 1 {
		t.Fatalf("round %d: audit %v, %v", round, trail, err)
	}
	n := r.State.RunSeq
	text := strconv.FormatInt(n, 10)
	if n < acknowledged || n > acknowledged+1 {
		t.Errorf("round %d: %d was acknowledged, %d is there", round, acknowledged, n)
	}
	if string(r.Cursor) != text || events[0].Message != text || trail[0].Detail != text {
		t.Errorf("round %d: half-written: state %d, cursor %s, event %s, audit %s", round, n, r.Cursor, events[0].Message, trail[0].Detail)
	}
}
