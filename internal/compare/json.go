package compare

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// difference says where two JSON values differ first; empty: nowhere.
func (d *Differ) difference(x, y any, path []string) string {
	if d.ignores(path) {
		return ""
	}
	here := strings.Join(path, ".")
	if here == "" {
		here = "the answer"
	}
	switch a := x.(type) {
	case map[string]any:
		b, ok := y.(map[string]any)
		if !ok {
			break
		}
		names := maps.Clone(a)
		maps.Copy(names, b)
		for _, name := range slices.Sorted(maps.Keys(names)) {
			_, in := a[name]
			_, too := b[name]
			at := append(slices.Clip(path), name)
			if in != too {
				if d.ignores(at) {
					continue
				}
				return strings.Join(at, ".") + " is in one of them only"
			}
			if why := d.difference(a[name], b[name], at); why != "" {
				return why
			}
		}
		return ""
	case []any:
		b, ok := y.([]any)
		if !ok {
			break
		}
		if len(a) != len(b) {
			return fmt.Sprintf("%s has %d and %d elements", here, len(a), len(b))
		}
		for i := range a {
			if why := d.difference(a[i], b[i], append(slices.Clip(path), strconv.Itoa(i))); why != "" {
				return why
			}
		}
		return ""
	case json.Number:
		if b, ok := y.(json.Number); ok && d.near(a, b) {
			return ""
		}
	default:
		if x == y {
			return ""
		}
	}
	return here + " differs"
}

// near holds two numbers against the relative tolerance.
func (d *Differ) near(a, b json.Number) bool {
	if a == b {
		return true
	}
	x, err := a.Float64()
	y, err2 := b.Float64()
	if err != nil || err2 != nil {
		return false
	}
	return x == y || math.Abs(x-y) <= d.rule.Tolerance*max(math.Abs(x), math.Abs(y))
}

// ignores reports whether a path is one of those that do not count.
func (d *Differ) ignores(path []string) bool {
	return slices.ContainsFunc(d.ignore, func(pattern []string) bool {
		return len(path) == len(pattern) && matches(pattern, path)
	})
}

func matches(pattern, path []string) bool {
	for i, p := range pattern {
		if p != "*" && p != path[i] {
			return false
		}
	}
	return true
}
