package release

import "time"

// Mirroring says how requests are copied and what is compared of the answers.
// Zero values of Timeout and Budget are the router's own limits; no Methods are
// the safe ones.
type Mirroring struct {
	Methods     []string      // that are copied
	Timeout     time.Duration // of one copy
	Budget      int           // copies under way at once; further ones are not made
	MaxBody     int64         // bytes of a request that is copied
	Noise       Weight        // share of the copies of which stable gets one too
	Credentials bool          // copies bear the client's Authorization and Cookie
	Compare     Comparing
	Keep        Keeping
}

// Comparing says when two answers to one request are the same.
type Comparing struct {
	How       CompareBy
	Ignore    []string // dotted paths in JSON, * stands for any one part
	Tolerance float64  // relative difference of numbers
	Threshold float64  // similarity from which on prose is the same, 0..1
}

// CompareBy names a way of comparing answers.
type CompareBy string

// The ways. CompareByType chooses one by what the answers are.
const (
	CompareByType CompareBy = "auto"
	CompareExact  CompareBy = "exact"  // byte by byte
	CompareJSON   CompareBy = "json"   // values, without the order of members
	CompareArgmax CompareBy = "argmax" // index of the largest score, or the class
	CompareText   CompareBy = "text"   // similarity of the words
	CompareNone   CompareBy = "none"   // failures and times only
)

// CompareWays lists them.
func CompareWays() []CompareBy {
	return []CompareBy{CompareByType, CompareExact, CompareJSON, CompareArgmax, CompareText, CompareNone}
}

// Keeping bounds the differing answers that are kept for people to look at.
type Keeping struct {
	Count  int           // 0: none is kept
	Age    time.Duration // older ones are let go
	Fields []string      // further members of JSON whose values are masked
	Texts  []string      // further RE2 patterns whose matches are masked
}

// Copied is one request that was copied, with what came of it. It is not
// changed after it was handed over.
type Copied struct {
	Release        string
	Stable, Canary VersionID
	Begin          time.Time // of the user's request
	Method, Path   string    // without the query
	Type           string    // content type of Request
	Request        []byte
	User           Leg  // stable's answer, which the user got
	Copy           Leg  // the canary's
	Again          *Leg // stable's to a second copy: the noise floor; nil: none was made
	// Shared is the chance that a copy is sent to stable as well.
	Shared Weight
}

// Leg is one answer to a request that was copied.
type Leg struct {
	Status   int // 0: none came
	Type     string
	Encoding string
	Body     []byte // as it came; at most MaxCaptured bytes
	Long     bool   // there was more
	Outcome  Outcome
	Cause    string
	Total    time.Duration
}

// MaxCaptured bounds what is kept of an answer to compare it.
const MaxCaptured = 256 << 10

// Heard is one request of the sample that evaluators are asked about.
type Heard struct {
	Release string
	Version VersionID
	Weight  Weight // of the version, when the request was routed
	Unit    uint64 // a hash of the sticky key; 0: none
	Begin   time.Time
	Path    string
	Type    string
	Request []byte
	Answer  Leg
}

// EvaluatorKinds are the metric kinds that an evaluator can be the source of: bad
// answers, how good they are, which of two is better.
func EvaluatorKinds() []MetricKind { return []MetricKind{Proportion, Mean, Agreement} }

// Evaluator is somebody who is asked about a sample of answers: an HTTP
// endpoint, or a model behind an OpenAI-compatible API.
type Evaluator struct {
	URL         string
	Model       string // empty: URL is the endpoint itself
	Question    string
	Key         string  // names a secret: env:NAME or file:/path
	Share       Weight  // of the requests
	Below       float64 // scores below it are bad
	Timeout     time.Duration
	Concurrency int
	Calls       int64   // of a run
	Cost        float64 // of a run, by Price; 0: not bounded
	Price       Price
	Critical    bool // one bad answer of the canary that is found bad again ends the run
}
