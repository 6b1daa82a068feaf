package inference

import "time"

// filter holds an event back until it is known whether the client gets it.
type filter struct {
	held      []byte // of the event under way
	out       []byte
	passing   bool // what is left of the event under way passes
	boundary  bool // the last byte ended an event
	usageOnly bool // the event that ended is the usage chunk
	dropped   bool // ... and was taken out
}

// maxHeld bounds the bytes held back; a usage chunk is far smaller.
const maxHeld = 4 << 10

// Hide reads the next bytes, which came at at, and returns those that the client
// gets now: all but the usage chunk. The rest of an event that has not come
// whole follows as soon as it is seen to be another one. It may change p and
// returns bytes that are valid until the next call.
func (r *Reply) Hide(p []byte, at time.Time) []byte {
	r.at = at
	f := &r.filter
	out := p[:0] // never longer than what was read
	if len(f.held) > 0 {
		out = f.out[:0]
	}
	fresh := len(f.held) > 0
	for len(p) > 0 {
		f.usageOnly = false
		n, ended := r.feed(p)
		piece := p[:n]
		p = p[n:]
		late := f.boundary && r.events.late
		f.boundary = ended
		switch {
		case late: // the LF of a CR that ended the event before
			if !f.dropped {
				out = append(out, piece...)
			}
		case ended:
			if f.dropped = f.usageOnly && !f.passing; !f.dropped {
				out = append(append(out, f.held...), piece...)
			}
			f.held, f.passing = f.held[:0], false
		case f.passing, r.event.choice, len(f.held)+len(piece) > maxHeld:
			f.passing = true
			out = append(append(out, f.held...), piece...)
			f.held = f.held[:0]
		default:
			f.held = append(f.held, piece...)
		}
	}
	if fresh {
		f.out = out
	}
	return out
}

// Rest returns the bytes that are still held when the answer has ended.
func (r *Reply) Rest() []byte {
	held := r.filter.held
	r.filter.held = nil
	return held
}
