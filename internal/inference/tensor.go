package inference

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"strconv"
	"strings"

	"github.com/haldane-project/haldane/internal/release"
)

// tensor reads the outputs of the Open Inference Protocol: their shapes, their
// numbers that are none, and from the first row of the data what was predicted.
// The class is the first value of a tensor of integers, booleans or texts, else
// the index of the largest of a row of scores.
type tensor struct {
	outputs  int
	index    int // of the output under way
	datatype string
	shape    []int64
	count    int64 // values of the output under way
	nan      int64

	bytes     int64 // of its data after the JSON; -1: the data is in it
	elsewhere []outside
	closed    bool // none is under way

	best    float64 // of the first row
	bestAt  int64
	row     int64 // its length; 0: not known when the data came
	label   string
	labeled bool // label stands
	ranked  bool // best stands

	total   int64
	class   string
	rank    string // class by the largest score
	score   float64
	scored  bool
	invalid string
}

const (
	maxClass = 64
	maxRank  = 8 // dimensions that are kept of a shape
)

// dimension adds one to the shape of the output under way.
func (t *tensor) dimension(n int64) {
	if len(t.shape) < maxRank {
		t.shape = append(t.shape, n)
	}
}

// next ends the output under way and begins another one.
func (t *tensor) next(a *release.Answer) {
	t.close(a)
	t.index = t.outputs
	t.outputs++
	t.begin()
}

func (t *tensor) begin() {
	t.datatype, t.shape, t.count, t.row, t.bytes = "", t.shape[:0], 0, 0, -1
	t.labeled, t.ranked, t.label = false, false, ""
}

// value takes one value of the data.
func (t *tensor) value(k kind, w []byte) {
	at := t.place()
	if k == notNumber || k == isNull {
		t.nan++
		return
	}
	if t.row > 0 && at >= t.row {
		return
	}
	if k == isString || k == isTrue || k == isFalse || t.counts() {
		if at == 0 && len(w) <= maxClass {
			t.label, t.labeled = string(w), true
		}
		return
	}
	if v, err := strconv.ParseFloat(string(w), 64); err == nil {
		t.rankAt(at, v)
	}
}

// place is the place of the next value.
func (t *tensor) place() int64 {
	if t.count == 0 {
		t.row = t.last()
	}
	t.count++
	return t.count - 1
}

// counts reports whether the data are numbers of classes, not scores.
func (t *tensor) counts() bool {
	return strings.HasPrefix(t.datatype, "INT") || strings.HasPrefix(t.datatype, "UINT") || t.datatype == "BOOL"
}

// number takes one value of data in binary form.
func (t *tensor) number(v float64) {
	at := t.place()
	switch {
	case math.IsNaN(v), math.IsInf(v, 0):
		t.nan++
	case t.row > 0 && at >= t.row:
	case !t.counts():
		t.rankAt(at, v)
	case at == 0 && t.datatype == "BOOL":
		t.label, t.labeled = strconv.FormatBool(v != 0), true
	case at == 0:
		t.label, t.labeled = strconv.FormatFloat(v, 'f', -1, 64), true
	}
}

func (t *tensor) rankAt(at int64, v float64) {
	if !t.ranked || v > t.best {
		t.best, t.bestAt, t.ranked = v, at, true
	}
}

// last is the last dimension, the length of a row; 0: not known.
func (t *tensor) last() int64 {
	if len(t.shape) == 0 {
		return 0
	}
	return t.shape[len(t.shape)-1]
}

// close adds the output under way to the facts.
func (t *tensor) close(a *release.Answer) {
	if t.outputs == 0 || t.closed {
		return
	}
	if t.bytes >= 0 {
		t.postpone()
		return
	}
	t.total += t.count
	if t.index == 0 {
		a.Shape, a.Datatype = shapeText(t.shape), t.datatype
	}
	if size, known := t.size(); known && size != t.count && t.invalid == "" {
		t.invalid = "output " + strconv.Itoa(t.index) + ": the shape " + shapeText(t.shape) + " has " +
			strconv.FormatInt(size, 10) + " values, the data " + strconv.FormatInt(t.count, 10)
	}
	row := t.last()
	switch {
	case t.labeled && t.class == "":
		t.class = t.label
	case t.ranked && t.row == 0 && row != t.count: // the shape came too late to know the row
	case t.ranked && !t.scored:
		t.score, t.scored = t.best, true
		if row > 1 {
			t.rank = strconv.FormatInt(t.bestAt, 10)
		}
	}
}

// size is the number of values that the shape says.
func (t *tensor) size() (n int64, known bool) {
	n = 1
	for _, d := range t.shape {
		if d != 0 && n > math.MaxInt64/d {
			return 0, false
		}
		n *= d
	}
	return n, len(t.shape) > 0 && len(t.shape) < maxRank
}

func shapeText(shape []int64) string {
	var b []byte
	for i, d := range shape {
		if i > 0 {
			b = append(b, 'x')
		}
		b = strconv.AppendInt(b, d, 10)
	}
	return string(b)
}

// end writes what was found.
func (t *tensor) end(a *release.Answer) {
	if t.outputs == 0 {
		return
	}
	t.close(a)
	a.Length, a.NaN, a.Score, a.Scored = t.total, t.nan, t.score, t.scored
	if a.Class = t.class; a.Class == "" {
		a.Class = t.rank
	}
	if t.invalid != "" {
		a.Format, a.FormatProblem = release.FormatInvalid, t.invalid
	}
}

// vector measures embeddings, as lists of numbers or as base64 of 32-bit floats.
type vector struct {
	count   int64 // vectors
	values  int64
	squares float64
	nan     int64

	quad  [4]byte // base64 digits under way
	quads int
	bytes [4]byte
	have  int
}

func (v *vector) value(k kind, w []byte) {
	v.values++
	x, err := strconv.ParseFloat(string(w), 64)
	if k != isNumber || err != nil {
		v.nan++
		return
	}
	v.squares += x * x
}

// base64 takes the next digits.
func (v *vector) base64(p []byte) {
	for _, c := range p {
		v.quad[v.quads] = c
		if v.quads++; v.quads < len(v.quad) {
			continue
		}
		v.quads = 0
		var out [3]byte
		n, err := base64.StdEncoding.Decode(out[:], v.quad[:])
		if err != nil {
			v.nan++
			continue
		}
		for _, b := range out[:n] {
			v.byte(b)
		}
	}
}

func (v *vector) byte(b byte) {
	v.bytes[v.have] = b
	if v.have++; v.have < len(v.bytes) {
		return
	}
	v.have = 0
	v.values++
	x := float64(math.Float32frombits(binary.LittleEndian.Uint32(v.bytes[:])))
	if math.IsNaN(x) || math.IsInf(x, 0) {
		v.nan++
		return
	}
	v.squares += x * x
}

// end writes the dimensions and the norm, the mean of several vectors (root of
// the mean square).
func (v *vector) end(a *release.Answer) {
	if v.count == 0 {
		return
	}
	a.Length, a.NaN, a.Norm = v.values/v.count, v.nan, math.Sqrt(v.squares/float64(v.count))
}
