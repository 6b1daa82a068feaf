package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// StrategySpec says how a new version comes to serve: exactly one of canary,
// blueGreen, ab, rolling and shadow.
//
// +kubebuilder:validation:ExactlyOneOf=canary;blueGreen;ab;rolling;shadow
type StrategySpec struct {
	// Canary sends a growing share of the traffic to the new version.
	// +optional
	Canary *CanarySpec `json:"canary,omitempty"`
	// BlueGreen starts the new version in full and switches all of the traffic at once.
	// +optional
	BlueGreen *BlueGreenSpec `json:"blueGreen,omitempty"`
	// AB gives the new version to some users and keeps both until a winner is proven or time is up.
	// +optional
	AB *ABSpec `json:"ab,omitempty"`
	// Rolling replaces instances in batches; the traffic follows the instances.
	// +optional
	Rolling *RollingSpec `json:"rolling,omitempty"`
	// Shadow copies requests to the new version and compares; no user sees its answers.
	// +optional
	Shadow *ShadowSpec `json:"shadow,omitempty"`
	// Bake keeps the old version ready after all of the traffic moved: the time
	// in which a way back is instant. Default: 30s.
	// +optional
	Bake *metav1.Duration `json:"bake,omitempty"`
	// RollbackWindow is how long after a promotion the version before comes back
	// at once when it is asked for again (kubectl rollout undo, a revert in git):
	// as soon as its instances are ready, without steps and evidence. With 0s it
	// is a release like any other. Default: 0s.
	// +optional
	RollbackWindow *metav1.Duration `json:"rollbackWindow,omitempty"`
	// StepDeadline is the longest time in one step; 0s: no limit. Default: 1h.
	// +optional
	StepDeadline *metav1.Duration `json:"stepDeadline,omitempty"`
	// OnInconclusive is what happens at that deadline: pause waits for a
	// person, rollback takes the traffic away. Default: pause.
	// +kubebuilder:validation:Enum=pause;rollback
	// +optional
	OnInconclusive string `json:"onInconclusive,omitempty"`
	// ReadyDeadline is the longest time for the new version's instances to get
	// ready before the run is rolled back. Default: 2m.
	// +optional
	ReadyDeadline *metav1.Duration `json:"readyDeadline,omitempty"`
}

// CanarySpec is a list of steps; all of the traffic follows after the last.
type CanarySpec struct {
	// Steps of the plan. Default: 5, 10 and 50 %.
	// +kubebuilder:validation:MaxItems=50
	// +optional
	Steps []StepSpec `json:"steps,omitempty"`
}

// StepSpec is one stage of a run.
type StepSpec struct {
	// Name for people.
	// +optional
	Name string `json:"name,omitempty"`
	// Weight is the new version's share of the traffic. It never falls from one
	// step to the next, and only the last step may have 100.
	Weight intstr.IntOrString `json:"weight"`
	// Mirror is the share of stable's requests that is copied to the new version. Default: 0.
	// +optional
	Mirror *intstr.IntOrString `json:"mirror,omitempty"`
	// Matches are requests that always go to the new version in this step.
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Matches []MatchSpec `json:"matches,omitempty"`
	// Hold is the shortest time in the step. Default: 0s, as soon as the evidence allows.
	// +optional
	Hold *metav1.Duration `json:"hold,omitempty"`
	// MinRequests is how many requests the new version must have answered in the
	// step. Default: analysis.minRequests, or 0 where require is none.
	// +kubebuilder:validation:Minimum=0
	// +optional
	MinRequests *int64 `json:"minRequests,omitempty"`
	// Require is the verdict that the next step needs: none, noHarm (there is
	// evidence and none of harm) or proven (every required metric is proven to
	// be within its margin, and no other is in doubt, which it is from a twentieth
	// of the odds on that would fail it). Default: noHarm, and proven at the last step.
	// +kubebuilder:validation:Enum=none;noHarm;proven
	// +optional
	Require string `json:"require,omitempty"`
	// Looseness multiplies the margins in this step: with 3, a proof that the
	// new version is within three times its margins is enough to go on. Default: 1
	// at the last step that requires proven, 2 at the one before and 3 at earlier
	// ones, so that what is tolerated shrinks as the share grows.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10
	// +optional
	Looseness *int32 `json:"looseness,omitempty"`
	// Gates that must say yes before the step is left.
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Gates []GateSpec `json:"gates,omitempty"`
	// Capacity is the share of the instances that the new version runs in this
	// step, at least the weight. Default: so many that none of them carries more
	// than one of the old version.
	// +optional
	Capacity *intstr.IntOrString `json:"capacity,omitempty"`
	// Deadline of this step; 0s: no limit. Default: strategy.stepDeadline.
	// +optional
	Deadline *metav1.Duration `json:"deadline,omitempty"`
}

// BlueGreenSpec switches all of the traffic at once.
type BlueGreenSpec struct {
	// Preview are requests that see the new version before the switch.
	// +optional
	Preview *MatchSpec `json:"preview,omitempty"`
	// Gates that must say yes before the switch.
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Gates []GateSpec `json:"gates,omitempty"`
	// Hold is the shortest time before the switch. Default: 0s.
	// +optional
	Hold *metav1.Duration `json:"hold,omitempty"`
	// Require is the verdict needed before the switch, from the preview's
	// requests. Default: none.
	// +kubebuilder:validation:Enum=none;noHarm;proven
	// +optional
	Require string `json:"require,omitempty"`
}

// ABSpec keeps two versions side by side.
type ABSpec struct {
	// Matches are users who get the new version.
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Matches []MatchSpec `json:"matches,omitempty"`
	// Share of all users who get the new version. Default: 50, or 0 where there
	// are matches.
	// +optional
	Share *intstr.IntOrString `json:"share,omitempty"`
	// Hold is the shortest time of the comparison. Default: 0s.
	// +optional
	Hold *metav1.Duration `json:"hold,omitempty"`
	// Require is the verdict needed for the new version to win. Default: proven.
	// +kubebuilder:validation:Enum=none;noHarm;proven
	// +optional
	Require string `json:"require,omitempty"`
}

// RollingSpec replaces instances in batches.
type RollingSpec struct {
	// Batches is their number. Default: 4.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=50
	// +optional
	Batches *int32 `json:"batches,omitempty"`
	// Hold is the shortest time in each batch. Default: 0s.
	// +optional
	Hold *metav1.Duration `json:"hold,omitempty"`
}

// ShadowSpec compares answers that no user sees.
type ShadowSpec struct {
	// Share of requests that is copied. Default: 10.
	// +optional
	Share *intstr.IntOrString `json:"share,omitempty"`
	// Hold is the shortest time of the comparison. Default: 1m.
	// +optional
	Hold *metav1.Duration `json:"hold,omitempty"`
	// Require is the verdict needed before the switch. Default: noHarm.
	// +kubebuilder:validation:Enum=none;noHarm;proven
	// +optional
	Require string `json:"require,omitempty"`
	// Gates that must say yes before the switch. Default: one for a person.
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Gates []GateSpec `json:"gates,omitempty"`
}

// MatchSpec selects requests: all of its conditions must hold.
//
// +kubebuilder:validation:AtLeastOneOf=headers;cookie;path
type MatchSpec struct {
	// Headers that must match.
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Headers []HeaderMatchSpec `json:"headers,omitempty"`
	// Cookie that must match.
	// +optional
	Cookie *HeaderMatchSpec `json:"cookie,omitempty"`
	// Path is a prefix of the path.
	// +optional
	Path string `json:"path,omitempty"`
}

// HeaderMatchSpec compares one value: exactly one of exact, prefix and regexp.
//
// +kubebuilder:validation:ExactlyOneOf=exact;prefix;regexp
type HeaderMatchSpec struct {
	// Name of the header or cookie.
	Name string `json:"name"`
	// Exact is the whole value.
	// +optional
	Exact string `json:"exact,omitempty"`
	// Prefix is how the value begins.
	// +optional
	Prefix string `json:"prefix,omitempty"`
	// Regexp (RE2) must match the whole value.
	// +optional
	Regexp string `json:"regexp,omitempty"`
}

// GateSpec is something that must say yes: exactly one of person, webhook and window.
//
// +kubebuilder:validation:ExactlyOneOf=person;webhook;window
type GateSpec struct {
	// Name of the gate; unique in its step. Default: its kind.
	// +optional
	Name string `json:"name,omitempty"`
	// Person waits for `haldane promote`.
	// +optional
	Person bool `json:"person,omitempty"`
	// Webhook is asked by POST until it answers 2xx.
	// +optional
	Webhook *WebhookSpec `json:"webhook,omitempty"`
	// Window is a weekly time in which runs may go on. Rolling back is never held up.
	// +optional
	Window *WindowSpec `json:"window,omitempty"`
}

// WebhookSpec is an HTTP endpoint.
type WebhookSpec struct {
	// URL that is asked.
	// +kubebuilder:validation:Pattern=`^https?://[^@]+$`
	URL string `json:"url"`
	// Timeout of one try. Default: 10s.
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`
}

// WindowSpec is a weekly time.
type WindowSpec struct {
	// Days: Mon, Tue, Wed, Thu, Fri, Sat, Sun or ranges such as Mon-Fri. Default: every day.
	// +optional
	Days []string `json:"days,omitempty"`
	// From is a time of day, such as "09:00".
	// +kubebuilder:validation:Pattern=`^([01]\d|2[0-3]):[0-5]\d$`
	From string `json:"from"`
	// To is a time of day after From; "24:00" is the end of the day.
	// +kubebuilder:validation:Pattern=`^(([01]\d|2[0-3]):[0-5]\d|24:00)$`
	To string `json:"to"`
	// Zone is an IANA time zone. Default: UTC.
	// +optional
	Zone string `json:"zone,omitempty"`
}
