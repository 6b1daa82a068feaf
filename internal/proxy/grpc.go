package proxy

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The gRPC status codes that the proxy answers in its own name.
const (
	grpcDeadlineExceeded = "4"
	grpcInternal         = "13"
	grpcUnavailable      = "14"
)

func isGRPC(h http.Header) bool {
	v := h["Content-Type"]
	return len(v) > 0 && strings.HasPrefix(v[0], "application/grpc")
}

// failedGRPC reports whether a gRPC status is the version's failure: UNKNOWN,
// DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS. The other
// codes answer what a client asked.
func failedGRPC(status string) bool {
	switch status {
	case "2", "4", "12", "13", "14", "15":
		return true
	}
	return false
}

// grpcTimeout reads the field grpc-timeout of a call (gRPC over HTTP/2,
// Requests): up to eight digits and a unit. Zero: none.
func grpcTimeout(h http.Header) time.Duration {
	v := h.Get("Grpc-Timeout")
	if len(v) < 2 || len(v) > 9 {
		return 0
	}
	n, err := strconv.ParseUint(v[:len(v)-1], 10, 32)
	if err != nil {
		return 0
	}
	unit := map[byte]time.Duration{
		'H': time.Hour, 'M': time.Minute, 'S': time.Second,
		'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond,
	}[v[len(v)-1]]
	if n > uint64(1000*time.Hour/max(unit, 1)) {
		return 0
	}
	return time.Duration(n) * unit
}

// callTimedOut reports whether the deadline of a gRPC call has passed. The
// server then resets the stream at the same moment as the client does.
func (x *exchange) callTimedOut() bool {
	d := grpcTimeout(x.r.Header)
	return d > 0 && isGRPC(x.r.Header) && time.Since(x.begin) >= d
}

// brokenCall ends a gRPC answer that broke off with a status, which says more
// to the client than a reset.
func (x *exchange) brokenCall(a *attempt) {
	status := grpcUnavailable
	if a.obs.Cause == causeTimeout {
		status = grpcDeadlineExceeded
	}
	h := x.w.Header()
	h[http.TrailerPrefix+"Grpc-Status"] = []string{status}
	h[http.TrailerPrefix+"Grpc-Message"] = []string{"the answer broke off"}
}
