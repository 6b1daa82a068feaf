// Package compare is the engine that compares the answers of two versions to
// the same request: whether they are the same, by bytes, by JSON values, by the
// predicted class or by words, and what that says about a version once the
// noise of the other one is known. It keeps some of the pairs that differ, with
// secrets masked, for people to look at. It knows the words of package release
// and the judge's bins; no proxy, no run and no statistics: what the pairs prove
// is the judge's to say.
//
// Read this file first, then answer.go (how an answer is read) and recorder.go
// (what becomes evidence, and what is kept).
package compare

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/haldane-project/haldane/internal/release"
)

// Differ compares answers. It never changes and may be used by any goroutine.
type Differ struct {
	rule   release.Comparing
	ignore [][]string
}

// NewDiffer compiles how answers are compared.
func NewDiffer(r release.Comparing) *Differ {
	d := &Differ{rule: r}
	for _, path := range r.Ignore {
		d.ignore = append(d.ignore, strings.Split(path, "."))
	}
	return d
}

// Result is what a comparison of two answers found.
type Result struct {
	How     release.CompareBy
	Skipped string  // why they were not compared; empty: they were
	Same    bool    //
	Score   float64 // how alike they are: 1 or 0, or the similarity of the words
	Why     string  // what differs first
}

// Compare compares b with a. Neither may have failed: a failure is no answer.
func (d *Differ) Compare(a, b *release.Leg) Result {
	switch {
	case d.rule.How == release.CompareNone:
		return Result{Skipped: "answers are not compared"}
	case a.Outcome != release.OK || b.Outcome != release.OK:
		return Result{Skipped: "a version failed"}
	case a.Status != b.Status:
		return Result{How: release.CompareExact, Why: fmt.Sprintf("status %d and %d", a.Status, b.Status)}
	case a.Long || b.Long:
		return Result{Skipped: fmt.Sprintf("longer than %d KiB", release.MaxCaptured>>10)}
	}
	x, why := read(a)
	if why != "" {
		return Result{Skipped: why}
	}
	y, why := read(b)
	if why != "" {
		return Result{Skipped: why}
	}
	r := d.compare(x, y)
	if r.Same {
		r.Why = ""
	}
	return r
}

func (d *Differ) compare(x, y *answer) Result {
	how := d.rule.How
	if how == release.CompareByType || how == "" {
		how = wayOf(x, y)
	}
	r := Result{How: how}
	switch {
	case how == release.CompareText && x.hasText && y.hasText:
		r.Score = similarity(x.text, y.text)
		r.Same = r.Score >= d.rule.Threshold
		r.Why = fmt.Sprintf("the words are %.0f %% alike", 100*r.Score)
		return r
	case how == release.CompareArgmax && x.class != "" && y.class != "":
		r.Same = x.class == y.class
		r.Why = fmt.Sprintf("class %s and %s", x.class, y.class)
	case how == release.CompareJSON && x.isJSON && y.isJSON:
		r.Why = d.difference(x.value, y.value, nil)
		r.Same = r.Why == ""
	case how != release.CompareExact && (x.isJSON != y.isJSON || x.hasText != y.hasText):
		r.Why = "one of them is of another form"
	case how == release.CompareArgmax:
		return Result{Skipped: "no class or scores were found in an answer"}
	case how == release.CompareJSON:
		return Result{Skipped: "the answers are not JSON"}
	default:
		r.Same = bytes.Equal(x.body, y.body)
		r.Why = "the bytes differ"
	}
	if r.Same {
		r.Score = 1
	}
	return r
}

// wayOf chooses a way of comparing by what both answers are.
func wayOf(x, y *answer) release.CompareBy {
	switch {
	case x.hasText && y.hasText:
		return release.CompareText
	case x.class != "" && y.class != "":
		return release.CompareArgmax
	case x.isJSON && y.isJSON:
		return release.CompareJSON
	}
	return release.CompareExact
}
