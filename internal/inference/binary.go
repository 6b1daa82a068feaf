package inference

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"

	"github.com/haldane-project/haldane/internal/release"
)

// tail reads an answer of the Open Inference Protocol's binary extension: JSON of
// a length that a header says, then the data of those outputs that have a
// binary_data_size, one after the other, little-endian.
type tail struct {
	head    int64     // bytes of JSON to come
	outputs []outside // whose data is still to come, in order
	begun   bool      // the first of them
	part    [8]byte   // a value whose end has not come
	have    int
}

// outside is an output whose data stands after the JSON.
type outside struct {
	index    int
	datatype string
	shape    []int64
	size     int64 // bytes to come
}

// mostOutside bounds the outputs that are kept; of further ones nothing is read.
const mostOutside = 64

// width is the size of a value of a datatype; 0: such data is not read.
func width(datatype string) int {
	switch datatype {
	case "FP64", "INT64", "UINT64":
		return 8
	case "FP32", "INT32", "UINT32":
		return 4
	case "BF16", "INT16", "UINT16":
		return 2
	case "INT8", "UINT8", "BOOL":
		return 1
	}
	return 0
}

// readTail reads the next bytes of such an answer.
func (r *Reply) readTail(p []byte) {
	t := r.tail
	n := min(t.head, int64(len(p)))
	r.scanner.scan(p[:n])
	p = p[n:]
	if t.head -= n; t.head > 0 {
		return
	}
	if !t.begun {
		t.begun = true
		t.outputs = r.tensor.leave(r.facts)
		r.enter()
	}
	for len(p) > 0 && len(t.outputs) > 0 {
		o := &t.outputs[0]
		n := min(o.size, int64(len(p)))
		r.values(p[:n], width(o.datatype))
		p = p[n:]
		if o.size -= n; o.size == 0 {
			t.outputs = t.outputs[1:]
			r.enter()
		}
	}
}

// enter begins with the next output that has data.
func (r *Reply) enter() {
	t := r.tail
	t.have = 0
	for len(t.outputs) > 0 {
		o := &t.outputs[0]
		r.tensor.enter(o, r.facts)
		if o.size > 0 {
			return
		}
		t.outputs = t.outputs[1:]
	}
}

// values takes the next bytes of an output's data.
func (r *Reply) values(p []byte, width int) {
	if width == 0 {
		return
	}
	t := r.tail
	datatype := t.outputs[0].datatype
	for len(p) > 0 {
		n := copy(t.part[t.have:width], p)
		t.have, p = t.have+n, p[n:]
		if t.have == width {
			t.have = 0
			r.tensor.number(decodeValue(datatype, t.part[:width]))
		}
	}
}

// decodeValue is a value of a datatype that has a width.
func decodeValue(datatype string, b []byte) float64 {
	var u uint64
	for i, c := range b {
		u |= uint64(c) << (8 * i)
	}
	switch datatype {
	case "FP64":
		return math.Float64frombits(u)
	case "FP32":
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
	case "BF16":
		return float64(math.Float32frombits(uint32(u) << 16)) //nolint:gosec // two bytes
	}
	if strings.HasPrefix(datatype, "INT") {
		shift := 64 - 8*len(b)
		return float64(int64(u<<shift) >> shift) //nolint:gosec // the sign is meant
	}
	return float64(u)
}

// leave takes the outputs that have their data elsewhere out of the tensors, once
// all of the JSON is read.
func (t *tensor) leave(a *release.Answer) []outside {
	t.close(a)
	t.closed = true
	return t.elsewhere
}

// enter begins with an output whose data follows.
func (t *tensor) enter(o *outside, a *release.Answer) {
	if !t.closed {
		t.close(a)
	}
	t.begin()
	t.index, t.datatype, t.shape, t.closed = o.index, o.datatype, o.shape, false
	if size, known := t.size(); width(o.datatype) == 0 && known {
		t.count = size // as the shape says
	}
}

// postpone keeps the output under way for when its data comes.
func (t *tensor) postpone() {
	if len(t.elsewhere) < mostOutside {
		t.elsewhere = append(t.elsewhere, outside{t.index, t.datatype, slices.Clone(t.shape), t.bytes})
	}
}
