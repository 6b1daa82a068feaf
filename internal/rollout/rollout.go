// Package rollout is the pure core: Decide takes everything that was observed
// and returns the state that is wanted. It has no clock, no randomness, no
// goroutine, no context, no logger and no map iteration: the same input gives the
// same decision, and deciding on a world that already matches changes nothing.
//
// Read this file first (what goes in and out), then decide.go.
package rollout

import (
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
)

// Phase is where a run is.
type Phase string

// The phases, in their order. Preparing: the canary's instances start, no
// traffic. Progressing: in a step of the plan. Baking: all traffic is on the new
// version, the old one is kept ready. Finishing: the old version's instances
// drain and stop. RollingBack: traffic is off the canary, its instances drain
// and stop. The others are ends.
const (
	Preparing   Phase = "Preparing"
	Progressing Phase = "Progressing"
	Baking      Phase = "Baking"
	Finishing   Phase = "Finishing"
	RollingBack Phase = "RollingBack"
	Promoted    Phase = "Promoted"
	RolledBack  Phase = "RolledBack"
	Aborted     Phase = "Aborted"
	Superseded  Phase = "Superseded"
)

// Ended reports whether a run in this phase is over.
func (p Phase) Ended() bool {
	return p == Promoted || p == RolledBack || p == Aborted || p == Superseded
}

// State is what is kept of a release between passes.
type State struct {
	Stable *release.Version `json:"stable,omitempty"` // nil until the first version serves
	Run    *Run             `json:"run,omitempty"`    // the current or the last run
	// Rejected is the version that was rolled back or aborted: it is not
	// started again unless a person says retry or the spec changes.
	Rejected release.VersionID `json:"rejected,omitempty"`
	// Earlier lists versions that were stable before, newest first, at most ten.
	Earlier []release.Version `json:"earlier,omitempty"`
	RunSeq  int64             `json:"runSeq"` // number of the last run
	// Leaving are versions that are to serve no more: their instances are kept
	// until their share is observed to be gone and their requests have ended.
	Leaving []Leaving `json:"leaving,omitempty"`
}

// Leaving is one version whose instances finish their requests.
type Leaving struct {
	Version  release.Version `json:"version"`
	Replicas int             `json:"replicas"`
	Off      time.Time       `json:"off"` // when it was observed to have no share; zero: not yet
}

// Run is one attempt to move a release from version From to version To.
type Run struct {
	ID         string           `json:"id"`             // release-seq
	From       *release.Version `json:"from,omitempty"` // nil for the first version ever
	To         release.Version  `json:"to"`
	Plan       release.Plan     `json:"plan"`
	Phase      Phase            `json:"phase"`
	Step       int              `json:"step"` // index into Plan.Steps
	Started    time.Time        `json:"started"`
	Entered    time.Time        `json:"entered"` // when the phase or step was entered and its weight was observed in force; zero: not yet in force
	Ended      time.Time        `json:"ended"`
	Paused     *Pause           `json:"paused,omitempty"`
	Why        string           `json:"why"`               // one sentence: why it is where it is
	Cause      Cause            `json:"cause,omitempty"`   // of the end
	StepBase   int64            `json:"stepBase"`          // canary requests when the step was entered
	Passed     []string         `json:"passed,omitempty"`  // gates of this step that said yes
	TrafficOff time.Time        `json:"trafficOff"`        // when the canary was observed to have no share after a rollback
	Outcome    Phase            `json:"outcome,omitempty"` // RollingBack: the end it leads to
	Extra      bool             `json:"extra,omitempty"`   // evidence is not needed: a person or an earlier proof vouches for To
	// Since is when the phase or the step was decided; deadlines count from it.
	Since time.Time `json:"since"`
	// Ahead: the step is passed but for the instances that the next one needs,
	// so that those are wanted already.
	Ahead bool `json:"ahead,omitempty"`
	// Skip: a person promoted the step; its hold, evidence and gates are not
	// waited for. SkipAll: all of the traffic is next.
	Skip    bool `json:"skip,omitempty"`
	SkipAll bool `json:"skipAll,omitempty"`
	// Back is the step before this one, to which the run returns while the
	// split is not in force and no longer backed; -1: none, it prepares anew.
	// Vouched: a person answers for the rise into this step.
	Back    int  `json:"back"`
	Vouched bool `json:"vouched,omitempty"`
	// Restarts counts how often the run prepared anew because the instances of
	// both versions were lost at once.
	Restarts int `json:"restarts,omitempty"`
	// Overruled: a person resumed the step against the judge's wish to pause it.
	Overruled bool `json:"overruled,omitempty"`
	// Peak is the largest share that the canary may have in force: instances for
	// it are kept while the router can not be asked.
	Peak release.Weight `json:"peak,omitempty"`
	// Short is since when the canary has fewer ready instances than wanted;
	// zero: it has enough.
	Short time.Time `json:"short"`
	// Noted are the reasons of events that this step has given already.
	Noted []string `json:"noted,omitempty"`
	// Analysis is the one that the run began with; a later change of the spec
	// holds from the next run on.
	Analysis release.Analysis `json:"analysis"`
}

// Cause names the rule that ended a run, CamelCase, one word per cause.
type Cause string

// The causes.
const (
	CausePlan       Cause = "PlanComplete"
	CauseVerdict    Cause = "VerdictFail"
	CausePerson     Cause = "PersonAsked"
	CauseNotReady   Cause = "NotReady"
	CauseDeadline   Cause = "DeadlinePassed"
	CauseSuperseded Cause = "NewerVersion"
	CauseDied       Cause = "InstancesLost"
)

// Pause says since when and why a run waits.
type Pause struct {
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"` // one sentence
	Person bool      `json:"person"` // a person asked for it
}

// Verb is what a person can ask.
type Verb string

// The verbs. Promote goes one step on, PromoteFull to all traffic.
const (
	AskPause       Verb = "pause"
	AskResume      Verb = "resume"
	AskPromote     Verb = "promote"
	AskPromoteFull Verb = "promoteFull"
	AskAbort       Verb = "abort"
	AskRetry       Verb = "retry"
	AskRollback    Verb = "rollback" // to an earlier version
)

// Intent is a person's wish, recorded before it is acted upon.
type Intent struct {
	ID      int64             `json:"id"`
	Verb    Verb              `json:"verb"`
	Run     string            `json:"run,omitempty"`     // when set, meant for this run only
	Version release.VersionID `json:"version,omitempty"` // rollback: where to; empty: the last earlier one
	By      string            `json:"by"`
	Reason  string            `json:"reason,omitempty"`
	At      time.Time         `json:"at"`
}

// Input is everything that was observed.
type Input struct {
	Now     time.Time
	Release release.Release
	State   State
	Split   ObservedSplit
	Fleet   []ObservedGroup // sorted by version
	// FleetStale: the instances could not be observed now; Fleet is what was
	// last known. Nothing rises on it and nothing is stopped by it.
	FleetStale bool
	Evidence   Evidence
	Intents    []Intent // oldest first
	Gates      []GateAnswer
	Deleted    bool // the release is being deleted
}

// ObservedSplit is the split in force.
type ObservedSplit struct {
	Known bool // false: the router could not be asked
	// Pending: the router was told of a split that is not in force yet, so that
	// what is observed may still change by itself.
	Pending bool
	// Settles is when Pending may end by itself; zero: not known.
	Settles time.Time
	// Open: nothing keeps requests from any instance of the release, whatever
	// its version: the user's own objects stand as written. No other version's
	// instance is started then.
	Open  bool
	Split release.Split
	// Real are the shares that requests come to have while Split is in force,
	// where nothing can send them as Split says; empty: those of Split.
	Real     []release.Share
	InFlight []InFlight // requests now inside each version
}

// Of is the share that requests come to have of a version.
func (o ObservedSplit) Of(v release.VersionID) release.Weight {
	if len(o.Real) > 0 {
		return release.Split{Shares: o.Real}.Of(v)
	}
	return o.Split.Of(v)
}

// InFlight counts requests that a version is answering.
type InFlight struct {
	Version release.VersionID
	Count   int64
}

// ObservedGroup is the state of one version's instances.
type ObservedGroup struct {
	Version release.VersionID
	Ready   int
	Total   int
	// Error says why instances are not ready, for people; empty: none.
	Error string
	// Blocked: no retry will help (a program that does not exist).
	Blocked bool
}

// Evidence is the judge's word on the current run.
type Evidence struct {
	Report  judge.Report // against the looseness of the current step
	Newest  time.Time    // when the newest evidence came; zero: none yet
	Missing string       // why there is none; empty: there is
}

// GateAnswer is the recorded outcome of a gate of the current step.
type GateAnswer struct {
	Gate   string
	Yes    bool
	Reason string
}

// Group is the wanted number of instances of one version.
type Group struct {
	Version  release.Version
	Replicas int
}

// Decision is the state that is wanted.
type Decision struct {
	State State
	Split release.Split // empty Shares: no traffic can be served yet
	Fleet []Group       // sorted by version; a version that is not listed is stopped
	// Consumed lists the intents that were answered.
	Consumed []IntentAnswer
	Events   []Event
	// Ended lists runs that ended in this decision although State has a newer
	// one already: their last form, for the history.
	Ended []Run
	// Ask lists the gates of the step that need an answer now.
	Ask []release.Gate
	// Judge says whether the run's evidence is to be read.
	Judge bool
	// Wake is when to look again if nothing happens before; zero: never.
	Wake time.Time
	// Gone: nothing of a deleted release is left.
	Gone bool
}

// IntentAnswer says what became of an intent.
type IntentAnswer struct {
	ID      int64
	Done    bool
	Message string // why not, or what was done
}

// Event is one thing that happened, for people and machines.
type Event struct {
	At      time.Time `json:"at"`
	Reason  string    `json:"reason"` // CamelCase: RunStarted, StepStarted, ...
	Message string    `json:"message"`
	Run     string    `json:"run,omitempty"`
	Warning bool      `json:"warning,omitempty"`
	By      string    `json:"by,omitempty"`
}
