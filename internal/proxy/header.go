package proxy

import (
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// hopByHop are the fields that end at each hop (RFC 9110, 7.6.1).
var hopByHop = [...]string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings",
}

// cleanRequest takes away what must not pass from a client to an instance:
// hop-by-hop fields, those that Connection names, names with an underscore
// (twins of dashed names to many servers) and what a client that is not
// trusted says about its own origin. It changes h.
func cleanRequest(h http.Header, trusted bool) {
	trailers := hasToken(h["Te"], "trailers")
	dropHopByHop(h)
	delete(h, "Expect") // the proxy answers it itself
	if trailers {
		h["Te"] = []string{"trailers"}
	}
	for name := range h {
		if strings.IndexByte(name, '_') >= 0 || (!trusted && claimsOrigin(name)) {
			delete(h, name)
		}
	}
}

func claimsOrigin(name string) bool {
	return strings.HasPrefix(name, "X-Forwarded-") || name == "Forwarded" || name == "X-Real-Ip"
}

func dropHopByHop(h http.Header) {
	if named := h["Connection"]; named != nil {
		for _, line := range named {
			for token := range strings.SplitSeq(line, ",") {
				if token = strings.Trim(token, " \t"); token != "" {
					delete(h, http.CanonicalHeaderKey(token))
				}
			}
		}
	}
	for _, name := range hopByHop {
		delete(h, name)
	}
}

// hasToken reports whether one of the comma-separated lists has the token.
func hasToken(lines []string, token string) bool {
	for _, line := range lines {
		for t := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.Trim(t, " \t"), token) {
				return true
			}
		}
	}
	return false
}

// tellOrigin sets what an instance is told about the client's connection,
// after cleanRequest, so that no client field survives under these names
// unless a trusted peer sent it.
func tellOrigin(r *http.Request, client string, trusted bool) {
	h := r.Header
	values := []string{client, r.Host}
	if prior := h["X-Forwarded-For"]; trusted && len(prior) > 0 {
		values[0] = strings.Join(prior, ", ") + ", " + client
	}
	h["X-Forwarded-For"] = values[:1:1]
	if !trusted || h["X-Forwarded-Proto"] == nil {
		h["X-Forwarded-Proto"] = protoHTTP
		if r.TLS != nil {
			h["X-Forwarded-Proto"] = protoHTTPS
		}
	}
	if !trusted || h["X-Forwarded-Host"] == nil {
		h["X-Forwarded-Host"] = values[1:]
	}
}

var protoHTTP, protoHTTPS = []string{"http"}, []string{"https"}

// traceRequest makes the ids that are absent: X-Request-Id and a W3C
// traceparent (Trace Context, level 1), not sampled.
func traceRequest(h http.Header) {
	hasID, hasTrace := len(h["X-Request-Id"]) > 0, len(h["Traceparent"]) > 0
	if hasID && hasTrace {
		return
	}
	var room [55]byte
	b := append(room[:0], "00-"...)
	b = appendHex(appendHex(b, rand.Uint64()|1), rand.Uint64()) // an id of zeros is not valid
	b = appendHex(append(b, '-'), rand.Uint64()|1)
	s := string(append(b, "-00"...))
	values := []string{s[3:35], s}
	if !hasID {
		h["X-Request-Id"] = values[:1:1]
	}
	if !hasTrace {
		h["Traceparent"] = values[1:]
	}
}

// appendHex appends sixteen digits.
func appendHex(b []byte, v uint64) []byte {
	const digits = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, digits[v>>shift&15])
	}
	return b
}

// clientAddress is the address of the peer, without its port.
func clientAddress(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// origin returns the client's address and whether its peer is trusted. Behind
// trusted hops the client is the nearest address in X-Forwarded-For that is
// not one of them.
func (p *Proxy) origin(r *http.Request) (client, peer string, trusted bool) {
	peer = clientAddress(r)
	if len(p.trusted) == 0 || !p.isTrusted(peer) {
		return peer, peer, false
	}
	hops := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop := strings.TrimSpace(hops[i])
		if _, err := netip.ParseAddr(hop); err != nil {
			break
		}
		client = hop
		if !p.isTrusted(hop) {
			break
		}
	}
	if client == "" {
		client = peer
	}
	return client, peer, true
}

func (p *Proxy) isTrusted(host string) bool {
	a, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	for _, t := range p.trusted {
		if t.Contains(a.Unmap()) {
			return true
		}
	}
	return false
}
