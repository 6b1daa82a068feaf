package release

import "time"

// Answer is what a router that reads model traffic along found in one request
// and its answer. It is never changed after it was observed. A zero field means
// that the answer did not say; the fields of an API are set for that API only.
type Answer struct {
	API          ModelAPI
	Unread       Unread // why the answer was not read to its end; empty: it was
	ID           string // that it gives itself
	RequestModel string // that the client asked for
	Model        string // that says it answered
	ModelVersion string // that says it answered (Open Inference Protocol, JSON paths)
	Streamed     bool   // as server-sent events
	Complete     bool   // it came to its own end: end marker, closed JSON

	// Times, of streamed answers. FirstToken and LastToken are from the
	// beginning of the observation to the first and last chunk that carries
	// text, a tool call or reasoning; Gap is the longest time between two such
	// chunks; PerToken is (LastToken - FirstToken) / (OutputTokens - 1), without
	// the tokens of reasoning that the stream did not bring.
	FirstToken, LastToken, Gap, PerToken time.Duration
	Chunks                               int // that carry something

	// Tokens as the server counts them. Cached is a part of input, reasoning a
	// part of output. Estimated: the server did not say, and OutputTokens is the
	// number of chunks.
	InputTokens, OutputTokens, CachedTokens, ReasoningTokens int64
	Estimated                                                bool
	Cost                                                     float64 // in the currency of the release
	Priced                                                   bool    // Cost is known

	InputCharacters int   // of the texts in the request
	InputLength     int64 // values in the request, other than texts
	InputScore      float64
	InputScored     bool   // InputScore is known: the mean of the first numbers among them
	Prompt          uint64 // hash of those texts, of this process; 0: none
	Characters      int    // of the text of the answer
	Script          string // that most letters of the answer belong to: Latin, Han, ...
	Language        string // of the Latin script: English, ...; Latin: none that is known; empty: too short to tell
	Finish          string // why generation ended, as the server says: stop, length, tool_calls, ...
	ToolCalls       int
	Refusal         bool // the model says so in the field for it
	RefusalPhrase   bool // the text begins as refusals do; of low precision
	Empty           bool // no text, no tool call, no refusal
	Repeated        bool // most of the text repeats itself
	Truncated       bool // the limit of tokens cut it off
	InvalidUTF8     bool
	Format          Format // against what the request itself asked for
	FormatProblem   string // what is wrong with it, or why it was not checked

	Class    string // predicted: a label, or the index of the largest score
	Score    float64
	Scored   bool   // Score is known
	NaN      int64  // values that are no numbers
	Shape    string // of the first output, such as 1x10: rows, then the form of one
	Datatype string // of the first output
	Length   int64  // values in all outputs, dimensions of the embeddings
	Norm     float64
}

// InputSize is how much was asked: the characters, else the values.
func (a *Answer) InputSize() int64 {
	if a.InputCharacters > 0 {
		return int64(a.InputCharacters)
	}
	return a.InputLength
}

// ModelAPI is the protocol of a request to a model.
type ModelAPI string

// The protocols that can be read.
const (
	ChatAPI       ModelAPI = "chat"        // OpenAI-compatible chat completions
	CompletionAPI ModelAPI = "completions" // OpenAI-compatible completions
	EmbeddingAPI  ModelAPI = "embeddings"  // OpenAI-compatible embeddings
	ResponseAPI   ModelAPI = "responses"   // OpenAI-compatible responses
	InferAPI      ModelAPI = "infer"       // Open Inference Protocol v2 over REST
	JSONAPI       ModelAPI = "json"        // any JSON, by path
)

// ModelAPIs lists them.
func ModelAPIs() []ModelAPI {
	return []ModelAPI{ChatAPI, CompletionAPI, EmbeddingAPI, ResponseAPI, InferAPI, JSONAPI}
}

// Unread says why an answer was not read.
type Unread string

// The reasons for which answers are not read.
const (
	UnreadStatus      Unread = "Status"      // it is not a 2xx
	UnreadContentType Unread = "ContentType" // neither JSON nor server-sent events
	UnreadEncoding    Unread = "Encoding"    // compressed in a way that is not read, or badly
	UnreadBusy        Unread = "Busy"        // too many compressed answers at once
	UnreadTooLarge    Unread = "TooLarge"    // more than is decompressed
	UnreadBinary      Unread = "Binary"      // in the binary extension of tensors, whose header is wrong
	UnreadCut         Unread = "Cut"         // it broke off, or the client left
	UnreadInvalid     Unread = "Invalid"     // not the JSON that it says it is
)

// Format says whether an answer has the form that its request asked for.
type Format uint8

// The results of that check.
const (
	FormatUnchecked Format = iota // nothing was asked for, or FormatProblem says why it could not be checked
	FormatValid
	FormatInvalid
)

// The causes of failure that only the content of an answer tells.
const (
	CauseErrorInAnswer = "ErrorInAnswer" // an error event, or an error object with a status of success
	CauseMissingEnd    = "MissingEnd"    // a stream that closed in order without its end marker
	CauseBadResponse   = "BadResponse"   // not the protocol that was asked for
)

// Model says how the embedded proxy reads model traffic.
type Model struct {
	// Usage asks streams for their usage chunk where the client did not, and
	// keeps that chunk from such a client.
	Usage    bool
	Currency string
	Prices   map[string]Price // by model; "*": of any other
	Paths    []ModelPath
	JSON     map[string]string // fact -> dotted path in the answers of JSONAPI
	Input    map[string]string // text or values -> dotted path in its requests
}

// Price of a million tokens. Cached and reasoning tokens are parts of input and
// output; their prices replace those.
type Price struct{ Input, Output, Cached, Reasoning float64 }

// ModelPath names the protocol of a path: a pattern in which * stands for
// anything but a slash.
type ModelPath struct {
	Path string
	API  ModelAPI
}
