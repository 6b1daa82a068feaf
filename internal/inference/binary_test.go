package inference

import (
	"encoding/binary"
	"math"
	"net/http"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haldane-project/haldane/internal/release"
)

// bytesOf are values as the binary extension sends them.
func bytesOf(t *testing.T, values ...any) string {
	var out []byte
	for _, v := range values {
		var err error
		if out, err = binary.Append(out, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	return string(out)
}

// TestBinaryTensors: data after the JSON is read as data in it is, and what has a
// datatype that is not read counts by its shape.
func TestBinaryTensors(t *testing.T) {
	nan := float32(math.NaN())
	output := func(datatype, shape, more string) string {
		return `{"name":"y","datatype":"` + datatype + `","shape":[` + shape + `]` + more + `}`
	}
	size := func(n int) string { return `,"parameters":{"binary_data_size":` + strconv.Itoa(n) + `}` }
	for name, c := range map[string]struct {
		outputs, data string
		cause         string
		want          func(*release.Answer)
	}{
		"scores": {output("FP32", "1,3", size(12)), bytesOf(t, []float32{0.25, 0.5, -1}), "", func(a *release.Answer) {
			a.Class, a.Score, a.Scored, a.Shape, a.Datatype, a.Length = "1", .5, true, "1x3", "FP32", 3
		}},
		"a label and doubles": {output("INT64", "1", size(8)) + "," + output("FP64", "2,2", size(32)), bytesOf(t, int64(-7), []float64{0.75, 0.25, 0, 1}), "", func(a *release.Answer) {
			a.Class, a.Score, a.Scored, a.Shape, a.Datatype, a.Length = "-7", .75, true, "1", "INT64", 5
		}},
		"NaN": {output("FP32", "2", size(8)), bytesOf(t, nan, float32(math.Inf(1))), "", func(a *release.Answer) {
			a.NaN, a.Shape, a.Datatype, a.Length = 2, "2", "FP32", 2
		}},
		"some in the JSON": {output("FP32", "1,2", size(8)) + "," + output("INT32", "1", `,"data":[4]`) + "," + output("BOOL", "1", size(1)), bytesOf(t, []float32{2, 1}, true), "", func(a *release.Answer) {
			a.Class, a.Score, a.Scored, a.Shape, a.Datatype, a.Length = "4", 2, true, "1x2", "FP32", 4
		}},
		"texts are not read": {output("BYTES", "1", size(7)) + "," + output("UINT16", "1", size(2)), "\x03\x00\x00\x00cat" + bytesOf(t, uint16(65535)), "", func(a *release.Answer) {
			a.Class, a.Shape, a.Datatype, a.Length = "65535", "1", "BYTES", 2
		}},
		"halves": {output("BF16", "1,2", size(4)), bytesOf(t, []uint16{0x3f80, 0x4000}), "", func(a *release.Answer) {
			a.Class, a.Score, a.Scored, a.Shape, a.Datatype, a.Length = "1", 2, true, "1x2", "BF16", 2
		}},
		"wrong shape": {output("FP32", "1,4", size(8)), bytesOf(t, []float32{1, 2}), "", func(a *release.Answer) {
			a.Class, a.Score, a.Scored, a.Shape, a.Datatype, a.Length = "1", 2, true, "1x4", "FP32", 2
			a.Format, a.FormatProblem = release.FormatInvalid, "output 0: the shape 1x4 has 4 values, the data 2"
		}},
		"nothing": {output("FP32", "0", size(0)), "", "", func(a *release.Answer) { a.Shape, a.Datatype = "0", "FP32" }},
		"half of the data": {output("FP32", "1,3", size(12)), bytesOf(t, float32(1)), "BadResponse", func(a *release.Answer) {
			a.Class, a.Score, a.Scored, a.Shape, a.Datatype, a.Length = "0", 1, true, "1x3", "FP32", 1
			a.Unread, a.Complete, a.Format = release.UnreadInvalid, false, release.FormatInvalid
			a.FormatProblem = "output 0: the shape 1x3 has 3 values, the data 1"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			head := `{"model_name":"digits","model_version":"3","outputs":[` + c.outputs + `]}`
			e := exchange{path: "/v2/models/digits/infer", request: `{}`, answer: head + c.data,
				header: http.Header{"Content-Type": {"application/octet-stream"}, "Inference-Header-Content-Length": {strconv.Itoa(len(head))}}}
			want := release.Answer{API: release.InferAPI, Model: "digits", ModelVersion: "3", Complete: true, Format: release.FormatValid}
			c.want(&want)
			for how, split := range map[string]func(string) []string{"whole": inOne, "by byte": byBytes} {
				o, _, got := e.pass(t, interpreterOfTests(), split, 0)
				if diff := cmp.Diff(want, unnamed(o.Answer)); diff != "" || o.Cause != c.cause || got != e.answer {
					t.Errorf("%s: cause %q, facts (-want +got):\n%s", how, o.Cause, diff)
				}
			}
		})
	}
}

// FuzzBinary reads any bytes as an answer with data after its JSON, whose length
// the header may say wrongly.
func FuzzBinary(f *testing.F) {
	const head = `{"outputs":[{"datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}},{"datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":5}}]}`
	f.Add(head+"\x00\x00\x80\x3f\x00\x00\xc0\x7f\x01\x00\x00\x00x", int64(len(head)), []byte{3})
	f.Add(head, int64(1), []byte{0})
	f.Fuzz(func(t *testing.T, answer string, length int64, cuts []byte) {
		e := exchange{path: "/v2/models/m/infer", request: `{}`, answer: answer,
			header: http.Header{"Content-Type": {"application/octet-stream"}, "Inference-Header-Content-Length": {strconv.FormatInt(length, 10)}}}
		one, _, got := e.pass(t, interpreterOfTests(), inOne, 0)
		many, _, _ := e.pass(t, interpreterOfTests(), cutAt(cuts), 0)
		if diff := cmp.Diff(one, many, cmp.Comparer(sameFloat)); diff != "" || got != answer {
			t.Fatalf("in pieces:\n%s", diff)
		}
	})
}
