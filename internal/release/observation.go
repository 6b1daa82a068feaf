package release

import "time"

// Observation is what a router saw of one request. It is what evidence is made of.
type Observation struct {
	Release string
	Version VersionID // that the request was sent to first
	// Weight is the version's weight at the moment of routing, of Full.
	Weight Weight
	Route  Route
	// Unit is a hash of the sticky key with the run's salt; 0: none.
	Unit uint64
	// User is another one that is the same in every run, where the release takes
	// feedback; 0: none.
	User      uint64
	Begin     time.Time
	FirstByte time.Duration // until the first byte of the answer; 0: none came
	Total     time.Duration
	Status    int // sent to the client by this version; 0: none
	Outcome   Outcome
	// Cause of a failure, a CamelCase word: Status5xx, GRPCStatus, Refused,
	// Reset, Timeout, Truncated, BadResponse, ErrorInAnswer, MissingEnd.
	Cause    string
	Unfit    Unfit // why the request reached its version as it came; empty: it did not
	Shielded bool  // stable answered in its place; the user did not see the failure
	In, Out  int64
	Stage    Stage
	// Answer is what a model said; nil: the release does not read model traffic,
	// this request was none, or no answer began.
	Answer *Answer
	// API and RequestModel of a request to a model to which no answer began; else
	// Answer has them.
	API          ModelAPI
	RequestModel string
	// ID of the request, where the release takes feedback.
	ID string
	// Feedback that came on the answer; only what tells it sets it, and then of
	// the answer Class alone is known.
	Feedback *Feedback
}

// Stage says what of a request an observation tells.
type Stage uint8

// The stages. A request that takes long is told twice, others once.
const (
	Ended        Stage = iota // the end
	Overdue                   // it is still under way: Total is its age so far
	EndedOverdue              // the end of one that was told as Overdue
)

// Route says why a request went to its version.
type Route uint8

// The routes. Only those by Split are random, so only they are evidence.
const (
	BySplit    Route = iota
	ByMatch          // a match rule of the step
	ByTest           // the test header
	ByFallback       // the version drawn, or Rest where it had a share, had no instance
	ByMirror         // a copy
	ByShield         // the second try of a shielded request
	ByOriginal       // drawn, but a version's rewrite can not be applied to such a request (Unfit)
)

// Unfit says why a rewrite of bodies can not be applied to a request. Who gets
// such requests is no matter of the version: none of them is evidence, whichever
// version was drawn.
type Unfit string

// The reasons. All but UnfitTooLarge are known before anything is sent.
const (
	UnfitCompressed Unfit = "compressed"
	UnfitNotJSON    Unfit = "not_json"  // by its content type
	UnfitTooLarge   Unfit = "too_large" // more than is read to be rewritten
	UnfitNoPrompt   Unfit = "no_prompt" // of an API that has no place for a system prompt
)

// Unfits lists them.
func Unfits() []Unfit {
	return []Unfit{UnfitCompressed, UnfitNotJSON, UnfitTooLarge, UnfitNoPrompt}
}

// Outcome says for whom a request counts.
type Outcome uint8

// The outcomes. ClientFault (a malformed request, a client that hung up)
// counts for no version.
const (
	OK Outcome = iota
	Failed
	ClientFault
)
