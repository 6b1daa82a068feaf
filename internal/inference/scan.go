package inference

import (
	"unicode/utf16"
	"unicode/utf8"
)

// scanner reads JSON as it comes, in pieces of any size, and tells its handler
// of the values at wanted paths. It keeps no more than the nesting, one short
// word and one piece of raw JSON within maxRaw, however long the text is.
//
// Beside RFC 8259 it takes NaN, Infinity and -Infinity, which model servers
// written in Python send. Strings are passed on as they are, UTF-8 or not.
type scanner struct {
	h     handler
	state scanState
	root  *node
	stack []frame

	word     []byte // key, number, literal or short string under way
	overlong bool   // word was cut at maxWord
	key      bool   // the string under way is a key
	at       *node  // of the value under way; nil: not wanted
	escape   int    // hex digits left of \u
	unit     rune   // \u under way
	high     rune   // first half of a surrogate pair

	raw      []byte
	rawNode  *node // whose raw JSON is kept; nil: none
	rawDepth int
	rawOver  bool // more than maxRaw
	from     int  // where the raw piece begins in this chunk
}

const (
	maxDepth = 128
	maxWord  = 256
	maxRaw   = 32 << 10
)

// handler is told of wanted values. The bytes are valid during the call only.
type handler interface {
	open(f field, bracket byte) // an object or array begins
	text(f field, piece []byte) // a piece of a string, unescaped
	value(f field, k kind, word []byte)
	raw(f field, json []byte, whole bool)
}

// kind is the type of a scalar.
type kind byte

// The kinds of scalars. A notNumber is NaN or infinite.
const (
	isString kind = iota
	isNumber
	notNumber
	isTrue
	isFalse
	isNull
)

type frame struct {
	node   *node
	index  int
	object bool
}

type scanState byte

const (
	wantValue scanState = iota
	wantFirst           // value or ]
	wantKey
	wantFirstKey // key or }
	wantColon
	afterValue
	inString
	inEscape
	inUnicode
	inWord
	finished
	broken
)

// reset begins another text.
func (s *scanner) reset(root *node, h handler) {
	*s = scanner{h: h, root: root, at: root, stack: s.stack[:0], word: s.word[:0], raw: s.raw[:0]}
}

// begun reports whether anything but space was read.
func (s *scanner) begun() bool { return s.state != wantValue || len(s.stack) > 0 }

// end ends the text and reports whether it was one whole JSON value.
func (s *scanner) end() bool {
	if s.state == inWord && len(s.stack) == 0 {
		s.endWord(nil, 0)
	}
	return s.state == finished
}

// scan reads the next piece.
func (s *scanner) scan(p []byte) {
	s.from = 0
	for i := 0; i < len(p); {
		switch s.state {
		case inString:
			i = s.inString(p, i)
		case inEscape:
			s.inEscape(p[i])
			i++
		case inUnicode:
			s.inUnicode(p[i])
			i++
		case inWord:
			i = s.inWord(p, i)
		case broken:
			return
		default:
			s.step(p, i)
			i++
		}
	}
	if s.rawNode != nil {
		s.keepRaw(p[s.from:])
	}
}

// step takes one byte between values.
func (s *scanner) step(p []byte, i int) {
	c := p[i]
	if c == ' ' || c == '\n' || c == '\r' || c == '\t' {
		return
	}
	switch s.state {
	case wantValue, wantFirst:
		if c == ']' && s.state == wantFirst {
			s.pop(p, i, false)
			return
		}
		s.beginValue(p, i)
	case wantKey, wantFirstKey:
		switch {
		case c == '"':
			s.state, s.key, s.word, s.overlong, s.high = inString, true, s.word[:0], false, 0
		case c == '}' && s.state == wantFirstKey:
			s.pop(p, i, true)
		default:
			s.state = broken
		}
	case wantColon:
		s.state = broken
		if c == ':' {
			s.state = wantValue
		}
	case afterValue:
		s.separate(p, i)
	default:
		s.state = broken
	}
}

// separate takes what follows a member or an element.
func (s *scanner) separate(p []byte, i int) {
	top := &s.stack[len(s.stack)-1]
	switch c := p[i]; {
	case c == ',' && top.object:
		s.state = wantKey
	case c == ',':
		top.index++
		s.at, s.state = top.node.element(top.index), wantValue
	case c == '}' && top.object, c == ']' && !top.object:
		s.pop(p, i, top.object)
	default:
		s.state = broken
	}
}

func (s *scanner) beginValue(p []byte, i int) {
	if s.at != nil && s.at.mode == keepRaw && s.rawNode == nil {
		s.rawNode, s.rawDepth, s.rawOver, s.raw, s.from = s.at, len(s.stack), false, s.raw[:0], i
	}
	switch c := p[i]; c {
	case '{', '[':
		if len(s.stack) >= maxDepth {
			s.state = broken
			return
		}
		if s.at != nil && s.at.field != 0 {
			s.h.open(s.at.field, c)
		}
		s.stack = append(s.stack, frame{node: s.at, object: c == '{'})
		if c == '{' {
			s.state = wantFirstKey
		} else {
			s.at, s.state = s.at.element(0), wantFirst
		}
	case '"':
		s.state, s.key, s.word, s.overlong, s.high = inString, false, s.word[:0], false, 0
	default:
		s.state, s.word, s.overlong = broken, s.word[:0], false
		if wordByte(c) {
			s.state, s.word = inWord, append(s.word, c)
		}
	}
}

// pop ends an object or array.
func (s *scanner) pop(p []byte, i int, object bool) {
	n := len(s.stack) - 1
	if n < 0 || s.stack[n].object != object {
		s.state = broken
		return
	}
	s.stack = s.stack[:n]
	s.ended(p, i+1)
}

// ended follows each value; it ended before p[i].
func (s *scanner) ended(p []byte, i int) {
	s.state = afterValue
	if len(s.stack) == 0 {
		s.state = finished
	}
	if s.rawNode != nil && len(s.stack) == s.rawDepth {
		if p != nil {
			s.keepRaw(p[s.from:i])
		}
		s.h.raw(s.rawNode.field, s.raw, !s.rawOver)
		s.rawNode = nil
	}
}

func (s *scanner) keepRaw(p []byte) {
	room := maxRaw - len(s.raw)
	if len(p) > room {
		s.rawOver = true
		p = p[:room]
	}
	s.raw = append(s.raw, p...)
}

// inString reads the string under way from p[i] on and returns where to go on.
func (s *scanner) inString(p []byte, i int) int {
	start := i
	for i < len(p) && p[i] != '"' && p[i] != '\\' && p[i] >= 0x20 {
		i++
	}
	if i > start {
		s.lone()
		s.piece(p[start:i])
	}
	if i == len(p) {
		return i
	}
	switch p[i] {
	case '"':
		s.lone()
		s.endString(p, i+1)
	case '\\':
		s.state = inEscape
	default:
		s.state = broken // a control character
	}
	return i + 1
}

// piece passes on a piece of a string.
func (s *scanner) piece(p []byte) {
	switch {
	case s.key:
		s.keepWord(p)
	case s.at == nil:
	case s.at.mode == pieces:
		s.h.text(s.at.field, p)
	case s.at.field != 0:
		s.keepWord(p)
	}
}

func (s *scanner) keepWord(p []byte) {
	if room := maxWord - len(s.word); len(p) > room {
		p, s.overlong = p[:room], true
	}
	s.word = append(s.word, p...)
}

func (s *scanner) endString(p []byte, i int) {
	if s.key {
		top := s.stack[len(s.stack)-1]
		s.at = nil
		if !s.overlong {
			s.at = top.node.member(s.word)
		}
		s.state = wantColon
		return
	}
	if s.at != nil && s.at.field != 0 {
		s.h.value(s.at.field, isString, s.word)
	}
	s.ended(p, i)
}

func (s *scanner) inEscape(c byte) {
	s.state = inString
	if c == 'u' {
		s.state, s.escape, s.unit = inUnicode, 4, 0
		return
	}
	const from, to = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
	for k := range len(from) {
		if from[k] == c {
			s.lone()
			s.piece([]byte(to[k : k+1]))
			return
		}
	}
	s.state = broken
}

func (s *scanner) inUnicode(c byte) {
	var digit rune
	switch {
	case c >= '0' && c <= '9':
		digit = rune(c - '0')
	case c >= 'a' && c <= 'f':
		digit = rune(c-'a') + 10
	case c >= 'A' && c <= 'F':
		digit = rune(c-'A') + 10
	default:
		s.state = broken
		return
	}
	s.unit = s.unit<<4 | digit
	if s.escape--; s.escape > 0 {
		return
	}
	s.state = inString
	switch {
	case s.high != 0 && s.unit >= 0xDC00 && s.unit < 0xE000:
		r := utf16.DecodeRune(s.high, s.unit)
		s.high = 0
		s.rune(r)
	case s.unit >= 0xD800 && s.unit < 0xDC00:
		s.lone()
		s.high = s.unit
	default:
		s.lone()
		s.rune(s.unit)
	}
}

// lone passes on a first half of a surrogate pair whose second did not come.
func (s *scanner) lone() {
	if s.high != 0 {
		s.high = 0
		s.rune(utf8.RuneError)
	}
}

func (s *scanner) rune(r rune) {
	var b [utf8.UTFMax]byte
	s.piece(b[:utf8.EncodeRune(b[:], r)])
}

func wordByte(c byte) bool {
	return c >= '0' && c <= '9' || c == '-' || c == '+' || c == '.' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func (s *scanner) inWord(p []byte, i int) int {
	start := i
	for i < len(p) && wordByte(p[i]) {
		i++
	}
	s.keepWord(p[start:i])
	if i < len(p) {
		s.endWord(p, i)
	}
	return i
}

func (s *scanner) endWord(p []byte, i int) {
	k, ok := classify(s.word)
	if !ok {
		s.state = broken
		return
	}
	if s.at != nil && s.at.field != 0 {
		s.h.value(s.at.field, k, s.word)
	}
	s.ended(p, i)
}

func classify(w []byte) (kind, bool) {
	switch string(w) {
	case "true":
		return isTrue, true
	case "false":
		return isFalse, true
	case "null":
		return isNull, true
	case "NaN", "Infinity", "-Infinity":
		return notNumber, true
	}
	return isNumber, validNumber(w)
}

// validNumber checks the grammar of RFC 8259, section 6.
func validNumber(w []byte) bool {
	digits := func() (n int) {
		for len(w) > 0 && w[0] >= '0' && w[0] <= '9' {
			w, n = w[1:], n+1
		}
		return n
	}
	if len(w) > 0 && w[0] == '-' {
		w = w[1:]
	}
	zero := len(w) > 0 && w[0] == '0'
	if n := digits(); n == 0 || zero && n > 1 {
		return false
	}
	if len(w) > 0 && w[0] == '.' {
		if w = w[1:]; digits() == 0 {
			return false
		}
	}
	if len(w) > 0 && (w[0] == 'e' || w[0] == 'E') {
		w = w[1:]
		if len(w) > 0 && (w[0] == '+' || w[0] == '-') {
			w = w[1:]
		}
		if digits() == 0 {
			return false
		}
	}
	return len(w) == 0
}
