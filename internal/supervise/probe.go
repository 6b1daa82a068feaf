package supervise

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// Probe says when something is ready. Without HTTP a TCP connection is enough.
type Probe struct {
	HTTP     string        // path; ready when it answers 200 to 399
	Interval time.Duration // between probes of what is ready; default 2 s
	Timeout  time.Duration // of one probe; default 1 s
	Deadline time.Duration // longest time until first ready; default 60 s
}

func (p Probe) withDefaults() Probe {
	p.Interval = orDefault(p.Interval, 2*time.Second)
	p.Timeout = orDefault(p.Timeout, time.Second)
	p.Deadline = orDefault(p.Deadline, time.Minute)
	return p
}

// What is not ready is probed after 10 ms, then ever more slowly.
const (
	firstDelay = 10 * time.Millisecond
	slowDelay  = 250 * time.Millisecond
)

// Check probes scheme://host:port once; schemes are http, https and h2c.
func (p Probe) Check(ctx context.Context, base string) error {
	p = p.withDefaults()
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	if p.HTTP != "" {
		status, err := ask(ctx, base, WarmUp{Path: p.HTTP})
		if err == nil && (status < 200 || status > 399) {
			err = fmt.Errorf("GET %s%s answered %d: expected 200 to 399", base, p.HTTP, status)
		}
		return err
	}
	_, address, _ := strings.Cut(base, "://")
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", address, plain(err))
	}
	return conn.Close()
}

// plain is the reason below the addresses that package net adds: they stand in
// the message already, and a changing source port would look like news.
func plain(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// Watch probes scheme://host:port until ctx ends and calls report, one call at
// a time, whenever readiness or its reason changes: nil is ready. Before it is
// ready for the first time it is warmed up. Two failures in a row make unready
// what was ready, three where the last was a time-out: a busy machine is slow. What is not ready is probed after 10 ms at first, every 250 ms
// until the deadline, then at the interval.
func Watch(ctx context.Context, base string, p Probe, w WarmUp, report func(error)) {
	done := 0
	check := func(ctx context.Context) error {
		if err := p.Check(ctx, base); err != nil {
			return err
		}
		for ; done < w.Requests; done++ {
			if err := w.send(ctx, base, p.withDefaults().Deadline); err != nil {
				return fmt.Errorf("warm-up request %d of %d: %w", done+1, w.Requests, err)
			}
		}
		return nil
	}
	p.withDefaults().watch(ctx, check, report)
}

func (p Probe) watch(ctx context.Context, check func(context.Context) error, report func(error)) {
	var (
		ready bool
		doubt int // failures in a row since it was ready
		said  string
		delay = firstDelay
		begin = time.Now()
	)
	for {
		err := check(ctx)
		if ctx.Err() != nil {
			return
		}
		switch {
		case err == nil:
			if !ready {
				report(nil)
			}
			ready, doubt, said, delay = true, 0, "", p.Interval
		case ready && doubt < tolerated(err):
			doubt, delay = doubt+1, firstDelay
		default:
			if ready {
				begin = time.Now()
			}
			if text := err.Error(); ready || text != said {
				said = text
				report(err)
			}
			ready, doubt, delay = false, 0, p.slower(delay, time.Since(begin))
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return
		}
	}
}

// send sends one request of a warm-up and reads the answer. Any answer to a GET will
// do; a body that is refused has warmed nothing.
func (w WarmUp) send(ctx context.Context, base string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if w.err != nil {
		return w.err
	}
	status, err := ask(ctx, base, w)
	if err == nil && w.Body != "" && (status < 200 || status > 299) {
		return fmt.Errorf("POST %s%s answered %d: expected 200 to 299", base, w.Path, status)
	}
	return err
}

// tolerated is how many failures before this one leave what was ready ready.
func tolerated(err error) int {
	if errors.Is(err, context.DeadlineExceeded) {
		return 2
	}
	return 1
}

func (p Probe) slower(delay, since time.Duration) time.Duration {
	if since > p.Deadline {
		return max(p.Interval, slowDelay)
	}
	return min(delay*3/2, slowDelay)
}

// maxProbeBody is what is read of an answer, so that the peer can finish it.
const maxProbeBody = 64 << 10

// ask sends one request on a connection of its own and returns the status: a GET,
// or the POST of a body in JSON.
func ask(ctx context.Context, base string, w WarmUp) (int, error) {
	scheme, address, _ := strings.Cut(base, "://")
	transport := &http.Transport{
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		Protocols:              new(http.Protocols),
	}
	defer transport.CloseIdleConnections()
	transport.Protocols.SetHTTP1(scheme != "h2c")
	transport.Protocols.SetUnencryptedHTTP2(scheme == "h2c")
	transport.Protocols.SetHTTP2(scheme == "https")
	if scheme == "h2c" {
		scheme = "http"
	}
	url := scheme + "://" + address + "/" + strings.TrimPrefix(w.Path, "/")
	method := http.MethodGet
	if w.Body != "" {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(w.Body))
	if err != nil {
		return 0, fmt.Errorf("making a request for %s: %w", url, err)
	}
	if w.Body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("User-Agent", "haldane-probe")
	for _, h := range w.Set {
		if h.Name == "Host" {
			req.Host = h.Value
			continue
		}
		req.Header[h.Name] = []string{h.Value}
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, fmt.Errorf("%s %s: %w", method, url, plain(err))
	}
	defer resp.Body.Close()
	// The status has been given; how the body ends does not matter.
	_, _ = io.CopyN(io.Discard, resp.Body, maxProbeBody)
	return resp.StatusCode, nil
}
