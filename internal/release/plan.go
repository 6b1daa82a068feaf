package release

import "time"

// StrategyKind names how a new version comes to serve.
type StrategyKind string

// The strategies. Each compiles into the same list of steps.
const (
	Canary    StrategyKind = "canary"
	BlueGreen StrategyKind = "blueGreen"
	AB        StrategyKind = "ab"
	Rolling   StrategyKind = "rolling"
	Shadow    StrategyKind = "shadow"
)

// Strategy is what the user wrote, defaulted. Compile turns it into a Plan.
type Strategy struct {
	Kind  StrategyKind
	Steps []Step // canary: as written; other kinds: empty

	Preview *Match        // blueGreen: requests that see the new version before the switch
	Matches []Match       // ab: users who get the new version
	Share   Weight        // ab: share of users beside Matches; shadow: share of requests that are mirrored
	Batches int           // rolling: number of batches
	Gates   []Gate        // blueGreen, shadow: before the switch
	Hold    time.Duration // blueGreen, shadow, ab, rolling (each batch): shortest time
	Require Requirement   // blueGreen, shadow, ab: verdict needed before the switch

	Bake           time.Duration // old version kept ready after promotion
	RollbackWindow time.Duration // after a promotion, in which the version before comes back without steps
	StepDeadline   time.Duration // longest time in one step; zero: no limit
	OnInconclusive OnInconclusive
	ReadyDeadline  time.Duration // longest time for the canary's instances to get ready
}

// Requirement is the verdict that a step needs before the next one begins.
type Requirement string

// The requirements. NoHarm: there is evidence, and no metric has failed or is in
// doubt. Proven: every required metric is proven to be within the step's margin,
// and no other is in doubt.
const (
	None   Requirement = "none"
	NoHarm Requirement = "noHarm"
	Proven Requirement = "proven"
)

// OnInconclusive is what happens when a step's deadline passes without a verdict.
type OnInconclusive string

// The ends of a deadline. Pause waits for a person.
const (
	PauseRun    OnInconclusive = "pause"
	RollBackRun OnInconclusive = "rollback"
)

// Step is one stage of a run's plan.
type Step struct {
	Name        string        `json:"name,omitempty"`
	Weight      Weight        `json:"weight"`
	Mirror      Weight        `json:"mirror,omitempty"`  // share of stable's requests copied to the canary
	Matches     []Match       `json:"matches,omitempty"` // requests that always go to the canary
	Hold        time.Duration `json:"hold,omitempty"`    // shortest time in the step
	MinRequests int64         `json:"minRequests,omitempty"`
	Require     Requirement   `json:"require"`
	Looseness   float64       `json:"looseness,omitempty"` // margins are multiplied by it in this step; 1: as declared
	Gates       []Gate        `json:"gates,omitempty"`     // before the step is left
	Capacity    Weight        `json:"capacity"`            // share of the release's instances that the canary has
	Deadline    time.Duration `json:"deadline,omitempty"`  // longest time in the step; zero: no limit
}

// GateKind names who must say yes.
type GateKind string

// The gates. A person approves with `haldane promote`.
const (
	GatePerson  GateKind = "person"
	GateWebhook GateKind = "webhook"
	GateWindow  GateKind = "window"
)

// Gate is something that must say yes before a step is left.
type Gate struct {
	Name    string        `json:"name"`
	Kind    GateKind      `json:"kind"`
	URL     string        `json:"url,omitempty"`     // webhook
	Timeout time.Duration `json:"timeout,omitempty"` // webhook
	Window  *Window       `json:"window,omitempty"`
}

// Window is a weekly time in which a run may go on.
type Window struct {
	Days []time.Weekday `json:"days,omitempty"` // empty: every day
	From string         `json:"from"`           // "09:00"
	To   string         `json:"to"`
	Zone string         `json:"zone,omitempty"` // IANA name; empty: UTC
}

// Plan is a compiled strategy. A run keeps the plan that it began with.
type Plan struct {
	Kind           StrategyKind   `json:"kind"`
	Steps          []Step         `json:"steps"`              // the last one has weight Full
	KeepBoth       bool           `json:"keepBoth,omitempty"` // A/B: both versions serve until one is proven or time is up
	Bake           time.Duration  `json:"bake,omitempty"`
	OnInconclusive OnInconclusive `json:"onInconclusive"`
	ReadyDeadline  time.Duration  `json:"readyDeadline"`
}
