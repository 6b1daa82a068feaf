package release

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Fact is one thing that an Answer tells: a word of Source.LLM.
type Fact string

// Facts of amounts: times in seconds, lengths in tokens or characters.
const (
	FactFirstToken       Fact = "timeToFirstToken"
	FactPerToken         Fact = "timePerOutputToken"
	FactGap              Fact = "gap"
	FactInputTokens      Fact = "inputTokens"
	FactInputCharacters  Fact = "inputCharacters"
	FactInputLength      Fact = "inputLength"
	FactInputScore       Fact = "inputScore"
	FactOutputTokens     Fact = "outputTokens"
	FactOutputCharacters Fact = "outputCharacters"
	FactCachedTokens     Fact = "cachedTokens"
	FactReasoningTokens  Fact = "reasoningTokens"
	FactCost             Fact = "cost"
	FactScore            Fact = "score"
	FactNorm             Fact = "norm"
	FactToolCalls        Fact = "toolCalls"
)

// Facts that hold of an answer or do not.
const (
	FactRefusal    Fact = "refusal"
	FactInvalid    Fact = "invalid"
	FactEmpty      Fact = "empty"
	FactRepeated   Fact = "repeated"
	FactTruncated  Fact = "truncated"
	FactNotANumber Fact = "notANumber"
	FactAbandoned  Fact = "abandoned"
	FactGarbled    Fact = "garbled"
)

// Facts of a category.
const (
	FactFinishReason Fact = "finishReason"
	FactClass        Fact = "class"
	FactLanguage     Fact = "language"
	FactModel        Fact = "model"
	FactModelVersion Fact = "modelVersion"
	FactShape        Fact = "shape"
)

// Facts of what users said of answers: words of Source.Feedback.
const (
	FactVotes    Fact = "votes"    // down is bad
	FactVoteRate Fact = "voteRate" // any vote
	FactScores   Fact = "scores"   // how far below 1
	FactLabels   Fact = "labels"   // other than the predicted class is bad
	// FactRegenerated: the user asked the same once more.
	FactRegenerated Fact = "regenerated"
)

// FactForm is what sort of value a fact has.
type FactForm uint8

// The forms.
const (
	AmountFact FactForm = iota + 1 // a number of 0 or more
	ShareFact                      // yes, which is bad, or no
	ClassFact                      // one of several words
)

// FactOf is a fact and how an observation tells it. One function is set, by
// Form; ok is false where the observation does not tell.
type FactOf struct {
	Form FactForm
	Unit string // "s", "tokens", ...; empty: none
	// Input says that the value is the user's or the cache's doing, not the
	// version's: a difference accuses the split.
	Input bool
	// Faults says that it is told of requests that were the client's fault, too.
	Faults bool
	// Heard says that it is told by feedback (Observation.Feedback), not by an answer.
	Heard bool
	// ByInput says that the value grows with the length of the input.
	ByInput bool

	Amount func(*Observation) (value float64, ok bool)
	Bad    func(*Observation) (bad, ok bool)
	Class  func(*Observation) (class string, ok bool)
}

// Facts lists the words of answers, sorted.
func Facts() []Fact { return factsHeard(false) }

// FeedbackFacts lists the words of feedback, sorted.
func FeedbackFacts() []Fact { return factsHeard(true) }

func factsHeard(heard bool) []Fact {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(facts)), func(f Fact) bool { return facts[f].Heard != heard })
}

// Of is what is known of a fact; false: there is none of this name.
func (f Fact) Of() (FactOf, bool) {
	of, ok := facts[f]
	return of, ok
}

// Kinds are the metric kinds that a fact may be of; the first is the usual one.
func (f Fact) Kinds() []MetricKind {
	switch of := facts[f]; {
	case f == FactVotes:
		return []MetricKind{Votes}
	case f == FactVoteRate, f == FactRegenerated:
		return []MetricKind{Rate}
	case f == FactScores:
		return []MetricKind{Mean}
	case of.Form == ShareFact:
		return []MetricKind{Proportion}
	case of.Form == ClassFact:
		return []MetricKind{Category}
	case of.Input, f == FactScore, f == FactNorm, f == FactToolCalls:
		return []MetricKind{Drift}
	}
	return []MetricKind{Amount, Mean, Drift}
}

var facts = map[Fact]FactOf{
	FactFirstToken:       {Form: AmountFact, Unit: "s", ByInput: true, Amount: answered(func(a *Answer) (float64, bool) { return a.FirstToken.Seconds(), a.FirstToken > 0 })},
	FactPerToken:         {Form: AmountFact, Unit: "s", ByInput: true, Amount: answered(func(a *Answer) (float64, bool) { return a.PerToken.Seconds(), a.PerToken > 0 })},
	FactGap:              {Form: AmountFact, Unit: "s", ByInput: true, Amount: answered(func(a *Answer) (float64, bool) { return a.Gap.Seconds(), a.Gap > 0 })},
	FactInputTokens:      {Form: AmountFact, Unit: "tokens", Input: true, Amount: answered(func(a *Answer) (float64, bool) { return float64(a.InputTokens), a.InputTokens > 0 })},
	FactInputCharacters:  {Form: AmountFact, Unit: "characters", Input: true, Amount: answered(func(a *Answer) (float64, bool) { return float64(a.InputCharacters), a.InputCharacters > 0 })},
	FactInputLength:      {Form: AmountFact, Unit: "values", Input: true, Amount: answered(func(a *Answer) (float64, bool) { return float64(a.InputLength), a.InputLength > 0 })},
	FactInputScore:       {Form: AmountFact, Input: true, Amount: answered(func(a *Answer) (float64, bool) { return signed(a.InputScore), a.InputScored })},
	FactOutputTokens:     {Form: AmountFact, Unit: "tokens", ByInput: true, Amount: answered(func(a *Answer) (float64, bool) { return float64(a.OutputTokens), a.OutputTokens > 0 || a.Empty })},
	FactOutputCharacters: {Form: AmountFact, Unit: "characters", ByInput: true, Amount: answered(func(a *Answer) (float64, bool) { return float64(a.Characters), a.says() })},
	FactCachedTokens:     {Form: AmountFact, Unit: "tokens", Input: true, Amount: answered(func(a *Answer) (float64, bool) { return float64(a.CachedTokens), a.InputTokens > 0 })},
	FactReasoningTokens:  {Form: AmountFact, Unit: "tokens", ByInput: true, Amount: answered(func(a *Answer) (float64, bool) { return float64(a.ReasoningTokens), a.OutputTokens > 0 })},
	FactCost:             {Form: AmountFact, ByInput: true, Amount: answered(func(a *Answer) (float64, bool) { return a.Cost, a.Priced })},
	FactScore:            {Form: AmountFact, Amount: answered(func(a *Answer) (float64, bool) { return signed(a.Score), a.Scored })},
	FactNorm:             {Form: AmountFact, Amount: answered(func(a *Answer) (float64, bool) { return positive(a.Norm), a.API == EmbeddingAPI && a.Length > 0 })},
	FactToolCalls:        {Form: AmountFact, Amount: answered(func(a *Answer) (float64, bool) { return float64(a.ToolCalls), a.says() })},

	FactRefusal:    share(func(a *Answer) (bool, bool) { return a.Refusal || a.RefusalPhrase, a.says() }),
	FactInvalid:    share(func(a *Answer) (bool, bool) { return a.Format == FormatInvalid, a.Format != FormatUnchecked }),
	FactEmpty:      share(func(a *Answer) (bool, bool) { return a.Empty, a.says() }),
	FactRepeated:   share(func(a *Answer) (bool, bool) { return a.Repeated, a.says() }),
	FactTruncated:  share(func(a *Answer) (bool, bool) { return a.Truncated, a.says() }),
	FactNotANumber: share(func(a *Answer) (bool, bool) { return a.NaN > 0, a.Length > 0 || a.Scored || a.NaN > 0 }),
	FactGarbled:    share(func(a *Answer) (bool, bool) { return a.InvalidUTF8, a.says() }),
	FactAbandoned:  {Form: ShareFact, Faults: true, Bad: abandoned},

	FactVotes:       {Form: ShareFact, Heard: true, Bad: func(o *Observation) (bool, bool) { return o.Feedback.Vote == VoteDown, o.Feedback.Vote != "" }},
	FactVoteRate:    {Form: ShareFact, Heard: true, Bad: func(o *Observation) (bool, bool) { return o.Feedback.Vote != "", o.Feedback.Vote != "" }},
	FactRegenerated: {Form: ShareFact, Heard: true, Bad: func(o *Observation) (bool, bool) { return o.Feedback.Regenerated, o.Feedback.Regenerated }},
	FactScores:      {Form: AmountFact, Heard: true, Amount: func(o *Observation) (float64, bool) { return 1 - o.Feedback.Score, o.Feedback.Scored }},
	FactLabels: {Form: ShareFact, Heard: true, Bad: func(o *Observation) (bool, bool) {
		return o.Feedback.Label != o.Answer.Class, o.Feedback.Label != "" && o.Answer.Class != ""
	}},

	FactFinishReason: {Form: ClassFact, Class: answered(func(a *Answer) (string, bool) { return a.Finish, a.Finish != "" })},
	FactClass:        {Form: ClassFact, Class: answered(func(a *Answer) (string, bool) { return a.Class, a.Class != "" })},
	FactLanguage:     {Form: ClassFact, Class: answered(func(a *Answer) (string, bool) { s := a.language(); return s, s != "" })},
	FactModel:        {Form: ClassFact, Class: answered(func(a *Answer) (string, bool) { return a.Model, a.Model != "" })},
	FactModelVersion: {Form: ClassFact, Class: answered(func(a *Answer) (string, bool) { return a.ModelVersion, a.ModelVersion != "" })},
	FactShape:        {Form: ClassFact, Class: answered(func(a *Answer) (string, bool) { s := a.shape(); return s, s != "" })},
}

// answered asks the answer of an observation.
func answered[T any](f func(*Answer) (T, bool)) func(*Observation) (T, bool) {
	return func(o *Observation) (T, bool) { return f(o.Answer) }
}

func share(f func(*Answer) (bad, ok bool)) FactOf {
	return FactOf{Form: ShareFact, Bad: func(o *Observation) (bool, bool) {
		if o.Outcome != OK {
			return false, false
		}
		return f(o.Answer)
	}}
}

// abandoned tells of a client that left while its answer was coming.
func abandoned(o *Observation) (bad, ok bool) {
	return o.Outcome == ClientFault && !o.Answer.Complete, o.Outcome != Failed
}

// says reports whether the answer is one that speaks, and was read.
func (a *Answer) says() bool {
	if a.Unread != "" {
		return false
	}
	return a.API == ChatAPI || a.API == CompletionAPI || a.API == ResponseAPI
}

// The least and the greatest score, without its sign, that the scale tells apart.
const (
	leastScore    = 1e-6
	greatestScore = 1e9
)

// signed is a score, such as a regression or log-odds, as the scale of amounts
// takes it, where the order is kept and nothing but the order means anything.
// Positive scores lie in its upper half, as far apart as they are; negative ones
// below, a little nearer to each other; those around 0 between.
func signed(v float64) float64 {
	const lift, zero = 1e9, 5e2
	switch m := min(math.Abs(v), greatestScore); {
	case math.IsNaN(v) || m < leastScore:
		return zero
	case v > 0:
		return m * lift
	default:
		return math.Pow(greatestScore/m, 0.75) / lift
	}
}

// language is what an answer is written in, as far as is told.
func (a *Answer) language() string {
	if a.Script == "Latin" {
		return a.Language
	}
	return a.Script
}

// shape is the form of a row: the type of the first output and its dimensions
// but the first, which is how many rows were asked for; the dimensions of an
// embedding.
func (a *Answer) shape() string {
	switch {
	case a.API == EmbeddingAPI && a.Length > 0:
		return strconv.FormatInt(a.Length, 10)
	case a.Shape == "" || a.Datatype == "":
		return ""
	}
	_, row, _ := strings.Cut(a.Shape, "x")
	return strings.TrimSpace(a.Datatype + " " + row)
}

// positive is a value as the scale of amounts takes it.
func positive(v float64) float64 {
	if math.IsNaN(v) {
		return 0
	}
	return max(v, 0)
}
