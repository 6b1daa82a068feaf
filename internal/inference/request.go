package inference

import (
	"hash/maphash"
	"math"
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
	said       bool  // ... or says that it does not
	characters int
	numbers    numbers
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
	switch {
	case q.characters == 0:
		return 0
	case api == release.ChatAPI, api == release.CompletionAPI, api == release.ResponseAPI:
		return q.prompt.Sum64()
	}
	return 0
}

// asked is what is wanted of an API's requests.
func (i *Interpreter) asked(api release.ModelAPI) *node {
	switch api {
	case release.InferAPI:
		return inferRequest
	case release.JSONAPI:
		return i.input
	}
	return chatRequest
}

func newRequest(root *node) *request {
	q := &request{}
	q.prompt.SetSeed(promptSeed)
	q.scanner.reset(root, q)
	return q
}

// numbers measures what a model is asked about, other than texts.
type numbers struct {
	count int64   // values
	sized int64   // values that shapes say: data may come in binary form
	shape int64   // product of the shape under way; 0: none
	read  int64   // numbers in sum, mostNumbers at most
	sum   float64 // of the first numbers
}

// mostNumbers bounds the numbers of a request that are read for their mean.
const mostNumbers = 4096

// value takes one value of the data; what is no number only counts.
func (n *numbers) value(k kind, w []byte) {
	n.count++
	if k != isNumber || n.read >= mostNumbers {
		return
	}
	if v, err := strconv.ParseFloat(string(w), 64); err == nil {
		n.read, n.sum = n.read+1, n.sum+v
	}
}

// dimension takes one of the shape under way.
func (n *numbers) dimension(d int64) {
	switch {
	case d <= 0, n.shape > math.MaxInt64/d:
		n.shape = 0
	default:
		n.shape *= d
	}
}

// closeShape ends the shape under way.
func (n *numbers) closeShape() {
	n.sized = min(n.sized, math.MaxInt64-n.shape) + n.shape
	n.shape = 0
}

// tell writes what was found.
func (n *numbers) tell(a *release.Answer) {
	n.closeShape()
	a.InputLength = max(n.count, n.sized)
	if n.read > 0 {
		a.InputScore, a.InputScored = n.sum/float64(n.read), true
	}
}

func (q *request) open(f field, bracket byte) {
	switch f {
	case fStreamOptions:
		q.options = q.options || bracket == '{'
	case fShape:
		q.numbers.closeShape()
		q.numbers.shape = 1
	}
}

func (q *request) text(f field, piece []byte) {
	if f == fInput || f == fDatum {
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
		q.usage, q.said = k == isTrue, true
	case fStreamOptions:
		q.options = k != isNull
	case fDatum:
		q.numbers.value(k, w)
	case fDimension:
		q.numbers.dimension(integer(w))
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
