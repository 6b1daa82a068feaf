package proxy

import (
	"bytes"
	"io"
	"net/http"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// Interpreter understands requests whose answers say more than their status. A
// routing without one costs its requests nothing.
type Interpreter interface {
	// Interpret is asked about each request that has a body, before anything of
	// that is read; nil: it does not understand this one. It must not keep r.
	Interpret(r *http.Request) Dialogue
}

// Dialogue is one request that is understood, and the answers to it.
type Dialogue interface {
	// Request is told the next bytes of the client's body, which it must not keep.
	// The answer may have begun already, in another goroutine.
	Request(p []byte)
	// Rewrites reports whether the body must be given to Rewrite, whole, before it
	// is sent.
	Rewrites() bool
	// Rewrite returns the body to send; it may be the one given.
	Rewrite(body []byte) []byte
	// Plain reports, after Rewrite, whether the version must not compress its answer.
	Plain() bool
	// Unanswered completes the observation of an attempt to which no answer began.
	Unanswered(o *release.Observation)
	// Answer begins to read the answer of one attempt, which began at begin.
	Answer(begin time.Time, status int, h http.Header) Reply
}

// Reply is one answer that is read along, from one goroutine at a time.
type Reply interface {
	// Hides reports whether the client gets what Hide returns in place of what came.
	// It holds for the whole answer.
	Hides() bool
	// Read is told the next bytes, after they were sent on; they came at at.
	Read(p []byte, at time.Time)
	// Hide is told the next bytes in place of Read, may change them, and returns
	// those for the client, valid until the next call.
	Hide(p []byte, at time.Time) []byte
	// Rest returns what Hide still holds at the end of the answer.
	Rest() []byte
	// End is told once that the answer has ended, whole or not, and completes the
	// observation.
	End(o *release.Observation, whole bool)
}

// interpret begins to read the request along, where the release wants that.
func (x *exchange) interpret() {
	if x.table.interpreter == nil || x.upgrade {
		return
	}
	if x.dialogue = x.table.interpreter.Interpret(x.r); x.dialogue != nil {
		x.body.tee = x.dialogue
	}
}

// editBody changes the request's body where the version or the dialogue wants
// that. The body is read whole for it; one that is too large passes as it is.
func (x *exchange) editBody(a *attempt, out *http.Request) error {
	rewrites := a.to.rewrite.rewritesBody(x.r)
	asks := x.dialogue != nil && x.dialogue.Rewrites()
	if a.cursor == nil || !rewrites && !asks {
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(a.cursor, maxJSON+1))
	if err != nil {
		return err // the client's; body has noted it
	}
	if len(b) > maxJSON {
		out.Body, out.ContentLength = io.NopCloser(io.MultiReader(bytes.NewReader(b), a.cursor)), -1
		return nil
	}
	if rewrites {
		b = a.to.rewrite.Edit(b)
	}
	if asks {
		b = x.dialogue.Rewrite(b)
		if x.dialogue.Plain() {
			out.Header = out.Header.Clone()
			out.Header["Accept-Encoding"] = identity
		}
	}
	out.Body, out.ContentLength = &once{rest: b}, int64(len(b))
	return nil
}

var identity = []string{"identity"}

// once is a body that is let go of as soon as it was read: the answer, which
// may take long, would hold it otherwise.
type once struct{ rest []byte }

func (o *once) Read(p []byte) (int, error) {
	if len(o.rest) == 0 {
		o.rest = nil
		return 0, io.EOF
	}
	n := copy(p, o.rest)
	if o.rest = o.rest[n:]; len(o.rest) == 0 {
		o.rest = nil
	}
	return n, nil
}

func (o *once) Close() error { return nil }

// hear begins to read the answer along.
func (x *exchange) hear(a *attempt) {
	if x.dialogue == nil {
		return
	}
	a.reply = x.dialogue.Answer(a.obs.Begin, a.res.StatusCode, a.res.Header)
	if a.reply.Hides() {
		delete(a.res.Header, "Content-Length") // less is sent than comes
		a.res.ContentLength = -1
	}
}
