package inference

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// Dialogue is one request and the answers to it: one for each attempt.
type Dialogue struct {
	i    *Interpreter
	api  release.ModelAPI
	asks bool // the usage chunk may be asked for

	mu      sync.Mutex // the request may still come while the answer does
	request *request   // nil: it cannot be read
	told    bool       // the request has been read as far as it is of use

	hides bool // the usage chunk was asked for and is not for the client
}

// Request reads the next bytes of the client's body.
func (d *Dialogue) Request(p []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.request != nil && !d.told {
		d.request.scanner.scan(p)
	}
}

// Rewrites reports whether Rewrite wants to see the whole body before it is
// sent.
func (d *Dialogue) Rewrites() bool { return d.asks }

// usageOption is the member that asks for the usage chunk.
const usageOption = `"stream_options":{"include_usage":true}`

// Rewrite returns the body that is sent in place of the given one: with the
// option that asks for the usage chunk of a stream, where the request is for a
// stream and does not say whether it wants that. Any other body is returned as
// it is.
func (d *Dialogue) Rewrite(body []byte) []byte {
	q := newRequest(d.i.asked(d.api))
	q.scanner.scan(body)
	d.hides = false
	if !q.scanner.end() || !q.stream {
		return body
	}
	if q.options {
		return d.extend(body, q)
	}
	end := bytes.LastIndexByte(body, '}')
	if end < 0 {
		return body
	}
	out := make([]byte, 0, len(body)+len(usageOption)+1)
	out = append(append(out, body[:end]...), ',')
	out = append(append(out, usageOption...), body[end:]...)
	d.hides = true
	return out
}

// extend asks within the options that the client sends for something else.
func (d *Dialogue) extend(body []byte, q *request) []byte {
	at, empty := optionsAt(body)
	if q.said || at == 0 {
		return body
	}
	option := []byte(`"include_usage":true`)
	if !empty {
		option = append(option, ',')
	}
	d.hides = true
	return slices.Concat(body[:at], option, body[at:])
}

// optionsAt is where the members of a body's stream_options begin, and whether
// there are none; 0: it has no such object, or several.
func optionsAt(body []byte) (at int, empty bool) {
	d, depth, key := json.NewDecoder(bytes.NewReader(body)), 0, true
	for {
		t, err := d.Token()
		if err != nil {
			return at, empty
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
			key = depth == 1
			continue
		case json.Delim('}'), json.Delim(']'):
			depth--
			key = depth == 1
			continue
		}
		named := depth == 1 && key && t == "stream_options"
		if key = depth == 1 && !key; !named {
			continue
		}
		if t, err = d.Token(); err != nil || t != json.Delim('{') || at > 0 {
			return 0, false
		}
		at, empty, depth = int(d.InputOffset()), !d.More(), depth+1
	}
}

// Plain reports whether the answer must come uncompressed, so that the usage
// chunk can be taken out of it. It is known after Rewrite.
func (d *Dialogue) Plain() bool { return d.hides }

// Answer begins to read the answer of one attempt that began at begin.
func (d *Dialogue) Answer(begin time.Time, status int, h http.Header) *Reply {
	r := &Reply{i: d.i, begin: begin, facts: &release.Answer{API: d.api}}
	d.mu.Lock()
	if d.request != nil {
		d.told = true
		d.request.scanner = scanner{} // what it held is of no more use
		r.facts.Prompt = d.request.promptHash(d.api)
		r.asked = *d.request
	}
	d.mu.Unlock()
	r.facts.RequestModel, r.facts.InputCharacters = r.asked.model, r.asked.characters
	r.asked.numbers.tell(r.facts)
	r.ok = status >= 200 && status < 300
	if !r.ok {
		r.facts.Unread = release.UnreadStatus
		return r
	}
	r.listen(h, d.hides)
	return r
}

// Unanswered says what was asked for where no answer began.
func (d *Dialogue) Unanswered(o *release.Observation) {
	o.API = d.api
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.request != nil {
		o.RequestModel = d.request.model
	}
}

// form is how the bytes of an answer are to be read.
type form byte

const (
	unknownForm form = iota
	jsonForm
	eventForm
	otherForm
)

func formOf(h http.Header) form {
	switch kind := mediaType(h); {
	case kind == "text/event-stream":
		return eventForm
	case kind == "application/json", strings.HasSuffix(kind, "+json"):
		return jsonForm
	case kind == "":
		return unknownForm
	}
	return otherForm
}
