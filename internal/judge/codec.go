package judge

import (
	"encoding/binary"
	"errors"
	"math"
)

func appendFloat(b []byte, x float64) []byte {
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(x))
}

func appendBool(b []byte, x bool) []byte {
	if x {
		return append(b, 1)
	}
	return append(b, 0)
}

// decoder reads what the append functions wrote; after the first error it
// returns zeros.
type decoder struct {
	b   []byte
	err error
	at  float64 // time of the last batch of the metric that is read
}

var errShort = errors.New("it ends too early")

func (d *decoder) take(n int) []byte {
	if d.err == nil && len(d.b) < n {
		d.err = errShort
	}
	if d.err != nil {
		return make([]byte, n)
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) byte() byte     { return d.take(1)[0] }
func (d *decoder) bool() bool     { return d.byte() != 0 }
func (d *decoder) uint64() uint64 { return binary.LittleEndian.Uint64(d.take(8)) }

// float reads a number that is not NaN.
func (d *decoder) float() float64 {
	x := math.Float64frombits(d.uint64())
	if math.IsNaN(x) {
		d.fail("a number is NaN")
		return 0
	}
	return x
}

// count reads a number of things.
func (d *decoder) count() int64 {
	if d.err != nil {
		return 0
	}
	x, n := binary.Uvarint(d.b)
	if n <= 0 || x > 1<<62 {
		d.fail("a count cannot be read")
		return 0
	}
	d.b = d.b[n:]
	return int64(x)
}

func (d *decoder) fail(why string) {
	if d.err == nil {
		d.err = errors.New(why)
	}
}

func (d *decoder) floats(xs []float64) {
	for i := range xs {
		xs[i] = d.float()
	}
}

func appendFloats(b []byte, xs []float64) []byte {
	for _, x := range xs {
		b = appendFloat(b, x)
	}
	return b
}

// appendNumber writes a number that is most often a count: counted from 1, or as 0
// and the number itself.
func appendNumber(b []byte, x float64) []byte {
	if x >= 0 && x <= float64(maxCount) && x == math.Floor(x) {
		return appendCount(b, int64(x)+1)
	}
	return appendFloat(appendCount(b, 0), x)
}

func (d *decoder) number() float64 {
	if k := d.count(); k > 0 {
		return float64(k - 1)
	}
	return d.float()
}

// How seconds are written: as 2 n + 1 where they are n of them, as 2 n + 2 where
// they are n nanoseconds, which most times are, or as 0 and the number itself.
func appendTime(b []byte, x float64) []byte {
	ns := int64(math.Round(min(max(x, 0), 1e9) * 1e9))
	switch {
	case secondsOf(ns) != x:
		return appendFloat(appendCount(b, 0), x)
	case ns%1e9 == 0:
		return appendCount(b, 2*(ns/1e9)+1)
	}
	return appendCount(b, 2*ns+2)
}

func secondsOf(ns int64) float64 { return float64(ns/1e9) + float64(ns%1e9)/1e9 }

func (d *decoder) time() float64 {
	switch k := d.count(); {
	case k == 0:
		return d.float()
	case k%2 == 1:
		return float64(k / 2)
	default:
		return secondsOf(k/2 - 1)
	}
}

// appendSingles writes numbers of single precision.
func appendSingles(b []byte, xs []float64) []byte {
	for _, x := range xs {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(x)))
	}
	return b
}

func (d *decoder) singles(xs []float64) {
	for i := range xs {
		x := float64(math.Float32frombits(binary.LittleEndian.Uint32(d.take(4))))
		if math.IsNaN(x) {
			d.fail("a number is NaN")
			x = 0
		}
		xs[i] = x
	}
}

// appendShorts writes numbers whose last shortBits are 0.
func appendShorts(b []byte, xs []float64) []byte {
	for _, x := range xs {
		bits := math.Float64bits(x)
		b = binary.LittleEndian.AppendUint32(append(b, byte(bits>>shortBits)), uint32(bits>>(shortBits+8)))
	}
	return b
}

func (d *decoder) shorts(xs []float64) {
	for i := range xs {
		low := uint64(d.byte())
		bits := low<<shortBits | uint64(binary.LittleEndian.Uint32(d.take(4)))<<(shortBits+8)
		if xs[i] = math.Float64frombits(bits); math.IsNaN(xs[i]) {
			d.fail("a number is NaN")
			xs[i] = 0
		}
	}
}

// appendBools writes them as bits.
func appendBools(b []byte, xs []bool) []byte {
	for i, x := range xs {
		if i%8 == 0 {
			b = append(b, 0)
		}
		if x {
			b[len(b)-1] |= 1 << (i % 8)
		}
	}
	return b
}

func (d *decoder) bools(xs []bool) {
	bits := d.take((len(xs) + 7) / 8)
	for i := range xs {
		xs[i] = bits[i/8]>>(i%8)&1 != 0
	}
}

func (d *decoder) signed() int64 {
	x, n := binary.Varint(d.b)
	if d.err == nil && (n <= 0 || x < -1<<62 || x > 1<<62) {
		d.fail("a count cannot be read")
	}
	if d.err != nil {
		return 0
	}
	d.b = d.b[n:]
	return x
}

func appendCount(b []byte, n int64) []byte { return binary.AppendUvarint(b, uint64(n)) }

// appendLearned writes a number that is a count or one of single precision.
func appendLearned(b []byte, x float64) []byte {
	if x >= 0 && x <= float64(maxCount) && x == math.Floor(x) {
		return appendCount(b, int64(x)+1)
	}
	return appendSingles(appendCount(b, 0), []float64{x})
}

func (d *decoder) learned() float64 {
	if k := d.count(); k > 0 {
		return float64(k - 1)
	}
	var x [1]float64
	d.singles(x[:])
	return x[0]
}

// shareParts is the resolution of weights: most shares are whole numbers of
// this many parts.
const shareParts = 1e4

// appendShare writes a share as its parts, counted from 1, or as 0 and the
// number itself.
func appendShare(b []byte, w float64) []byte {
	if k := math.Round(w * shareParts); k/shareParts == w {
		return appendCount(b, int64(k)+1)
	}
	return appendFloat(appendCount(b, 0), w)
}

func (d *decoder) share() float64 {
	if k := d.count(); k > 0 {
		return float64(k-1) / shareParts
	}
	return d.float()
}
