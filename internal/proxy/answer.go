package proxy

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

var buffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// eventBuffers are for server-sent events: small, and open for long, many at once.
var eventBuffers = sync.Pool{New: func() any { b := make([]byte, 4<<10); return &b }}

// answer passes the attempt's answer to the client and records what became of
// it. False: the answer broke off after its beginning was sent.
func (x *exchange) answer(a *attempt) bool {
	failed := x.judgeEarly(a)
	if a.err != nil {
		x.answerError(a, failed)
		return true
	}
	defer a.res.Body.Close()
	if a.res.StatusCode == http.StatusSwitchingProtocols {
		return x.tunnel(a)
	}
	x.hear(a)
	x.writeHeader(a.res)
	whole := x.copyBody(a)
	if a.err == nil {
		x.copyTrailer(a)
	}
	return whole
}

func (x *exchange) answerError(a *attempt, failed bool) {
	if !failed { // the client's fault, recorded by judgeEarly
		if a.obs.Status != statusClientClosed {
			closeAfter(x.w, x.r)
			respondError(x.w, x.r, a.obs.Status, "the request body could not be read")
		}
		return
	}
	a.obs.Status = failureStatus(a.obs.Cause)
	x.p.log.Debug("request failed", "release", x.p.name, "version", string(a.obs.Version), "cause", a.obs.Cause, "error", a.err)
	respondError(x.w, x.r, a.obs.Status, "the version that was to answer did not: "+strings.ToLower(a.obs.Cause))
}

func (x *exchange) writeHeader(res *http.Response) {
	h := x.w.Header()
	dropHopByHop(res.Header)
	for name, values := range res.Header {
		h[name] = values
	}
	if id := x.requestID(); id != "" && h["X-Request-Id"] == nil {
		h["X-Request-Id"] = []string{id}
	}
	if x.pick.cookie != "" {
		setCookie(h, x.table.config.Sticky, x.pick.cookie, x.r.TLS != nil)
	}
	if len(res.Trailer) > 0 && x.r.ProtoMajor == 1 {
		delete(h, "Content-Length") // a trailer needs chunks
		res.ContentLength = -1
	}
	for name := range res.Trailer {
		if !forbiddenTrailer(name) {
			h.Add("Trailer", name)
		}
	}
	x.w.WriteHeader(res.StatusCode)
	x.wrote = true
}

// copyBody streams the body. Answers of unknown length are flushed as they
// come, and so are those that are read along, so that nobody waits for that; one
// without any body is not, so that an answer that consists of its header only
// (gRPC's trailers-only form) stays that.
func (x *exchange) copyBody(a *attempt) bool {
	res := a.res
	if res.Body == http.NoBody {
		a.whole = true
		return true
	}
	flush := func() {}
	if (res.ContentLength == -1 || a.reply != nil) && x.r.Method != http.MethodHead {
		c := http.NewResponseController(x.w)
		flush = func() { _ = c.Flush() } // an error shows at the next write
		if res.Header["Grpc-Status"] == nil && res.ContentLength == -1 {
			flush()
		}
	}
	pool := &buffers
	if isEvents(res.Header) {
		pool = &eventBuffers
	}
	buf := pool.Get().(*[]byte)
	defer pool.Put(buf)
	for {
		n, err := res.Body.Read(*buf)
		if !x.pass(a, (*buf)[:n], flush) {
			x.hungUp(a)
			return true
		}
		if errors.Is(err, io.EOF) {
			a.whole = true
		}
		if err != nil && a.reply != nil && !x.write(a.reply.Rest(), flush) {
			x.hungUp(a)
			return true
		}
		if a.whole {
			return true
		}
		if err != nil {
			return x.truncated(a, err)
		}
	}
}

// pass sends bytes of the answer to the client, and then has them read along.
// False: the client is gone.
func (x *exchange) pass(a *attempt, p []byte, flush func()) bool {
	if x.kept != nil {
		x.kept.keep(p)
	}
	if a.reply == nil || len(p) == 0 {
		return x.write(p, flush)
	}
	at := time.Now()
	if a.reply.Hides() {
		return x.write(a.reply.Hide(p, at), flush)
	}
	ok := x.write(p, flush)
	a.reply.Read(p, at)
	return ok
}

func (x *exchange) write(p []byte, flush func()) bool {
	if len(p) == 0 {
		return true
	}
	n, err := x.w.Write(p)
	x.out += int64(n)
	if err != nil {
		return false
	}
	flush()
	return true
}

func isEvents(h http.Header) bool {
	v := h["Content-Type"]
	return len(v) > 0 && strings.HasPrefix(v[0], "text/event-stream")
}

// hungUp records that the client went away while its answer was sent; what the
// version had failed already stays its failure.
func (x *exchange) hungUp(a *attempt) {
	if a.obs.Outcome != release.Failed {
		a.obs.Outcome, a.obs.Status = release.ClientFault, statusClientClosed
	}
}

// truncated records that the answer broke off and reports whether it could be
// ended in order nevertheless.
func (x *exchange) truncated(a *attempt, err error) bool {
	a.err = err
	if a.obs.Outcome != release.Failed && !x.clientFault(a) {
		settle(&a.obs, causeTruncated)
		if x.callTimedOut() {
			a.obs.Cause = causeTimeout
		}
	}
	if isGRPC(a.res.Header) {
		x.brokenCall(a)
		return true
	}
	return false
}

// copyTrailer passes the trailer on, announced or not, and reads the status of
// a gRPC answer from it.
func (x *exchange) copyTrailer(a *attempt) {
	h := x.w.Header()
	announced := h["Trailer"]
	for name, values := range a.res.Trailer {
		if forbiddenTrailer(name) {
			continue
		}
		if !hasToken(announced, name) {
			name = http.TrailerPrefix + name
		}
		h[name] = values
	}
	if !isGRPC(a.res.Header) || a.obs.Outcome != release.OK || a.res.StatusCode != http.StatusOK {
		return
	}
	status := a.res.Trailer.Get("Grpc-Status")
	if status == "" {
		status = a.res.Header.Get("Grpc-Status")
	}
	switch {
	case x.clientFault(a): // what a version says to a call that was cancelled is no sign of its health
	case status == "":
		settle(&a.obs, causeBad)
	case failedGRPC(status):
		settle(&a.obs, causeGRPC)
	}
}

// forbiddenTrailer reports names that must not stand in a trailer: framing,
// routing, credentials and what the proxy itself says (RFC 9110, 6.5.1).
func forbiddenTrailer(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Host", "Content-Length", "Content-Type", "Content-Encoding", "Content-Range", "Authorization",
		"Cookie", "Set-Cookie", "Cache-Control", "Expect", "Max-Forwards", "Range", "Pragma", "Location",
		"Www-Authenticate", "X-Request-Id", "Traceparent":
		return true
	}
	for _, hop := range hopByHop {
		if http.CanonicalHeaderKey(name) == hop {
			return true
		}
	}
	return claimsOrigin(name) || strings.IndexByte(name, '_') >= 0
}

// respondError answers in the proxy's own name. A gRPC client gets a gRPC
// status.
func respondError(w http.ResponseWriter, r *http.Request, status int, message string) {
	h := w.Header()
	if isGRPC(r.Header) {
		code := grpcInternal
		switch status {
		case http.StatusBadGateway, http.StatusServiceUnavailable:
			code = grpcUnavailable
		case http.StatusGatewayTimeout:
			code = grpcDeadlineExceeded
		}
		h["Content-Type"] = []string{"application/grpc"}
		h["Grpc-Status"] = []string{code}
		h["Grpc-Message"] = []string{message}
		w.WriteHeader(http.StatusOK)
		return
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(message)+1))
	w.WriteHeader(status)
	_, _ = io.WriteString(w, message+"\n") // to a client that is gone
}
