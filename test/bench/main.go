// Command bench compares Haldane's proxy with nginx and HAProxy in the same
// run: the same backend, the same keep-alive settings, one worker each. It
// prints requests a second, CPU time for each request (the figure that a busy
// machine disturbs least), added latency at a fixed rate, and the memory that
// idle connections cost. Peers that are not installed are named as skipped.
//
// Read this file first, then contender.go (how each proxy is started) and
// measure.go (what is measured).
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

type settings struct {
	seconds int
	clients int
	rate    float64
	idle    int
	only    string
	flips   int
	flipped float64
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "serve" { // this program as a child
		child(os.Args[2:])
		return
	}
	var s settings
	flag.IntVar(&s.seconds, "seconds", 5, "length of each measurement")
	flag.IntVar(&s.clients, "clients", 50, "connections of the full-speed measurement")
	flag.Float64Var(&s.rate, "rate", 2000, "requests a second of the latency measurement")
	flag.IntVar(&s.idle, "idle", 10_000, "idle connections of the memory measurement")
	flag.StringVar(&s.only, "only", "", "measure this contender alone: direct, haldane, nginx or haproxy")
	flag.IntVar(&s.flips, "changes", 200, "changes of the decision measurement")
	flag.Float64Var(&s.flipped, "changes-rate", 5000, "requests a second of the decision measurement")
	flag.Parse()
	if err := run(s); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(s settings) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	back, err := startSelf(ctx, "backend")
	if err != nil {
		return err
	}
	defer back.stop()
	fmt.Printf("%-8s %10s %12s %14s %10s %10s %12s\n", "", "req/s", "CPU us/req", "req/s per core", "p50", "p99", "KiB/idle conn")
	for _, c := range contenders {
		if s.only != "" && s.only != c.name {
			continue
		}
		if err := c.measure(ctx, s, dir, back); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return decision(ctx, s.flipped, s.flips)
}

// measure starts a contender, measures it and prints its line.
func (c contender) measure(ctx context.Context, s settings, dir string, back *server) error {
	srv, missing, err := c.start(ctx, dir, back)
	if err != nil {
		return err
	}
	if missing != "" {
		fmt.Printf("%-8s skipped: %s is not installed\n", c.name, missing)
		return nil
	}
	defer srv.stop()
	if _, err := fullSpeed(ctx, srv, s.clients, time.Second); err != nil { // warm
		return err
	}
	full, err := fullSpeed(ctx, srv, s.clients, time.Duration(s.seconds)*time.Second)
	if err != nil {
		return err
	}
	fixed, err := fixedRate(ctx, srv, s.rate, time.Duration(s.seconds)*time.Second)
	if err != nil {
		return err
	}
	perCore, memory := "-", "-"
	if c.name != "direct" {
		perCore = fmt.Sprintf("%.0f", 1e6/full.cpu)
		kib, err := idleMemory(srv, s.idle)
		if err != nil {
			return err
		}
		memory = fmt.Sprintf("%.1f", kib)
	}
	fmt.Printf("%-8s %10.0f %12.1f %14s %10s %10s %12s\n", c.name, full.rate, full.cpu, perCore,
		fixed.P50.Round(time.Microsecond), fixed.P99.Round(time.Microsecond), memory)
	return nil
}
