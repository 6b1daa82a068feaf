package judge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
)

// maxVerify bounds a reference file.
const maxVerify = 64 << 20

// Miss is a reference value that was not met.
type Miss struct {
	Case   string  `json:"case"`
	Method string  `json:"method"`
	Figure string  `json:"figure"` // the name, with its index in a list
	Want   float64 `json:"want"`
	Got    float64 `json:"got"`
	Why    string  `json:"why,omitempty"` // when nothing could be computed
}

// String says the miss in one line.
func (m Miss) String() string {
	if m.Why != "" {
		return fmt.Sprintf("%s (%s): %s", m.Case, m.Method, m.Why)
	}
	return fmt.Sprintf("%s (%s): %s is %.17g, expected %.17g", m.Case, m.Method, m.Figure, m.Got, m.Want)
}

// Verified says what a reference file held.
type Verified struct {
	Cases   int    `json:"cases"`
	Figures int    `json:"figures"`
	Misses  []Miss `json:"misses"`
}

type referenceFile struct {
	Cases []referenceCase `json:"cases"`
}

type referenceCase struct {
	ID       string          `json:"id"`
	Method   string          `json:"method"`
	Inputs   json.RawMessage `json:"inputs"`
	Expected json.RawMessage `json:"expected"`
	Tol      float64         `json:"tol"`
}

// Verify recomputes a file of reference values ({"cases": [{"id", "method",
// "inputs", "expected", "tol"}]}) and returns every figure for which
// |got-expected| > tol*max(1, |expected|). Only a file that cannot be read is an
// error; an unknown method or a figure that cannot be computed is a miss.
func Verify(r io.Reader) (Verified, error) {
	var f referenceFile
	text, err := io.ReadAll(io.LimitReader(r, maxVerify))
	if err == nil {
		err = json.Unmarshal(text, &f)
	}
	if err != nil {
		return Verified{}, fmt.Errorf("judge: the reference file cannot be read%s: %w", lineOf(text, err), err)
	}
	if len(f.Cases) == 0 {
		return Verified{}, errors.New("judge: the reference file has no cases")
	}
	out := Verified{Cases: len(f.Cases), Misses: []Miss{}}
	for _, c := range f.Cases {
		n, misses := c.verify()
		out.Figures += n
		out.Misses = append(out.Misses, misses...)
	}
	return out, nil
}

// lineOf says in which line of a JSON text an error is.
func lineOf(text []byte, err error) string {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	at := int64(-1)
	switch {
	case errors.As(err, &syntax):
		at = syntax.Offset
	case errors.As(err, &kind):
		at = kind.Offset
	}
	if at < 0 || at > int64(len(text)) {
		return ""
	}
	return fmt.Sprintf(", line %d", 1+bytes.Count(text[:at], []byte("\n")))
}

func (c referenceCase) miss(format string, args ...any) []Miss {
	return []Miss{{Case: c.ID, Method: c.Method, Why: fmt.Sprintf(format, args...)}}
}

func (c referenceCase) verify() (int, []Miss) {
	var run func(inputs) ([]figure, error)
	var known []string
	for _, m := range methods {
		known = append(known, m.name)
		if m.name == c.Method {
			run = m.run
		}
	}
	if run == nil {
		return 0, c.miss("the method is unknown, expected one of %s", strings.Join(known, ", "))
	}
	in, err := decodeInputs(c.Inputs)
	if err != nil {
		return 0, c.miss("the inputs cannot be read: %v", err)
	}
	got, err := compute(run, in)
	if err != nil {
		return 0, c.miss("%v", err)
	}
	var want map[string]numbers
	if err := json.Unmarshal(c.Expected, &want); err != nil {
		return 0, c.miss("the expected values cannot be read: %v", err)
	}
	return c.compare(got, want)
}

// compute runs a method; special functions panic outside of their domain.
func compute(run func(inputs) ([]figure, error), in inputs) (got []figure, err error) {
	defer func() {
		if p := recover(); p != nil {
			got, err = nil, fmt.Errorf("the inputs are outside of the method's domain: %v", p)
		}
	}()
	return run(in)
}

func (c referenceCase) compare(got []figure, want map[string]numbers) (n int, misses []Miss) {
	met := 0
	for _, g := range got {
		w, ok := want[g.name]
		if !ok {
			continue
		}
		met++
		if strings.HasSuffix(g.name, "_path") && len(g.values) > len(w) {
			g.values = g.values[len(g.values)-len(w):] // a file may keep the end of a path only
		}
		if len(g.values) != len(w) {
			misses = append(misses, c.miss("%s has %d values, expected %d", g.name, len(g.values), len(w))...)
			continue
		}
		for i, x := range g.values {
			n++
			name := g.name
			if len(w) > 1 {
				name = fmt.Sprintf("%s[%d]", g.name, i)
			}
			if !(math.Abs(x-w[i]) <= c.Tol*math.Max(1, math.Abs(w[i]))) {
				misses = append(misses, Miss{Case: c.ID, Method: c.Method, Figure: name, Want: w[i], Got: finiteOr(x)})
			}
		}
	}
	if met < len(want) {
		misses = append(misses, c.miss("%d of %d expected figures are not computed by the method", len(want)-met, len(want))...)
	}
	if len(want) == 0 {
		misses = append(misses, c.miss("no value is expected")...)
	}
	return n, misses
}

// finiteOr keeps a miss printable as JSON.
func finiteOr(x float64) float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return math.MaxFloat64
	}
	return x
}
