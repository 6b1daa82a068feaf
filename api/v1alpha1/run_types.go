package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Run is one attempt to move a release to another version, in the history.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=hrun,categories=haldane
// +kubebuilder:printcolumn:name="Release",type=string,JSONPath=`.release`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="To",type=string,JSONPath=`.status.to`
// +kubebuilder:printcolumn:name="Started",type=date,JSONPath=`.status.started`
type Run struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Release that the run belongs to.
	Release string    `json:"release"`
	Status  RunStatus `json:"status"`
	// Internal is the controller's own record of the run, not for people.
	// +kubebuilder:validation:MaxLength=786432
	// +optional
	Internal string `json:"internal,omitempty"`
}

// RunList is a list of runs.
//
// +kubebuilder:object:root=true
type RunList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Run `json:"items"`
}
