package proxy

import (
	"bytes"
	"io"
	"net/http"

	"github.com/haldane-project/haldane/internal/release"
)

// shield is the compiled wish to answer by Rest what the canary failed.
type shield struct {
	enabled bool
	methods map[string]bool
	maxBody int64
}

// idempotent are the methods that may be sent twice (RFC 9110, 9.2.2).
var idempotent = []string{"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"}

func compileShield(s release.Shield) shield {
	methods := s.Methods
	if len(methods) == 0 {
		methods = idempotent
	}
	c := shield{enabled: s.Enabled, maxBody: s.MaxBody, methods: map[string]bool{}}
	for _, m := range methods {
		c.methods[m] = true
	}
	return c
}

// shields reports whether the exchange may get a second try at Rest.
func (t *Table) shields(x *exchange) bool {
	return t.shield.enabled && !x.upgrade && x.pick.to != t.rest && len(t.rest.instances) > 0
}

// shielding decides after the first attempt whether Rest answers instead: the
// version failed, nothing was sent to the client, and the request may be sent
// twice. A request of which nothing was written may be, whatever its method.
// The failed attempt is recorded and its answer dropped.
func (x *exchange) shielding(a *attempt) bool {
	if !x.shield || !x.judgeEarly(a) {
		return false
	}
	unsent := a.err != nil && isDialError(a.err)
	if !unsent && !x.table.shield.methods[x.r.Method] {
		return false
	}
	if a.cursor != nil {
		a.cursor.detach()
		if !x.body.replayable() {
			return false
		}
	}
	a.obs.Shielded = true
	if a.res != nil {
		a.res.Body.Close()
	}
	return true
}

// prefetchLimit is the largest answer that is read before any of it is passed
// on, where the request may be shielded.
const prefetchLimit = 32 << 10

// prefetch reads a short answer whole, so that one that breaks off can still
// be shielded.
func (x *exchange) prefetch(a *attempt) {
	if !x.shield || a.err != nil || a.res.Body == http.NoBody || !x.table.shield.methods[x.r.Method] ||
		a.res.ContentLength <= 0 || a.res.ContentLength > prefetchLimit {
		return
	}
	b := make([]byte, a.res.ContentLength)
	_, a.err = io.ReadFull(a.res.Body, b)
	a.res.Body.Close()
	a.res.Body = io.NopCloser(bytes.NewReader(b))
}

// judgeEarly records what is known of the attempt before anything of its
// answer was read and reports whether it is the version's failure.
func (x *exchange) judgeEarly(a *attempt) bool {
	if a.err != nil {
		if x.clientFault(a) {
			return false
		}
		settle(&a.obs, causeOf(a.err))
		switch {
		case x.callTimedOut():
			a.obs.Cause = causeTimeout
		case a.res != nil: // found by prefetch
			a.obs.Cause = causeTruncated
		}
		return true
	}
	a.obs.Status = a.res.StatusCode
	if a.res.StatusCode == http.StatusSwitchingProtocols && !x.switches(a.res) {
		a.obs.Status = 0
		settle(&a.obs, causeBad)
		return true
	}
	if failedStatus(a.res.StatusCode) {
		settle(&a.obs, causeStatus)
		return true
	}
	if s := a.res.Header["Grpc-Status"]; len(s) > 0 && isGRPC(a.res.Header) && failedGRPC(s[0]) {
		settle(&a.obs, causeGRPC)
		return true
	}
	return false
}

// clientFault reports and records that the client ended the exchange itself.
func (x *exchange) clientFault(a *attempt) bool {
	if x.body != nil {
		if _, err := x.body.state(); err != nil && x.r.Context().Err() == nil {
			a.obs.Outcome, a.obs.Status = release.ClientFault, clientStatus(x.r, err)
			return true
		}
	}
	if x.r.Context().Err() != nil {
		a.obs.Outcome, a.obs.Status = release.ClientFault, statusClientClosed
		return true
	}
	return false
}

// failureStatus is what a client is told when a version could not answer.
func failureStatus(cause string) int {
	if cause == causeTimeout {
		return http.StatusGatewayTimeout
	}
	return http.StatusBadGateway
}
