package history

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"go.uber.org/goleak"
)

// childDir makes the test binary a writer that is to be killed.
const childDir = "HALDANE_TEST_HISTORY_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		writeUntilKilled(dir)
		return
	}
	// The TSDB leaves one goroutine behind when it fails to open a damaged store.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/prometheus/prometheus/tsdb/wlog.(*WL).run"))
}

// log keeps what a store says.
type log struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.String()
}

func opened(t *testing.T, o Options) (*Store, *log) {
	t.Helper()
	out := &log{}
	o.Log = slog.New(slog.NewTextHandler(out, nil))
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Interval == 0 {
		o.Interval = 100 * time.Millisecond
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s, out
}

// eventually polls: scraping is real time and real sockets.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.After(5 * time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-deadline:
			t.Fatalf("%s: not within five minutes", what)
		case <-tick.C:
		}
	}
}

func value(t *testing.T, s *Store, query string) (float64, bool) {
	t.Helper()
	v, ok, err := s.Value(context.Background(), query, time.Now())
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v, ok
}

func add(t *testing.T, a storage.Appendable, at time.Time, v float64, l ...string) {
	t.Helper()
	app := a.Appender(context.Background())
	if _, err := app.Append(0, labels.FromStrings(l...), at.UnixMilli(), v); err != nil {
		t.Fatal(err)
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
}

func TestValue(t *testing.T) {
	s, _ := opened(t, Options{})
	now := time.Now()
	add(t, s.db, now, 3, "__name__", "q", "version", "a")
	add(t, s.db, now, 5, "__name__", "q", "version", "b")
	if v, ok, err := s.Value(t.Context(), `q{version="b"}`, now); v != 5 || !ok || err != nil {
		t.Errorf("got %v %v %v, want 5", v, ok, err)
	}
	if _, ok, err := s.Value(t.Context(), `q{version="c"}`, now); ok || err != nil {
		t.Errorf("no data is %v %v, want nothing at all", ok, err)
	}
	if _, ok, err := s.Value(t.Context(), `sum(q)`, now.Add(lookback+time.Second)); ok || err != nil {
		t.Errorf("old data is %v %v, want nothing at all", ok, err)
	}
	if _, _, err := s.Value(t.Context(), `q`, now); err == nil || !strings.Contains(err.Error(), "2 series") {
		t.Errorf("two series give error %v", err)
	}
	if _, _, err := s.Value(t.Context(), `q[5s]`, now); err == nil {
		t.Error("a range is no number")
	}
}

func TestOneStoreForEachDirectory(t *testing.T) {
	dir := t.TempDir()
	s, _ := opened(t, Options{Dir: dir})
	add(t, s.db, time.Now(), 1, "__name__", "q")
	if other, err := Open(Options{Dir: dir, Log: slog.New(slog.DiscardHandler)}); err == nil {
		other.Close()
		t.Fatal("two stores share a directory")
	} else if !strings.Contains(err.Error(), "lock") {
		t.Errorf("error %v does not speak of the lock", err)
	}
	if _, err := os.Stat(filepath.Join(dir, aside)); err == nil {
		t.Error("files of a store in use were moved aside")
	}
}

func TestKilledStoreKeepsItsSamples(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var written int64
	lines := bufio.NewScanner(out)
	for lines.Scan() && written < 500 {
		if _, err := fmt.Sscan(lines.Text(), &written); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	s, _ := opened(t, Options{Dir: dir})
	v, ok, err := s.Value(t.Context(), fmt.Sprintf("max_over_time(counted[1h] @ %d)", time.Now().Unix()+1), time.Now())
	if err != nil || !ok || int64(v) < written {
		t.Errorf("after the kill: %v %v %v, want at least the %d that were acknowledged", v, ok, err, written)
	}
	add(t, s.db, time.Now().Add(time.Second), 1, "__name__", "q") // it takes new ones
}

// writeUntilKilled appends samples and tells of each that was committed.
func writeUntilKilled(dir string) {
	s, err := Open(Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		panic(err)
	}
	start := time.Now().Add(-10 * time.Minute).UnixMilli()
	for i := int64(1); ; i++ {
		app := s.db.Appender(context.Background())
		if _, err := app.Append(0, labels.FromStrings("__name__", "counted"), start+i, float64(i)); err != nil {
			panic(err)
		}
		if err := app.Commit(); err != nil {
			panic(err)
		}
		fmt.Println(i)
	}
}

func TestDamagedStoreOpens(t *testing.T) {
	cases := []struct {
		name   string
		damage func(t *testing.T, dir, block string)
		blocks float64 // sum of what is left in blocks, of 1 + 2
		warns  bool
	}{
		{"BlockIndex", func(t *testing.T, dir, block string) { scribble(t, block, "index") }, 2, true},
		{"BlockMeta", func(t *testing.T, dir, block string) { scribble(t, block, "meta.json") }, 2, false},
		{"BlockEmpty", func(t *testing.T, dir, block string) {
			if err := os.Truncate(filepath.Join(block, "index"), 0); err != nil {
				t.Fatal(err)
			}
		}, 2, true},
		{"LogSegment", func(t *testing.T, dir, block string) { scribble(t, dir, "wal/00000000") }, 3, false},
		{"LogIsAFile", func(t *testing.T, dir, block string) {
			if err := os.RemoveAll(filepath.Join(dir, "wal")); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "wal"), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, 3, true},
		{"HeadChunks", func(t *testing.T, dir, block string) {
			if err := os.MkdirAll(filepath.Join(dir, "chunks_head"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "chunks_head", "000001"), []byte(strings.Repeat("rubbish", 99)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, 3, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := damagedBy(t, c.damage)
			s, said := opened(t, Options{Dir: dir})
			at := blockTime.Add(2 * time.Second)
			v, _, err := s.Value(t.Context(), "sum(last_over_time(kept[1m]))", at)
			if err != nil || v != c.blocks {
				t.Errorf("blocks hold %v, want %v (%v)", v, c.blocks, err)
			}
			if warned := strings.Contains(said.String(), "moved aside"); warned != c.warns {
				t.Errorf("warned %v, want %v: %s", warned, c.warns, said)
			}
			now := time.Now()
			add(t, s.db, now, 7, "__name__", "fresh")
			if v, ok, err := s.Value(t.Context(), "fresh", now); v != 7 || !ok || err != nil {
				t.Errorf("a new sample is %v %v %v", v, ok, err)
			}
		})
	}
}

// blockTime is when the samples of the test's blocks were.
var blockTime = time.Now().Add(-6 * time.Hour).Truncate(time.Second)

// damagedBy makes a store with two blocks and a log, and damages it.
func damagedBy(t *testing.T, damage func(t *testing.T, dir, block string)) string {
	t.Helper()
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		add(t, s.db, time.Now().Add(time.Duration(i)*time.Millisecond), 1, "__name__", "logged")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var first string
	for i := range 2 {
		series := storage.NewListSeries(labels.FromStrings("__name__", "kept", "n", fmt.Sprint(i)),
			[]chunks.Sample{sample{blockTime.UnixMilli(), float64(i + 1)}})
		block, err := tsdb.CreateBlock([]storage.Series{series}, dir, 0, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = block
		}
	}
	damage(t, dir, first)
	return dir
}

// sample is a float sample.
type sample struct {
	t int64
	f float64
}

func (s sample) T() int64                      { return s.t }
func (s sample) ST() int64                     { return 0 }
func (s sample) F() float64                    { return s.f }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }

// scribble writes rubbish over the middle of a file.
func scribble(t *testing.T, dir, name string) {
	t.Helper()
	path := filepath.Join(dir, name)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := len(b) / 4; i < len(b)*3/4; i++ {
		b[i] ^= 0x5a
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOwnMetricsAreKept(t *testing.T) {
	reg := prometheus.NewRegistry()
	count := prometheus.NewCounter(prometheus.CounterOpts{Name: "haldane_things_total", Help: "Things."})
	reg.MustRegister(count)
	count.Add(3)
	s, _ := opened(t, Options{Own: reg})
	eventually(t, "own metrics", func() bool {
		v, ok := value(t, s, `haldane_things_total{job="haldane",instance="haldane"}`)
		return ok && v == 3
	})
	reg.Unregister(count)
	eventually(t, "a series that ended is no data", func() bool {
		_, ok := value(t, s, `haldane_things_total`)
		return !ok
	})
}
