package inference

import (
	"slices"
	"strings"

	"github.com/haldane-project/haldane/internal/release"
)

// item is an output item of the responses API as far as it came. Its members
// come in any order, so that what it is may be told last: nothing of it counts
// before it has ended.
type item struct {
	kind      string
	name      string // of a function
	arguments []byte
	overlong  bool
}

const functionCall = "function_call"

func (x *item) argue(p []byte) {
	if room := maxKept - len(x.arguments); len(p) > room {
		x.overlong, p = true, p[:room]
	}
	x.arguments = append(x.arguments, p...)
}

// closeItem counts the item under way, where it is a call, and begins another.
func (r *Reply) closeItem() {
	x := r.item
	r.item = item{}
	if x.kind == functionCall && r.form == jsonForm {
		r.newCall(int64(len(r.calls)))
		r.complete(x)
	}
}

// complete gives the call under way what its item says; arguments that came
// already stay.
func (r *Reply) complete(x item) {
	c := &r.calls[r.call]
	if x.name != "" {
		c.name = x.name
	}
	if len(c.arguments) == 0 {
		c.arguments = r.keep(nil, x.arguments)
		r.overlong = r.overlong || x.overlong
	}
}

// endDelta takes what an event of the responses API says once all of it is
// known. Where events say an index of output, a call is found by it.
func (r *Reply) endDelta() {
	e, x := &r.event, r.item
	r.item = item{}
	kind := string(e.kind)
	switch {
	case strings.HasPrefix(kind, "response.function_call_arguments") && len(e.delta) > 0:
		r.resume()
		if r.call >= 0 {
			r.argue(e.delta)
		}
	case strings.HasPrefix(kind, "response.reasoning_text") && len(e.delta) > 0:
		r.thinks = true
	case strings.HasPrefix(kind, "response.refusal") && len(e.delta) > 0:
		r.facts.Refusal = true
	case kind == "", strings.HasPrefix(kind, "response.output_text"):
		r.spoken(e.delta)
	case x.kind != functionCall:
	case kind == "response.output_item.added":
		r.announce()
		r.calls[r.call].name = x.name
		r.carries()
	case kind == "response.output_item.done":
		if r.resume(); r.call < 0 {
			r.announce()
		}
		r.complete(x)
	}
}

// announce makes a new call the one under way, resume one that began already; it is
// -1 where none did.
func (r *Reply) announce() {
	if r.event.indexed {
		r.newCall(r.event.index)
		return
	}
	r.newCall(int64(len(r.calls)))
}

func (r *Reply) resume() {
	r.call = len(r.calls) - 1
	for i, c := range r.calls {
		if r.event.indexed && c.index == r.event.index {
			r.call = i
		}
	}
}

// part is a part of the content of a whole answer of the responses API: words to
// the user, or reasoning. Its type may come after its text.
type part struct {
	known bool  // what it is
	aside bool  // reasoning, none of the answer
	mark  *mark // before it, while it is not known what it is
}

// mark is what was found of an answer's text up to some point.
type mark struct {
	prose       prose
	nested      scanner
	outline     outline
	kept, bytes int
	overlong    bool
}

// sayPart takes a piece of the text of a part.
func (r *Reply) sayPart(p []byte) {
	if r.part.aside {
		return
	}
	if !r.part.known && r.part.mark == nil {
		r.part.mark = r.mark()
	}
	r.spoken(p)
}

func (r *Reply) mark() *mark {
	m := &mark{prose: r.prose, nested: r.nested, outline: r.outline, kept: len(r.kept), bytes: r.bytes, overlong: r.overlong}
	if seen := m.prose.grams.seen; seen != nil {
		c := *seen
		m.prose.grams.seen = &c
	}
	m.nested.stack, m.nested.word = slices.Clone(m.nested.stack), slices.Clone(m.nested.word)
	return m
}

// knowPart notes what the part under way is: of reasoning nothing counts.
func (r *Reply) knowPart(kind string) {
	r.part.known, r.part.aside = true, strings.HasPrefix(kind, "reasoning") || strings.HasPrefix(kind, "summary")
	if m := r.part.mark; m != nil && r.part.aside {
		r.prose, r.nested, r.outline, r.kept, r.bytes, r.overlong = m.prose, m.nested, m.outline, r.kept[:m.kept], m.bytes, m.overlong
	}
	r.part.mark = nil
}

// responds reports whether the answer is one of the responses API.
func (r *Reply) responds() bool { return r.facts.API == release.ResponseAPI }
