package prometheus

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// native marks the series that a native histogram is taken apart into: its
// buckets, which are counted each by itself and not summed up, and its count.
const (
	native      = "__native__"
	nativeCount = "count"
)

// rawHistogram is one sample of a native histogram: [seconds, {"count": "n",
// "buckets": [[rule, "lower", "upper", "n"], ...]}].
type rawHistogram struct {
	t       float64
	count   float64
	buckets []rawBucket
}

type rawBucket struct {
	lower, upper string
	count        float64
}

// UnmarshalJSON implements json.Unmarshaler.
func (h *rawHistogram) UnmarshalJSON(b []byte) error {
	var pair []json.RawMessage
	if err := json.Unmarshal(b, &pair); err != nil {
		return err
	}
	if len(pair) != 2 {
		return fmt.Errorf("a histogram of %d parts, expected a time and a value", len(pair))
	}
	var body struct {
		Count   string              `json:"count"`
		Buckets [][]json.RawMessage `json:"buckets"`
	}
	if err := json.Unmarshal(pair[0], &h.t); err != nil {
		return err
	}
	if err := json.Unmarshal(pair[1], &body); err != nil {
		return err
	}
	var err error
	if h.count, err = strconv.ParseFloat(body.Count, 64); err != nil {
		return err
	}
	for _, raw := range body.Buckets {
		if len(raw) != 4 {
			return fmt.Errorf("a bucket of %d parts, expected 4", len(raw))
		}
		var x rawBucket
		var count string
		for i, to := range []*string{&x.lower, &x.upper, &count} {
			if err := json.Unmarshal(raw[i+1], to); err != nil {
				return err
			}
		}
		if x.count, err = strconv.ParseFloat(count, 64); err != nil {
			return err
		}
		h.buckets = append(h.buckets, x)
	}
	return nil
}

// nativeSeries takes a native histogram apart: one series for each bucket, by
// both its bounds, and one for its count.
func nativeSeries(x rawSeries) []series {
	with := func(label, upper string) map[string]string {
		l := maps.Clone(x.Metric)
		if l == nil {
			l = map[string]string{}
		}
		l[native], l[le] = label, upper
		return l
	}
	total := series{labels: with(nativeCount, "+Inf")}
	buckets := map[[2]string]*series{}
	for _, h := range x.Histograms {
		total.samples = append(total.samples, sample{h.t, h.count})
		for _, b := range h.buckets {
			key := [2]string{b.lower, b.upper}
			if buckets[key] == nil {
				buckets[key] = &series{labels: with(b.lower, b.upper)}
			}
			buckets[key].samples = append(buckets[key].samples, sample{h.t, b.count})
		}
	}
	out := []series{total}
	for _, key := range slices.SortedFunc(maps.Keys(buckets), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) }) {
		out = append(out, *buckets[key])
	}
	return out
}
