package inference

import "bytes"

// events reads server-sent events (WHATWG HTML, 9.2.6) as they come. It keeps
// nothing of them but the name of the event under way.
type events struct {
	h     eventHandler
	state eventState
	name  []byte // of the field, then of the event
	field eventField
	any   bool // the event under way has a line
	cr    bool // the last byte was a CR: a LF after it belongs to it
	late  bool // what feed read last is the LF of a line that had ended
	bom   int  // bytes of a byte order mark seen; -1: past it
}

// eventHandler is told of data as it comes and of each event's end.
type eventHandler interface {
	named(event []byte)
	data(piece []byte) // pieces of one line; lines are separated by a piece "\n"
	dispatch()
}

type eventState byte

const (
	lineStart eventState = iota
	inName
	afterColon
	inData
	inEventName
	inIgnored
)

type eventField byte

const maxEventName = 64

// feed reads up to the end of the event under way; it returns the bytes read
// and whether the event ended with them. A LF that completes the line end of an
// event that was ended by CR is read alone, with ended false.
func (e *events) feed(p []byte) (n int, ended bool) {
	e.late = e.cr && len(p) > 0 && p[0] == '\n'
	if e.late {
		e.cr = false
		return 1, false
	}
	i := e.skipMark(p)
	for i < len(p) {
		c := p[i]
		if c == '\n' && e.cr {
			e.cr = false
			i++
			continue
		}
		e.cr = false
		if c == '\n' || c == '\r' {
			i++
			e.cr = c == '\r'
			if e.endLine() {
				if e.cr && i < len(p) && p[i] == '\n' {
					e.cr = false
					i++
				}
				return i, true
			}
			continue
		}
		i = e.inLine(p, i)
	}
	return i, false
}

// skipMark passes over a byte order mark at the beginning of the stream.
func (e *events) skipMark(p []byte) int {
	const mark = "\xef\xbb\xbf"
	i := 0
	for e.bom >= 0 && e.bom < len(mark) && i < len(p) && p[i] == mark[e.bom] {
		e.bom++
		i++
	}
	if i < len(p) || e.bom == len(mark) {
		e.bom = -1
	}
	return i
}

// inLine reads within a line, whose end is not at p[i].
func (e *events) inLine(p []byte, i int) int {
	switch e.state {
	case lineStart:
		e.any, e.name, e.state = true, e.name[:0], inName
		return i
	case inName:
		if p[i] == ':' {
			e.state = afterColon
			e.beginValue()
			return i + 1
		}
		e.keepName(p[i : i+1])
		return i + 1
	case afterColon:
		e.state = e.value()
		if p[i] == ' ' {
			return i + 1
		}
		return i
	}
	end := i + lineEnd(p[i:])
	switch e.state {
	case inData:
		e.h.data(p[i:end])
	case inEventName:
		e.keepName(p[i:end])
	}
	return end
}

// lineEnd is where a line ends; its length, if it does not.
func lineEnd(p []byte) int {
	if i := bytes.IndexByte(p, '\n'); i >= 0 {
		p = p[:i]
	}
	if i := bytes.IndexByte(p, '\r'); i >= 0 {
		p = p[:i]
	}
	return len(p)
}

func (e *events) keepName(p []byte) {
	e.name = append(e.name, p[:min(len(p), maxEventName-len(e.name))]...)
}

const (
	otherField eventField = iota
	dataField
	nameField
)

// beginValue remembers which field's value follows.
func (e *events) beginValue() {
	switch string(e.name) {
	case "data":
		e.field = dataField
	case "event":
		e.field = nameField
	default:
		e.field = otherField
	}
	e.name = e.name[:0]
}

func (e *events) value() eventState {
	switch e.field {
	case dataField:
		return inData
	case nameField:
		return inEventName
	}
	return inIgnored
}

// endLine ends a line and reports whether it ended an event.
func (e *events) endLine() bool {
	state := e.state
	e.state = lineStart
	if state == inName { // a field without a value
		e.beginValue()
		state = afterColon
	}
	if state == afterColon {
		state = e.value()
	}
	switch state {
	case inData:
		e.h.data(newline)
	case inEventName:
		e.h.named(e.name)
	case lineStart:
		if !e.any {
			return true // an empty block: its bytes are one event without data
		}
		e.any = false
		e.h.dispatch()
		return true
	}
	return false
}

var newline = []byte("\n")
