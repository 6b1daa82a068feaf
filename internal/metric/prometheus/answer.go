package prometheus

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// answer is the result of a query: series with their samples, oldest first. An
// instant vector has one sample in each series, a scalar is a series without
// labels.
type answer struct{ series []series }

type series struct {
	labels  map[string]string
	samples []sample
}

type sample struct {
	t float64 // seconds since 1970
	v float64
}

// body is an answer as it is sent.
type body struct {
	Status string `json:"status"`
	Error  string `json:"error"`
	Data   struct {
		ResultType string          `json:"resultType"`
		Result     json.RawMessage `json:"result"`
	} `json:"data"`
}

// rawSeries is one element of a vector or a matrix.
type rawSeries struct {
	Metric map[string]string `json:"metric"`
	Value  *rawSample        `json:"value"`
	Values []rawSample       `json:"values"`
	// Native histograms: of an instant, which is an error where a number is
	// expected, and of a range.
	Histogram  json.RawMessage `json:"histogram"`
	Histograms []rawHistogram  `json:"histograms"`
}

// rawSample is [seconds, "value"].
type rawSample sample

// UnmarshalJSON implements json.Unmarshaler. An answer has thousands of samples, so
// they are cut and not decoded part by part.
func (s *rawSample) UnmarshalJSON(b []byte) (err error) {
	inner := strings.TrimSuffix(strings.TrimPrefix(string(b), "["), "]")
	at, value, _ := strings.Cut(inner, ",")
	value = strings.TrimSpace(value)
	if len(inner) != len(b)-2 || len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
		return fmt.Errorf("a sample %s, expected a time and a value", b)
	}
	if s.t, err = strconv.ParseFloat(strings.TrimSpace(at), 64); err == nil {
		s.v, err = strconv.ParseFloat(value[1:len(value)-1], 64)
	}
	return err
}

// decode reads an answer. Of what the server says in an error, one short line
// is passed on.
func decode(code int, text []byte) (answer, error) {
	var b body
	if err := json.Unmarshal(text, &b); err != nil || b.Status != "success" && b.Status != "error" {
		return answer{}, fmt.Errorf("the server answered %d %s and not as a Prometheus server does: is the URL right?", code, http.StatusText(code))
	}
	if b.Status == "error" || code != http.StatusOK {
		return answer{}, fmt.Errorf("the Prometheus server refused the query with %d: %s", code, line(b.Error))
	}
	a, err := results(b.Data.ResultType, b.Data.Result)
	if err != nil {
		return answer{}, fmt.Errorf("the Prometheus server's answer is broken: %s", line(err.Error()))
	}
	return a, nil
}

func results(kind string, raw json.RawMessage) (answer, error) {
	switch kind {
	case "scalar":
		var s rawSample
		err := json.Unmarshal(raw, &s)
		return answer{[]series{{samples: []sample{sample(s)}}}}, err
	case "vector", "matrix":
	default:
		return answer{}, fmt.Errorf("a result of type %q, expected a scalar, vector or matrix", kind)
	}
	var list []rawSeries
	if err := json.Unmarshal(raw, &list); err != nil {
		return answer{}, err
	}
	var a answer
	for _, x := range list {
		s := series{labels: x.Metric}
		if x.Histogram != nil {
			return answer{}, fmt.Errorf("a histogram, expected a number")
		}
		if x.Value != nil {
			s.samples = append(s.samples, sample(*x.Value))
		}
		for _, v := range x.Values {
			s.samples = append(s.samples, sample(v))
		}
		if len(x.Histograms) > 0 {
			a.series = append(a.series, nativeSeries(x)...)
			continue
		}
		a.series = append(a.series, s)
	}
	return a, nil
}

// number is the one number of an answer; ok is false where there is none.
func (a answer) number() (v float64, ok bool, err error) {
	switch {
	case len(a.series) == 0:
		return 0, false, nil
	case len(a.series) > 1:
		return 0, false, fmt.Errorf("its query gives %d series, expected one: put sum() or avg() around it", len(a.series))
	case len(a.series[0].samples) == 0:
		return 0, false, nil
	}
	samples := a.series[0].samples
	v = samples[len(samples)-1].v
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, false, fmt.Errorf("its query gives %v", v)
	}
	return v, true, nil
}

// from leaves out what tells nothing of the time after t: all samples but the last
// one before it.
func (a answer) from(t float64) answer {
	out := answer{series: slices.Clone(a.series)}
	for i, s := range out.series {
		for len(s.samples) > 1 && s.samples[1].t <= t {
			s.samples = s.samples[1:]
		}
		out.series[i].samples = s.samples
	}
	return out
}

// line cuts foreign text to one short printable line.
func line(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(text, "?"))
	if r := []rune(text); len(r) > 200 {
		text = string(r[:200]) + "…"
	}
	return text
}
