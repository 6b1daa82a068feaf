package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"

	"github.com/haldane-project/haldane/internal/release"
)

// The causes of failures, as they stand in observations.
const (
	causeStatus    = "Status5xx"
	causeGRPC      = "GRPCStatus"
	causeRefused   = "Refused"
	causeReset     = "Reset"
	causeTimeout   = "Timeout"
	causeTruncated = "Truncated"
	causeBad       = release.CauseBadResponse
)

// statusClientClosed is what a request counts as whose client hung up. It is
// never sent.
const statusClientClosed = 499

// failedStatus reports whether an answer's status is the version's failure. 501
// and 505 are not: they answer a method or protocol version that a client
// chose, so any client could provoke them.
func failedStatus(status int) bool {
	return status >= 500 && status != http.StatusNotImplemented && status != http.StatusHTTPVersionNotSupported
}

// causeOf names what went wrong between the proxy and an instance.
func causeOf(err error) string {
	var timeout net.Error
	switch {
	case isDialError(err):
		return causeRefused
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, os.ErrDeadlineExceeded):
		return causeTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed), errors.Is(err, context.Canceled):
		return causeReset
	}
	return causeBad
}

// isDialError reports whether no connection came about, so that nothing of the
// request was written.
func isDialError(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// clientStatus says with which status a broken request body is answered: 499
// where the client went away within it.
func clientStatus(r *http.Request, err error) int {
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return http.StatusRequestTimeout
	case r.ProtoMajor == 2, errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return statusClientClosed
	}
	return http.StatusBadRequest
}

// settle records a failure of the version.
func settle(o *release.Observation, cause string) {
	o.Outcome, o.Cause = release.Failed, cause
}
