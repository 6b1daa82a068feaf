package inference

import (
	"maps"
	"slices"

	"github.com/haldane-project/haldane/internal/release"
)

// The wanted values, of requests and of answers.
const (
	_ field = iota

	// of requests
	fModel
	fStream
	fChoicesWanted
	fStreamOptions
	fIncludeUsage
	fInput // a text of the request
	fResponseFormat
	fTools

	// of answers
	fChoices
	fChoice
	fText
	fReasoning
	fRefusal
	fToolCall
	fToolIndex
	fToolName
	fToolArguments
	fFinish
	fUsage
	fInputTokens
	fOutputTokens
	fCachedTokens
	fReasoningTokens
	fError
	fType // of an event of the responses API
	fDelta
	fOutputIndex
	fItem // of its output
	fItemType
	fPart // of an item's content
	fPartType
	fVector
	fEmbedding

	// of the Open Inference Protocol
	fModelVersion
	fID
	fOutput
	fDatatype
	fShape
	fDimension
	fDatum
	fDataSize

	// of any JSON
	fClass
	fScore
)

// chatRequest also reads the requests of completions and responses; the APIs
// share no name with another meaning.
var chatRequest = (&node{}).
	want("model", fModel, word).
	want("stream", fStream, word).
	want("n", fChoicesWanted, word).
	want("stream_options", fStreamOptions, word).
	want("stream_options.include_usage", fIncludeUsage, word).
	want("messages.*.content", fInput, pieces).
	want("messages.*.content.*.text", fInput, pieces).
	want("prompt", fInput, pieces).
	want("prompt.*", fInput, pieces).
	want("instructions", fInput, pieces).
	want("input", fInput, pieces).
	want("input.*", fInput, pieces).
	want("input.*.content", fInput, pieces).
	want("input.*.content.*.text", fInput, pieces).
	want("response_format", fResponseFormat, keepRaw).
	want("text.format", fResponseFormat, keepRaw).
	want("tools", fTools, keepRaw)

// inferRequest reads the tensors of a request; texts in them are pieces.
var inferRequest = (&node{}).
	want("inputs.*.shape", fShape, word).
	want("inputs.*.shape.*", fDimension, word).
	want("inputs.*.data.*", fDatum, pieces).
	want("inputs.*.data.*.*", fDatum, pieces).
	want("inputs.*.data.*.*.*", fDatum, pieces).
	want("inputs.*.data.*.*.*.*", fDatum, pieces)

// chatAnswer reads chat completions and completions, whole and as events.
var chatAnswer = usage(choice(choice((&node{}).
	want("id", fID, word).
	want("model", fModel, word).
	want("choices", fChoices, word).
	want("choices.*", fChoice, word).
	want("choices.*.text", fText, pieces).
	want("choices.*.finish_reason", fFinish, word).
	want("error", fError, word), "choices.*.delta."), "choices.*.message."), "")

func choice(n *node, at string) *node {
	return n.want(at+"content", fText, pieces).
		want(at+"content.*.text", fText, pieces).
		want(at+"reasoning_content", fReasoning, pieces).
		want(at+"reasoning", fReasoning, pieces).
		want(at+"refusal", fRefusal, pieces).
		want(at+"tool_calls.*", fToolCall, word).
		want(at+"tool_calls.*.index", fToolIndex, word).
		want(at+"tool_calls.*.function.name", fToolName, word).
		want(at+"tool_calls.*.function.arguments", fToolArguments, pieces).
		want(at+"function_call", fToolCall, word).
		want(at+"function_call.name", fToolName, word).
		want(at+"function_call.arguments", fToolArguments, pieces)
}

// usage adds the counts of tokens, under their names in either API.
func usage(n *node, at string) *node {
	return n.want(at+"usage", fUsage, word).
		want(at+"usage.prompt_tokens", fInputTokens, word).
		want(at+"usage.input_tokens", fInputTokens, word).
		want(at+"usage.completion_tokens", fOutputTokens, word).
		want(at+"usage.output_tokens", fOutputTokens, word).
		want(at+"usage.prompt_tokens_details.cached_tokens", fCachedTokens, word).
		want(at+"usage.input_tokens_details.cached_tokens", fCachedTokens, word).
		want(at+"usage.completion_tokens_details.reasoning_tokens", fReasoningTokens, word).
		want(at+"usage.output_tokens_details.reasoning_tokens", fReasoningTokens, word)
}

var embeddingAnswer = usage((&node{}).
	want("model", fModel, word).
	want("error", fError, word).
	want("data.*.embedding", fVector, pieces).
	want("data.*.embedding.*", fEmbedding, word), "")

// responseAnswer reads an answer of the responses API in one piece.
var responseAnswer = responseHead((&node{}).
	want("output.*", fItem, word).
	want("output.*.type", fItemType, word).
	want("output.*.name", fToolName, word).
	want("output.*.arguments", fToolArguments, pieces).
	want("output.*.summary.*.text", fReasoning, pieces).
	want("output.*.content.*", fPart, word).
	want("output.*.content.*.type", fPartType, word).
	want("output.*.content.*.text", fText, pieces).
	want("output.*.content.*.refusal", fRefusal, pieces), "")

// responseEvent reads an event of the responses API. The whole response that
// the first and last events repeat is read for what is new in it only.
var responseEvent = responseHead((&node{}).
	want("type", fType, word).
	want("delta", fDelta, pieces).
	want("item", fItem, word).
	want("item.type", fItemType, word).
	want("item.name", fToolName, word).
	want("item.arguments", fToolArguments, pieces).
	want("output_index", fOutputIndex, word).
	want("error", fError, word), "response.")

func responseHead(n *node, at string) *node {
	return usage(n.want(at+"id", fID, word).
		want(at+"model", fModel, word).
		want(at+"status", fFinish, word).
		want(at+"incomplete_details.reason", fFinish, word).
		want(at+"error", fError, word), at)
}

var inferAnswer = (&node{}).
	want("id", fID, word).
	want("model_name", fModel, word).
	want("model_version", fModelVersion, word).
	want("error", fError, word).
	want("outputs.*", fOutput, word).
	want("outputs.*.datatype", fDatatype, word).
	want("outputs.*.shape", fShape, word).
	want("outputs.*.shape.*", fDimension, word).
	want("outputs.*.parameters.binary_data_size", fDataSize, word).
	want("outputs.*.data.*", fDatum, word).
	want("outputs.*.data.*.*", fDatum, word).
	want("outputs.*.data.*.*.*", fDatum, word).
	want("outputs.*.data.*.*.*.*", fDatum, word)

// jsonFields are the facts that a release may name paths in answers for,
// jsonInputs those in requests.
var jsonFields = map[string]wanted{
	"class": {fClass, word}, "score": {fScore, word}, "text": {fText, pieces},
	"model": {fModel, word}, "modelVersion": {fModelVersion, word}, "finish": {fFinish, word},
	"inputTokens": {fInputTokens, word}, "outputTokens": {fOutputTokens, word}, "error": {fError, word},
}

var jsonInputs = map[string]wanted{"text": {fInput, pieces}, "values": {fDatum, pieces}}

type wanted struct {
	field field
	mode  mode
}

// JSONFacts lists the names that Config.JSON may have.
func JSONFacts() []string { return slices.Sorted(maps.Keys(jsonFields)) }

func byPath(known map[string]wanted, paths map[string]string) *node {
	n := &node{}
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		f := known[name]
		n.want(paths[name], f.field, f.mode)
	}
	return n
}

// whole and streamed are what is wanted of an API's answers.
func (i *Interpreter) whole(api release.ModelAPI) *node {
	switch api {
	case release.EmbeddingAPI:
		return embeddingAnswer
	case release.ResponseAPI:
		return responseAnswer
	case release.InferAPI:
		return inferAnswer
	case release.JSONAPI:
		return i.json
	}
	return chatAnswer
}

func (i *Interpreter) streamed(api release.ModelAPI) *node {
	if api == release.ResponseAPI {
		return responseEvent
	}
	return i.whole(api)
}
