package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ReleaseStatus is what is. It is written by Haldane only.
type ReleaseStatus struct {
	// ObservedGeneration is the generation of the spec that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Phase of the release: Idle, Preparing, Progressing, Paused, Baking,
	// Finishing, RollingBack, RolledBack, Aborted, Blocked or Deleting.
	// +optional
	Phase string `json:"phase,omitempty"`
	// Message is one sentence for people.
	// +optional
	Message string `json:"message,omitempty"`
	// Weight is the canary's share of the traffic, as text: "10%".
	// +optional
	Weight string `json:"weight,omitempty"`
	// Step is the current step: "2/4".
	// +optional
	Step string `json:"step,omitempty"`
	// Verdict of the judge: Pass, Fail or Inconclusive.
	// +optional
	Verdict string `json:"verdict,omitempty"`
	// Stable is the version that serves.
	// +optional
	Stable *VersionStatus `json:"stable,omitempty"`
	// Canary is the version that is tried.
	// +optional
	Canary *VersionStatus `json:"canary,omitempty"`
	// Run is the current or the last run.
	// +optional
	Run *RunStatus `json:"run,omitempty"`
	// Allowed lists what a person can ask now: pause, resume, promote,
	// promoteFull, abort, retry, rollback.
	// +optional
	Allowed []string `json:"allowed,omitempty"`
	// Conditions: Ready, Reconciling, Stalled (as kstatus reads them).
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Answers says what became of what people asked, the newest last, at most 20.
	// +optional
	Answers []AnswerStatus `json:"answers,omitempty"`
	// Internal is the controller's own memory of the run. It is not for people
	// and changes its form with the version of Haldane.
	// +kubebuilder:validation:MaxLength=786432
	// +optional
	Internal string `json:"internal,omitempty"`
}

// AnswerStatus is what became of one thing that a person asked.
type AnswerStatus struct {
	// ID of the question.
	ID int64 `json:"id"`
	// Asked: pause, resume, promote, promoteFull, abort, retry or rollback.
	Asked string `json:"asked"`
	// By whom, as they said; the cluster's audit log knows for sure.
	// +optional
	By string `json:"by,omitempty"`
	// Reason that they gave.
	// +optional
	Reason string `json:"reason,omitempty"`
	// At is when they asked.
	// +optional
	At metav1.MicroTime `json:"at,omitempty"`
	// Done says whether it was done.
	Done bool `json:"done"`
	// Message says what was done, or why not.
	// +optional
	Message string `json:"message,omitempty"`
}

// VersionStatus is one version.
type VersionStatus struct {
	// ID is the content hash.
	ID string `json:"id"`
	// Name that people gave.
	Name string `json:"name"`
	// Ready instances.
	Ready int32 `json:"ready"`
	// Instances in all.
	Instances int32 `json:"instances"`
	// Weight is the wanted share of the traffic.
	// +optional
	Weight string `json:"weight,omitempty"`
	// Error says why instances are not ready.
	// +optional
	Error string `json:"error,omitempty"`
}

// RunStatus is one run.
type RunStatus struct {
	// Name of the run.
	Name string `json:"name"`
	// Phase of the run.
	Phase string `json:"phase"`
	// From and To are names of versions.
	// +optional
	From string `json:"from,omitempty"`
	To   string `json:"to"`
	// ToID is the content hash of the version that To names.
	// +optional
	ToID string `json:"toID,omitempty"`
	// Started and Ended.
	Started metav1.Time `json:"started"`
	// +optional
	Ended *metav1.Time `json:"ended,omitempty"`
	// Why it is where it is, one sentence.
	// +optional
	Why string `json:"why,omitempty"`
	// Cause of its end.
	// +optional
	Cause string `json:"cause,omitempty"`
	// Requests that the canary and the stable version answered in the run.
	CanaryRequests int64 `json:"canaryRequests"`
	StableRequests int64 `json:"stableRequests"`
	// Evidence against the canary, as odds: "1 : 4300".
	// +optional
	Evidence string `json:"evidence,omitempty"`
	// Placebo says what was found when stable was compared with itself beside
	// the run: evidence there is a false alarm.
	// +optional
	Placebo string `json:"placebo,omitempty"`
	// Division says how requests were really divided between the versions.
	// +optional
	Division string `json:"division,omitempty"`
	// Caveats are what could mislead who reads the figures, in sentences: what
	// differs between the versions beside what they are, and what nobody could tell.
	// +optional
	Caveats []string `json:"caveats,omitempty"`
	// Metrics of the run.
	// +optional
	Metrics []MetricStatus `json:"metrics,omitempty"`
	// Steps of the plan, as weights.
	// +optional
	Steps []string `json:"steps,omitempty"`
}

// MetricStatus is one metric in words and numbers, already formatted.
type MetricStatus struct {
	Name    string `json:"name"`
	Verdict string `json:"verdict"`
	// Stable and Canary figures: "0.41% of 28114".
	Stable string `json:"stable"`
	Canary string `json:"canary"`
	// Ratio with its always-valid interval: "4.6 [2.8, 7.7]".
	// +optional
	Ratio string `json:"ratio,omitempty"`
	// Evidence against the canary, as odds.
	// +optional
	Evidence string `json:"evidence,omitempty"`
	// Margin that the canary is to be proven within: "at most 1.5 times".
	// +optional
	Margin string `json:"margin,omitempty"`
	// Proof is the evidence that the canary is within the margin, as odds.
	// +optional
	Proof string `json:"proof,omitempty"`
	// Remaining is what the proof still needs: "about 3100 requests, 2 min".
	// +optional
	Remaining string `json:"remaining,omitempty"`
	// Reason in one sentence.
	// +optional
	Reason string `json:"reason,omitempty"`
	// Figures are the metric's own and the quantiles of a distribution, of both
	// versions.
	// +optional
	Figures []FigureStatus `json:"figures,omitempty"`
}

// FigureStatus is one figure of both versions. All intervals are always valid:
// they hold at every look at once.
type FigureStatus struct {
	// Name of the metric, with the quantile: "latency p99".
	Name string `json:"name"`
	// Stable and Canary with their intervals: "0.41% [0.35%, 0.48%]".
	Stable string `json:"stable"`
	Canary string `json:"canary"`
	// Ratio canary / stable with its interval: "4.6 [2.8, 7.7]".
	// +optional
	Ratio string `json:"ratio,omitempty"`
	// Difference canary - stable with its interval: "+12 ms [+4.0 ms, +21 ms]".
	// +optional
	Difference string `json:"difference,omitempty"`
}
