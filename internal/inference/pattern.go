package inference

import "bytes"

// pattern is an event as the last one was but for its text. Servers write the
// events of a stream alike, so that most are read by comparing bytes: what an
// event says besides its text was taken from the first of them, and saying it
// again changes nothing.
type pattern struct {
	event    []byte // one that was read
	from, to int    // its text in it
	field    field  // of the text
	missed   int    // patterns in a row that no event followed
}

const (
	maxPattern = 1 << 10 // bytes of an event that is kept as a pattern
	maxMissed  = 8       // then no more are kept
)

// match is the text of an event that p begins with and that follows the pattern,
// and the event's length; 0: there is none.
func (t *pattern) match(p []byte) (text []byte, n int) {
	if t.to == 0 || !bytes.HasPrefix(p, t.event[:t.from]) {
		return nil, 0
	}
	end := bytes.IndexByte(p[t.from:], '"')
	if end < 0 || !bytes.HasPrefix(p[t.from+end:], t.event[t.to:]) {
		return nil, 0
	}
	text = p[t.from : t.from+end]
	for _, c := range text {
		if c == '\\' || c < 0x20 {
			return nil, 0
		}
	}
	t.missed = 0
	return text, t.from + end + len(t.event) - t.to
}

// keep takes an event, whole, for a pattern: one whose text is there as it is and
// can not be mistaken for another part of the event.
func (t *pattern) keep(event, text []byte, f field) {
	if t.missed >= maxMissed || len(event) > maxPattern || bytes.IndexByte(event, '\\') >= 0 {
		return
	}
	t.missed++
	quoted := append(append(append(make([]byte, 0, maxWord), '"'), text...), '"')
	at := bytes.Index(event, quoted)
	if at < 0 || bytes.Contains(event[at+1:], quoted) {
		return
	}
	t.event = append(t.event[:0], event...)
	t.from, t.to, t.field = at+1, at+1+len(text), f
}

// feed reads as events.feed does, and an event that follows the pattern of the one
// before at once.
func (r *Reply) feed(p []byte) (n int, ended bool) {
	fresh := r.events.between()
	if fresh {
		if text, n := r.pattern.match(p); n > 0 {
			if r.events.late = false; len(text) > 0 {
				r.text(r.pattern.field, text)
			}
			r.dispatch()
			return n, true
		}
	}
	r.plain, r.pattern.to = plain{}, 0 // another event may have changed what the last one said
	n, ended = r.events.feed(p)
	if fresh && ended && r.events.between() && r.plain.texts == 1 && !r.plain.more && len(r.plain.text) <= maxWord-2 {
		r.pattern.keep(p[:n], r.plain.text, r.plain.field)
	}
	return n, ended
}

// plain is whether an event says nothing besides one text but what it may say again.
type plain struct {
	text  []byte // the last piece, valid while its bytes are
	field field
	texts int
	more  bool
}

// between reports whether nothing of an event was read since the last one ended.
func (e *events) between() bool { return e.state == lineStart && !e.any && !e.cr && e.bom < 0 }
