package proxy

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// pool holds what is kept of one version from table to table: its instances
// with their connections, and the count of what is inside.
type pool struct {
	version   release.VersionID
	inflight  atomic.Int64
	retired   atomic.Bool
	next      atomic.Uint64
	instances map[address]*instance // guarded by Proxy.mu
}

// instance is one address of a version.
type instance struct {
	address  address
	dialing  dialing
	sender   sender
	inflight atomic.Int64
	retired  atomic.Bool
	failed   atomic.Int64 // when a connection was last refused, Unix nanoseconds
}

// address is a parsed scheme://host:port.
type address struct{ scheme, host string }

func (a address) String() string { return a.scheme + "://" + a.host }

// dialing is how an instance is spoken to; instances are made anew when it changes.
type dialing struct {
	limits   Limits
	response time.Duration
}

func parseAddress(s string) (address, error) {
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	if err != nil {
		return address{}, fmt.Errorf("address %q: %w", s, err)
	}
	a := address{scheme: u.Scheme, host: u.Host}
	if !slices.Contains([]string{"http", "https", "h2c"}, a.scheme) {
		return a, fmt.Errorf("address %q has scheme %q: expected http, https or h2c", s, a.scheme)
	}
	if _, _, err := net.SplitHostPort(a.host); err != nil {
		return a, fmt.Errorf("address %q: expected scheme://host:port", s)
	}
	if (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.User != nil {
		return a, fmt.Errorf("address %q: expected nothing but scheme://host:port", s)
	}
	return a, nil
}

// connect returns the instances at the addresses, known ones as they are.
func (p *pool) connect(addresses []address, d dialing) []*instance {
	p.retired.Store(false)
	list := make([]*instance, 0, len(addresses))
	for _, a := range addresses {
		in := p.instances[a]
		if in == nil || in.dialing != d {
			in = newInstance(a, d)
		}
		list = append(list, in)
	}
	return list
}

// keepOnly makes the target's instances those of the pool, lets go of the
// others and returns them; a nil target retires the pool.
func (p *pool) keepOnly(c *target) (left []*instance) {
	keep := map[address]*instance{}
	if c != nil {
		for _, in := range c.instances {
			keep[in.address] = in
		}
	}
	for a, in := range p.instances {
		if keep[a] != in {
			in.retire()
			left = append(left, in)
		}
	}
	p.instances = keep
	p.retired.Store(c == nil)
	return left
}

func newInstance(a address, d dialing) *instance {
	in := &instance{address: a, dialing: d}
	if a.scheme == "http" {
		in.sender = &h1{host: a.host, d: d}
	} else {
		in.sender = standard{newTransport(a, d)}
	}
	return in
}

// standard is the standard library's transport as a sender.
type standard struct{ *http.Transport }

func (s standard) send(out *http.Request, hints hints) (*http.Response, error) {
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		if code == http.StatusContinue {
			return nil
		}
		return hints.hint(code, h)
	}}
	return s.RoundTrip(out.WithContext(httptrace.WithClientTrace(out.Context(), trace)))
}

// newTransport speaks what TLS agrees on (https) or HTTP/2 with prior knowledge (h2c).
func newTransport(a address, d dialing) *http.Transport {
	t := &http.Transport{
		DialContext:            (&net.Dialer{Timeout: d.limits.DialTimeout}).DialContext,
		TLSHandshakeTimeout:    d.limits.DialTimeout,
		DisableCompression:     true,
		MaxIdleConns:           0,
		MaxIdleConnsPerHost:    d.limits.PoolSize,
		IdleConnTimeout:        d.limits.PoolIdle,
		ResponseHeaderTimeout:  d.response,
		MaxResponseHeaderBytes: int64(d.limits.HeaderBytes),
		Protocols:              new(http.Protocols),
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second},
	}
	switch a.scheme {
	case "h2c":
		t.Protocols.SetUnencryptedHTTP2(true)
	case "https":
		t.Protocols.SetHTTP1(true)
		t.Protocols.SetHTTP2(true)
	}
	return t
}

// url scheme that the sender expects.
func (a address) urlScheme() string {
	if a.scheme == "h2c" {
		return "http"
	}
	return a.scheme
}

func (in *instance) retire() {
	in.retired.Store(true)
	in.sender.CloseIdleConnections()
}

// done counts a request out; a retired instance closes its connections with the last one.
func (in *instance) done() {
	if in.inflight.Add(-1) == 0 && in.retired.Load() {
		in.sender.CloseIdleConnections()
	}
}

// avoid is how long an instance that refused a connection is the last choice.
const avoid = time.Second

// pickInstance takes the instance with the fewest requests, round robin among
// equals, one that refused a connection lately last. not lists those that were
// tried. It counts the request in; nil: none is left.
func (c *target) pickInstance(now time.Time, not []*instance) *instance {
	n := len(c.instances)
	if n == 0 {
		return nil
	}
	if n == 1 && len(not) == 0 {
		c.instances[0].inflight.Add(1)
		return c.instances[0]
	}
	start := int(c.pool.next.Add(1) % uint64(n))
	var best *instance
	var least int64
	for i := range n {
		in := c.instances[(start+i)%n]
		if slices.Contains(not, in) {
			continue
		}
		load := in.inflight.Load()
		if f := in.failed.Load(); f != 0 && now.UnixNano()-f < int64(avoid) {
			load += 1 << 40
		}
		if best == nil || load < least {
			best, least = in, load
		}
	}
	if best != nil {
		best.inflight.Add(1)
	}
	return best
}
