package proxy

import (
	"crypto/rand"
	"encoding/hex"
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
	if prior := h["X-Forwarded-For"]; trusted && len(prior) > 0 {
		h["X-Forwarded-For"] = []string{strings.Join(prior, ", ") + ", " + client}
	} else {
		h["X-Forwarded-For"] = []string{client}
	}
	if !trusted || h["X-Forwarded-Proto"] == nil {
		h["X-Forwarded-Proto"] = protoHTTP
		if r.TLS != nil {
			h["X-Forwarded-Proto"] = protoHTTPS
		}
	}
	if !trusted || h["X-Forwarded-Host"] == nil {
		h["X-Forwarded-Host"] = []string{r.Host}
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
	var b [24]byte
	rand.Read(b[:])
	var text [48]byte
	hex.Encode(text[:], b[:])
	s := string(text[:])
	if !hasID {
		h["X-Request-Id"] = []string{s[:32]}
	}
	if !hasTrace {
		h["Traceparent"] = []string{"00-" + s[:32] + "-" + s[32:] + "-00"}
	}
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
