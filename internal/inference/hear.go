package inference

import (
	"math"
	"strconv"
	"strings"
)

// open implements handler.
func (r *Reply) open(f field, _ byte) {
	r.plain.more = r.plain.more || f != fChoices && f != fChoice
	switch f {
	case fChoices:
		r.event.choices = true
	case fChoice:
		r.event.choice = true
	case fUsage:
		r.event.hasUsage = true
	case fError:
		r.failed = true
	case fToolCall:
		r.call = -1
		if r.form == jsonForm {
			r.newCall(0)
		}
		r.carries()
	case fItem:
		r.closeItem()
	case fPart:
		r.part = part{}
	case fOutput:
		r.tensor.next(r.facts)
	case fVector:
		r.vector.count++
	}
}

// text implements handler.
func (r *Reply) text(f field, p []byte) {
	r.plain.text, r.plain.field = p, f
	r.plain.texts++
	r.plain.more = r.plain.more || f != fText && f != fReasoning
	switch f {
	case fDelta:
		r.delta(p)
	case fText:
		r.words(p)
	case fReasoning:
		r.thinks = true
	case fRefusal:
		r.facts.Refusal = true
	case fToolArguments:
		if r.responds() {
			r.item.argue(p)
			return
		}
		r.argue(p)
	case fVector:
		r.vector.base64(p)
		return
	}
	r.carries()
}

// delta is a piece of what the type of the event says, which may come later.
func (r *Reply) delta(p []byte) {
	if strings.HasPrefix(string(r.event.kind), "response.output_text") {
		r.spoken(p)
		return
	}
	r.event.delta = append(r.event.delta, p[:min(len(p), maxKept-len(r.event.delta))]...)
}

// words is a piece of the answer's text, in the place for it.
func (r *Reply) words(p []byte) {
	if r.responds() {
		r.sayPart(p)
		return
	}
	r.spoken(p)
}

// spoken is a piece of the text of the answer.
func (r *Reply) spoken(p []byte) {
	r.prose.write(p)
	if r.wanted == (format{}) {
		return
	}
	r.nested.scan(p)
	if r.wanted.schema != "" {
		r.kept = r.keep(r.kept, p)
	}
}

// keep appends within maxKept for all that is kept.
func (r *Reply) keep(to, p []byte) []byte {
	if r.bytes += len(p); r.bytes > maxKept {
		r.overlong = true
		return to
	}
	return append(to, p...)
}

// maxCalls bounds the tool calls of one answer that are kept.
const maxCalls = 64

func (r *Reply) newCall(index int64) {
	if len(r.calls) == maxCalls {
		r.overlong, r.call = true, maxCalls-1
		return
	}
	r.calls = append(r.calls, call{index: index})
	r.call = len(r.calls) - 1
}

// findCall makes the call of an index the one under way.
func (r *Reply) findCall(index int64) {
	for i := range r.calls {
		if r.calls[i].index == index {
			r.call = i
			return
		}
	}
	r.newCall(index)
}

// argue is a piece of the arguments of a tool call. A stream that tells no index
// goes on with the last call.
func (r *Reply) argue(p []byte) {
	if r.call < 0 {
		r.call = len(r.calls) - 1
	}
	if r.call < 0 {
		return
	}
	c := &r.calls[r.call]
	c.arguments = r.keep(c.arguments, p)
}

func (r *Reply) nameCall(name []byte) {
	if len(name) == 0 {
		return
	}
	if r.responds() { // only an item of the type for it is a call
		r.item.name = string(name)
		return
	}
	if r.call < 0 {
		r.newCall(0)
	}
	r.calls[r.call].name = string(name)
}

// maxID bounds an id that an answer gives itself.
const maxID = 128

// set changes a word only where it differs: most chunks say it again.
func set(to *string, w []byte) {
	if *to != string(w) {
		*to = string(w)
	}
}

// again reports whether a value may be said again without a difference. The end
// of a text is told as a value.
func again(f field) bool {
	return f == fID || f == fModel || f == fFinish || f == fText || f == fReasoning
}

// value implements handler.
func (r *Reply) value(f field, k kind, w []byte) {
	a := r.facts
	r.plain.more = r.plain.more || k != isNull && !again(f)
	if r.element(f, k, w) || k == isNull {
		return
	}
	switch f {
	case fID:
		if len(w) <= maxID {
			set(&a.ID, w)
		}
	case fModel:
		set(&a.Model, w)
	case fModelVersion:
		set(&a.ModelVersion, w)
	case fFinish:
		r.finish(w)
	case fType:
		r.named(w)
	case fItemType:
		r.item.kind = string(w)
	case fPartType:
		r.knowPart(string(w))
	case fOutputIndex:
		r.event.index, r.event.indexed = integer(w), true
	case fToolIndex:
		r.findCall(integer(w))
	case fToolName:
		r.nameCall(w)
	case fVector:
		r.vector.count++
	default:
		r.figure(f, w)
	}
}

// element takes the values that count even where they are null.
func (r *Reply) element(f field, k kind, w []byte) bool {
	switch f {
	case fDatum:
		r.tensor.value(k, w)
	case fEmbedding:
		r.vector.value(k, w)
	case fScore:
		r.score(w)
	case fError:
		r.failed = r.failed || k == isString
	default:
		return false
	}
	return true
}

// score takes a score of any JSON. What stands in its place and is no number,
// such as null or NaN, is told as that.
func (r *Reply) score(w []byte) {
	v, err := strconv.ParseFloat(string(w), 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		r.facts.NaN++
		return
	}
	r.facts.Score, r.facts.Scored = v, true
}

// figure takes the values that are figures.
func (r *Reply) figure(f field, w []byte) {
	a := r.facts
	switch f {
	case fInputTokens:
		a.InputTokens = integer(w)
	case fOutputTokens:
		a.OutputTokens = integer(w)
	case fCachedTokens:
		a.CachedTokens = integer(w)
	case fReasoningTokens:
		a.ReasoningTokens = integer(w)
	case fDatatype:
		r.tensor.datatype = string(w)
	case fDimension:
		r.tensor.dimension(integer(w))
	case fDataSize:
		if r.tail != nil {
			r.tensor.bytes = integer(w)
		}
	case fClass:
		set(&a.Class, w[:min(len(w), maxClass)])
	}
}

// finish notes why generation ended. In the responses API a status says that it
// did and a second field why.
func (r *Reply) finish(w []byte) {
	if string(w) == "incomplete" && r.facts.Finish != "" && r.facts.Finish != "in_progress" {
		return
	}
	set(&r.facts.Finish, w)
}

// integer reads a count; what is none counts 0.
func integer(w []byte) int64 {
	n, err := strconv.ParseInt(string(w), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// raw implements handler; nothing of an answer is wanted raw.
func (r *Reply) raw(field, []byte, bool) {}
