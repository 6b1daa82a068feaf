// Package load sends HTTP requests at a constant rate, whatever the answers
// do: the clock decides when a request is due, so a slow server meets the same
// load as a fast one, and latency counts from the due moment (no coordinated
// omission). It knows no release; the demo and `haldane load` use it.
//
// Read this file first, then report.go.
package load

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// Options say what is sent.
type Options struct {
	URL      string
	Method   string        // default GET
	Header   http.Header   // sent with every request
	Body     []byte        // sent with every request
	Rate     float64       // requests a second
	Duration time.Duration // zero: until Requests or the context end it
	Requests int64         // zero: no bound
	InFlight int           // most requests at once; a due request waits for a place. Default 512
	Timeout  time.Duration // of one request. Default 10s
	// UserHeader is sent with one of Users values ("user-17") in turn, for
	// releases that recognise users by a header. Empty: not sent.
	UserHeader string
	Users      int
	// VersionHeader is an answer's header by whose value answers are counted.
	VersionHeader string
	// Transport sends requests. Default: one of its own with enough idle connections.
	Transport http.RoundTripper
	// Each, when set, is called after every request, from many goroutines.
	Each func(Shot)
}

// Shot is the fate of one request.
type Shot struct {
	Due     time.Time
	Latency time.Duration // from Due to the last byte of the answer
	Status  int           // 0: no answer
	Version string        // by Options.VersionHeader
	Err     error         // why there was no whole answer
}

// Failed reports whether the user saw an error: no whole answer, or a 5xx.
func (s Shot) Failed() bool { return s.Err != nil || s.Status >= 500 }

// Generator is one load. Make it with New, run it once.
type Generator struct {
	opt    Options
	client *http.Client
	record recorder
}

// New checks the options.
func New(opt Options) (*Generator, error) {
	u, err := url.Parse(opt.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("load: the address %q is not an http or https URL such as http://127.0.0.1:8080/hello", opt.URL)
	}
	if !(opt.Rate > 0 && opt.Rate <= 100_000) {
		return nil, fmt.Errorf("load: the rate is %g requests a second, expected more than 0 and at most 100000", opt.Rate)
	}
	if opt.UserHeader != "" && opt.Users < 1 {
		return nil, fmt.Errorf("load: the user header %s needs a number of users of at least 1", opt.UserHeader)
	}
	if opt.Method == "" {
		opt.Method = http.MethodGet
	}
	if opt.InFlight <= 0 {
		opt.InFlight = 512
	}
	if opt.Timeout <= 0 {
		opt.Timeout = 10 * time.Second
	}
	if opt.Transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.Proxy = nil
		t.MaxIdleConns, t.MaxIdleConnsPerHost = opt.InFlight, opt.InFlight
		t.DisableCompression = true
		opt.Transport = t
	}
	g := &Generator{opt: opt}
	g.client = &http.Client{
		Transport:     opt.Transport,
		Timeout:       opt.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return g, nil
}

// Run sends until the duration, the number of requests or ctx ends, then waits
// for the answers that are still out. The end of ctx is not an error: no
// request is cut short by it.
func (g *Generator) Run(ctx context.Context) Report {
	start := time.Now()
	g.record.begin(start)
	every := time.Duration(float64(time.Second) / g.opt.Rate)
	places := make(chan struct{}, g.opt.InFlight)
	var out sync.WaitGroup
	for i := int64(0); g.opt.Requests == 0 || i < g.opt.Requests; i++ {
		offset := time.Duration(float64(i) / g.opt.Rate * float64(time.Second))
		if g.opt.Duration > 0 && offset >= g.opt.Duration {
			break
		}
		due := start.Add(offset)
		if !waitUntil(ctx, due, every) {
			break
		}
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		out.Go(func() {
			g.shoot(context.WithoutCancel(ctx), i, due)
			<-places
		})
	}
	out.Wait()
	g.record.finish(time.Now())
	g.client.CloseIdleConnections()
	return g.Report()
}

// waitUntil sleeps until due and reports whether ctx still lives. Waits far
// below a millisecond are not worth a timer: requests then go in small groups.
func waitUntil(ctx context.Context, due time.Time, every time.Duration) bool {
	wait := time.Until(due)
	if wait <= 0 || (every < 200*time.Microsecond && wait < 200*time.Microsecond) {
		return ctx.Err() == nil
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (g *Generator) shoot(ctx context.Context, i int64, due time.Time) {
	s := Shot{Due: due}
	s.Status, s.Version, s.Err = g.ask(ctx, i)
	s.Latency = time.Since(due)
	g.record.add(s)
	if g.opt.Each != nil {
		g.opt.Each(s)
	}
}

// ask sends one request and reads its whole answer.
func (g *Generator) ask(ctx context.Context, i int64) (status int, version string, err error) {
	var body io.Reader
	if len(g.opt.Body) > 0 {
		body = bytes.NewReader(g.opt.Body)
	}
	req, err := http.NewRequestWithContext(ctx, g.opt.Method, g.opt.URL, body)
	if err != nil {
		return 0, "", err
	}
	for k, v := range g.opt.Header {
		req.Header[k] = v
	}
	if g.opt.UserHeader != "" {
		req.Header.Set(g.opt.UserHeader, "user-"+strconv.FormatInt(i%int64(g.opt.Users), 10))
	}
	res, err := g.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	if g.opt.VersionHeader != "" {
		version = res.Header.Get(g.opt.VersionHeader)
	}
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, version, err
}

// Report is what has happened until now; it may be asked at any moment.
func (g *Generator) Report() Report { return g.record.report() }
