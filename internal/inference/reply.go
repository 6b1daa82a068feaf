package inference

import (
	"net/http"
	"strconv"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// Reply reads one answer along. It is used by one goroutine at a time.
type Reply struct {
	i     *Interpreter
	facts *release.Answer
	asked request
	begin time.Time
	at    time.Time // of the bytes that are read
	ok    bool      // a status of success
	form  form
	hides bool // the usage chunk is taken out

	scanner  scanner
	events   events
	inflater *inflater
	event    event
	pattern  pattern
	plain    plain
	filter   filter
	done     bool // the end marker came
	failed   bool // an error in place of an answer
	bad      int  // events that are not JSON

	prose    prose
	wanted   format
	nested   scanner // of a text that is to be JSON
	outline  outline
	kept     []byte // the text, where a schema wants it whole
	bytes    int    // kept of the text and the tool calls
	overlong bool   // ... and that was not all
	calls    []call
	call     int // the tool call under way; -1: not known yet
	item     item
	part     part
	thinks   bool // reasoning was sent, too
	tensor   tensor
	tail     *tail // nil: no data follows the JSON
	vector   vector
}

// maxKept bounds what is kept of an answer's text or its tool calls.
const maxKept = 16 << 10

// event is what is known of the server-sent event under way.
type event struct {
	kind     []byte // its name or type
	mark     int    // bytes of [DONE] that its data begins with
	carries  bool   // text, tool call or reasoning
	choices  bool
	choice   bool
	hasUsage bool

	// of the responses API
	delta   []byte // of what its type says
	index   int64  // of the output it is about
	indexed bool   // index was said
}

// call is one tool call of the answer.
type call struct {
	index     int64
	name      string
	arguments []byte
}

// listen prepares to read the bytes of an answer with this header.
func (r *Reply) listen(h http.Header, hides bool) {
	a := r.facts
	r.form = formOf(h)
	switch encoding := h.Get("Content-Encoding"); encoding {
	case "", "identity":
		r.hides = hides && r.form == eventForm
	case "gzip", "x-gzip", "deflate":
		if r.inflater = r.i.inflate(encoding, r.read); r.inflater == nil {
			a.Unread = release.UnreadBusy
			return
		}
	default:
		a.Unread = release.UnreadEncoding
		return
	}
	if length := h.Get("Inference-Header-Content-Length"); length != "" {
		n, err := strconv.ParseInt(length, 10, 64)
		if err != nil || n < 0 || a.API != release.InferAPI {
			a.Unread = release.UnreadBinary
			return
		}
		r.tail, r.form = &tail{head: n}, jsonForm
	}
	if r.asked.choices <= 1 && r.asked.format != nil {
		r.wanted = readFormat(r.asked.format)
		r.nested.reset(outlineRoot, &r.outline)
	}
	r.begins(r.form)
}

// begins starts the scanners once the form of the answer is known.
func (r *Reply) begins(f form) {
	r.form, r.call = f, -1
	switch f {
	case otherForm:
		r.facts.Unread = release.UnreadContentType
	case eventForm:
		r.facts.Streamed = true
		r.events.h = r
		r.scanner.reset(r.i.streamed(r.facts.API), r)
	case jsonForm:
		r.scanner.reset(r.i.whole(r.facts.API), r)
	}
}

// Hides reports whether the client gets what Hide returns, not what came.
func (r *Reply) Hides() bool { return r.hides }

// Read reads the next bytes of an answer that passes as it is. They came at at.
func (r *Reply) Read(p []byte, at time.Time) {
	r.at = at
	switch {
	case r.facts.Unread != "":
	case r.inflater != nil:
		if why := r.inflater.feed(p); why != "" {
			r.facts.Unread = why
		}
	default:
		r.read(p)
	}
}

// read takes bytes that are not compressed.
func (r *Reply) read(p []byte) {
	if r.tail != nil {
		r.readTail(p)
		return
	}
	if r.form == unknownForm {
		if p = r.sniff(p); len(p) == 0 {
			return
		}
	}
	switch r.form {
	case jsonForm:
		r.scanner.scan(p)
	case eventForm:
		for len(p) > 0 {
			n, _ := r.feed(p)
			p = p[n:]
		}
	}
}

// sniff tells the form of an answer without a content type by its first byte.
func (r *Reply) sniff(p []byte) []byte {
	for i, c := range p {
		switch c {
		case ' ', '\n', '\r', '\t':
			continue
		case '{', '[':
			r.begins(jsonForm)
		case 'd', 'e', 'i', 'r', ':':
			r.begins(eventForm)
		default:
			r.begins(otherForm)
		}
		return p[i:]
	}
	return nil
}

// End ends the answer and completes the observation: whole says that it came to
// its end. What the answer failed is the version's failure, unless the
// observation names another one already, or the client's fault.
func (r *Reply) End(o *release.Observation, whole bool) {
	a := r.facts
	o.Answer = a
	if r.inflater != nil {
		if why := r.inflater.close(); why != "" && a.Unread == "" {
			a.Unread = why
		}
	}
	if !r.ok {
		return
	}
	cause := r.conclude(whole)
	if cause != "" && o.Outcome == release.OK {
		o.Outcome, o.Cause = release.Failed, cause
	}
}

// conclude completes the facts and names the failure that only the content tells.
func (r *Reply) conclude(whole bool) (cause string) {
	a := r.facts
	switch {
	case a.Unread == release.UnreadContentType && a.API != release.JSONAPI:
		cause = release.CauseBadResponse
	case a.Unread != "":
	case !whole:
		a.Unread = release.UnreadCut
	case r.form == eventForm:
		cause = r.endEvents()
	default:
		cause = r.endJSON()
	}
	if r.failed {
		cause = release.CauseErrorInAnswer
	}
	r.count()
	if a.Unread == "" && cause == "" {
		r.judge()
	}
	r.i.price(a)
	return cause
}

func (r *Reply) endEvents() (cause string) {
	r.done = r.done || r.event.mark == len(doneMark)
	switch a := r.facts; {
	case r.bad > 0:
		a.Unread = release.UnreadInvalid
		return release.CauseBadResponse
	case r.done, a.API == release.JSONAPI:
		a.Complete = true
		return ""
	}
	return release.CauseMissingEnd
}

func (r *Reply) endJSON() (cause string) {
	a := r.facts
	if !r.scanner.end() || r.tail != nil && len(r.tail.outputs) > 0 {
		a.Unread = release.UnreadInvalid
		return release.CauseBadResponse
	}
	a.Complete = true
	if r.asked.stream && a.API != release.EmbeddingAPI && !r.failed {
		return release.CauseBadResponse // a client that waits for events reads none
	}
	return ""
}

// count completes figures; they hold for answers that broke off, too.
func (r *Reply) count() {
	a := r.facts
	r.closeItem()
	r.prose.end(a)
	a.ToolCalls = len(r.calls)
	if a.Streamed && a.OutputTokens == 0 && a.Chunks > 0 {
		a.OutputTokens, a.Estimated = int64(a.Chunks), true
	}
	sent := a.OutputTokens
	if !r.thinks {
		sent -= min(a.ReasoningTokens, a.OutputTokens)
	}
	if sent > 1 && a.Chunks > 1 {
		a.PerToken = (a.LastToken - a.FirstToken) / time.Duration(sent-1)
	}
	r.tensor.end(a)
	r.vector.end(a)
}

// judge says what is true of whole answers only.
func (r *Reply) judge() {
	a := r.facts
	switch a.Finish {
	case "length", "max_tokens", "max_output_tokens":
		a.Truncated = true
	}
	switch a.API {
	case release.ChatAPI, release.CompletionAPI, release.ResponseAPI:
		a.Empty = !r.prose.inked && len(r.calls) == 0 && !a.Refusal
		r.checkFormat()
	case release.InferAPI:
		if a.Format == release.FormatUnchecked && a.Shape != "" {
			a.Format = release.FormatValid
		}
	case release.JSONAPI:
		_, reads := r.i.config.JSON["text"]
		a.Empty = reads && !r.prose.inked
	}
}

// named implements eventHandler.
func (r *Reply) named(name []byte) { r.event.kind = append(r.event.kind[:0], name...) }

const doneMark = "[DONE]"

// data implements eventHandler.
func (r *Reply) data(p []byte) {
	for !r.scanner.begun() && len(p) > 0 {
		if r.event.mark == len(doneMark) {
			r.done = true
			return
		}
		if p[0] != doneMark[r.event.mark] {
			if r.event.mark > 0 {
				r.scanner.scan([]byte(doneMark[:r.event.mark]))
				r.event.mark = 0
			}
			break
		}
		r.event.mark++
		p = p[1:]
	}
	r.scanner.scan(p)
}

// dispatch implements eventHandler.
func (r *Reply) dispatch() {
	e := &r.event
	r.done = r.done || e.mark == len(doneMark)
	if r.scanner.begun() && !r.scanner.end() {
		r.bad++
	}
	switch string(e.kind) {
	case "response.completed", "response.incomplete":
		r.done = true
	case "response.failed", "error":
		r.failed = true
	}
	if r.responds() {
		r.endDelta()
	}
	r.filter.usageOnly = e.hasUsage && e.choices && !e.choice
	*e = event{kind: e.kind[:0], delta: e.delta[:0]}
	r.scanner.reset(r.scanner.root, r)
}

// carries notes that the event under way brings something to the client. Only
// the first such thing of an event counts.
func (r *Reply) carries() {
	a := r.facts
	if r.form != eventForm || r.event.carries {
		return
	}
	r.event.carries = true
	a.Chunks++
	since := r.at.Sub(r.begin)
	if a.Chunks == 1 {
		a.FirstToken = since
	} else {
		a.Gap = max(a.Gap, since-a.LastToken)
	}
	a.LastToken = since
}

// outline tells whether a text of JSON is an object.
type outline struct{ object bool }

var outlineRoot = &node{field: fText}

func (o *outline) open(_ field, bracket byte) { o.object = bracket == '{' }
func (*outline) text(field, []byte)           {}
func (*outline) value(field, kind, []byte)    {}
func (*outline) raw(field, []byte, bool)      {}
