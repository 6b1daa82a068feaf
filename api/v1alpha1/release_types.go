// Package v1alpha1 holds the manifest of Haldane: one object, in a file for the
// local daemon and in a cluster. The comments on the fields are the user's
// documentation; the schema and the reference page are generated from them.
// It holds types only: defaults and rules are in internal/manifest.
//
// +kubebuilder:object:generate=true
// +groupName=haldane.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Release says which workload should serve behind which traffic, and how a new
// version of it comes to serve.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=hrel,categories=all;haldane
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Weight",type=string,JSONPath=`.status.weight`
// +kubebuilder:printcolumn:name="Step",type=string,JSONPath=`.status.step`
// +kubebuilder:printcolumn:name="Canary",type=string,JSONPath=`.status.canary.name`
// +kubebuilder:printcolumn:name="Verdict",type=string,JSONPath=`.status.verdict`
// +kubebuilder:printcolumn:name="Stable",type=string,JSONPath=`.status.stable.name`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.message`,priority=1
type Release struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what the user declares.
	Spec ReleaseSpec `json:"spec"`
	// Status is written by Haldane only. Until the first write it speaks of no
	// generation, so that a Release nobody has looked at is not taken for a ready one.
	// +kubebuilder:default:={"observedGeneration":-1}
	Status ReleaseStatus `json:"status,omitempty"`
}

// ReleaseList is a list of releases.
//
// +kubebuilder:object:root=true
type ReleaseList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Release `json:"items"`
}

// ReleaseSpec is what the user declares.
type ReleaseSpec struct {
	// Version is a name for the workload below, such as v2 or a commit. It is
	// part of the version: changing it alone starts a run (for example when the
	// program behind the same command was rebuilt). Default: a hash of the workload.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Version string `json:"version,omitempty"`
	// Workload is what runs. Changing it starts a run.
	Workload WorkloadSpec `json:"workload"`
	// Traffic says what splits the requests between versions.
	Traffic TrafficSpec `json:"traffic"`
	// Strategy says how a new version comes to serve. Default: canary in steps
	// of 5, 10 and 50 %.
	// +optional
	Strategy *StrategySpec `json:"strategy,omitempty"`
	// Analysis says what is compared and how sure a decision must be. Default:
	// errors and latency.
	// +optional
	Analysis *AnalysisSpec `json:"analysis,omitempty"`
	// KeepRuns is how many ended runs a cluster keeps as Run objects; the local
	// daemon keeps all. Default: 10.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +optional
	KeepRuns *int32 `json:"keepRuns,omitempty"`
}

// JSONValue is any JSON value.
//
// +kubebuilder:pruning:PreserveUnknownFields
// +kubebuilder:validation:Type=""
type JSONValue struct {
	Raw []byte `json:"-"`
}

// MarshalJSON writes the value as it was read.
func (v JSONValue) MarshalJSON() ([]byte, error) {
	if v.Raw == nil {
		return []byte("null"), nil
	}
	return v.Raw, nil
}

// UnmarshalJSON keeps the value as it is.
func (v *JSONValue) UnmarshalJSON(b []byte) error {
	v.Raw = append(v.Raw[:0:0], b...)
	return nil
}

// Percent is a share: a whole number of percent (5), or text with a percent
// sign ("0.5%"), at a resolution of 0.01 %.
type Percent = intstr.IntOrString
