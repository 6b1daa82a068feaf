package inference

import (
	"hash/maphash"
	"strconv"
	"unicode/utf8"

	"github.com/haldane-project/haldane/internal/release"
)

// request is what a request asks for. It is told by its body as it comes.
type request struct {
	scanner    scanner
	model      string
	stream     bool
	choices    int64 // how many answers at once; 0: not said
	options    bool  // stream_options is there
	usage      bool  // ... and asks for usage
	characters int
	prompt     maphash.Hash // of the texts
	format     []byte       // response_format, raw
	tools      []byte
	unread     bool // format or tools are too large to be kept
}

// promptSeed is one for all requests, so that equal texts have equal hashes.
var promptSeed = maphash.MakeSeed()

// promptHash tells whether two requests ask the same; 0: this one asks nothing
// that an answer could be regenerated for.
func (q *request) promptHash(api release.ModelAPI) uint64 {
	if q.characters == 0 || api == release.EmbeddingAPI {
		return 0
	}
	return q.prompt.Sum64()
}

func newRequest(api release.ModelAPI) *request {
	q := &request{}
	q.prompt.SetSeed(promptSeed)
	root := chatRequest
	if api == release.InferAPI || api == release.JSONAPI {
		root = nil
	}
	q.scanner.reset(root, q)
	return q
}

func (q *request) open(f field, bracket byte) {
	if f == fStreamOptions && bracket == '{' {
		q.options = true
	}
}

func (q *request) text(f field, piece []byte) {
	if f == fInput {
		q.characters += runes(piece)
		_, _ = q.prompt.Write(piece) // never fails
	}
}

// runes counts the runes that begin in a piece of a text.
func runes(piece []byte) (n int) {
	for _, c := range piece {
		if utf8.RuneStart(c) {
			n++
		}
	}
	return n
}

func (q *request) value(f field, k kind, w []byte) {
	switch f {
	case fModel:
		q.model = string(w)
	case fStream:
		q.stream = k == isTrue
	case fIncludeUsage:
		q.usage = k == isTrue
	case fStreamOptions:
		q.options = k != isNull
	case fChoicesWanted:
		q.choices, _ = strconv.ParseInt(string(w), 10, 64) // another kind: not said
	}
}

func (q *request) raw(f field, json []byte, whole bool) {
	if !whole {
		q.unread = true
		return
	}
	switch f {
	case fResponseFormat:
		q.format = append([]byte(nil), json...)
	case fTools:
		q.tools = append([]byte(nil), json...)
	}
}
