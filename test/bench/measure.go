package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/haldane-project/haldane/internal/load"
)

// speed is a full-speed measurement.
type speed struct {
	rate float64 // requests a second
	cpu  float64 // microseconds of the server's CPU time for each request
}

var get = []byte("GET /hello HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")

// fullSpeed keeps every connection busy: each sends its next request as soon
// as the answer is whole.
func fullSpeed(ctx context.Context, s *server, clients int, d time.Duration) (speed, error) {
	var n atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	before, start := cpuTime(s.pids()), time.Now()
	for range clients {
		wg.Go(func() {
			if err := client(ctx, s.address, end, &n); err != nil {
				failed.Store(&err)
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return speed{}, *err
	}
	took, cpu := time.Since(start), cpuTime(s.pids())-before
	count := float64(n.Load())
	return speed{rate: count / took.Seconds(), cpu: cpu.Seconds() * 1e6 / count}, nil
}

func client(ctx context.Context, address string, end time.Time, n *atomic.Int64) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	r := bufio.NewReader(c)
	for time.Now().Before(end) && ctx.Err() == nil {
		if _, err := c.Write(get); err != nil {
			return err
		}
		if err := readAnswer(r); err != nil {
			return err
		}
		n.Add(1)
	}
	return nil
}

// readAnswer reads one answer with a Content-Length and expects status 200.
func readAnswer(r *bufio.Reader) error {
	length := -1
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
			return fmt.Errorf("answer %q: expected status 200", line)
		}
		if len(line) <= 2 {
			break
		}
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && bytes.EqualFold(name, []byte("Content-Length")) {
			length, err = strconv.Atoi(string(bytes.TrimSpace(value)))
			if err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return fmt.Errorf("an answer without Content-Length")
	}
	_, err := r.Discard(length)
	return err
}

// fixedRate measures latency from the due moment of each request.
func fixedRate(ctx context.Context, s *server, rate float64, d time.Duration) (load.Report, error) {
	g, err := load.New(load.Options{URL: "http://" + s.address + "/hello", Rate: rate, Duration: d})
	if err != nil {
		return load.Report{}, err
	}
	r := g.Run(ctx)
	if r.Failed > 0 {
		return r, fmt.Errorf("%d of %d requests failed: %v", r.Failed, r.Requests, r.ByCause)
	}
	return r, nil
}

// idleMemory opens n connections, sends one request on each, and returns how
// much larger the server is for each of them, in KiB.
func idleMemory(s *server, n int) (float64, error) {
	before, err := memory(s.pids())
	if err != nil {
		return 0, err
	}
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for range n {
		c, err := net.Dial("tcp", s.address)
		if err != nil {
			return 0, fmt.Errorf("open idle connection %d: %w", len(open), err)
		}
		open = append(open, c)
		if _, err := c.Write(get); err != nil {
			return 0, err
		}
		if err := readAnswer(bufio.NewReader(c)); err != nil {
			return 0, err
		}
	}
	time.Sleep(5 * time.Second) // pools to the backend close
	after, err := memory(s.pids())
	return float64(after-before) / 1024 / float64(n), err
}

// memory is the resident memory of the processes in bytes.
func memory(pids []int) (int64, error) {
	var sum int64
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if err != nil {
			return 0, err
		}
		pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += pages * int64(os.Getpagesize())
	}
	return sum, nil
}

// cpuTime is the CPU time that the processes have used.
func cpuTime(pids []int) time.Duration {
	var sum time.Duration
	for _, pid := range pids {
		sum += threadsTime(pid)
	}
	return sum
}

// threadsTime sums the nanoseconds on a CPU over a process's threads.
func threadsTime(pid int) time.Duration {
	dir := fmt.Sprintf("/proc/%d/task", pid)
	tasks, _ := os.ReadDir(dir) // a process that ended has used no more
	var sum time.Duration
	for _, t := range tasks {
		f, err := os.Open(dir + "/" + t.Name() + "/schedstat")
		if err != nil {
			continue
		}
		b, _ := io.ReadAll(f)
		f.Close()
		if ns, err := strconv.ParseInt(strings.Fields(string(b) + " 0")[0], 10, 64); err == nil {
			sum += time.Duration(ns)
		}
	}
	return sum
}
