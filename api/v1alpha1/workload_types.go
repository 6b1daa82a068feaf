package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// WorkloadSpec is the template of a version: exactly one of process, endpoints
// and deployment.
//
// +kubebuilder:validation:ExactlyOneOf=process;endpoints;deployment
type WorkloadSpec struct {
	// Process is a program on this machine that Haldane starts and supervises.
	// +optional
	Process *ProcessSpec `json:"process,omitempty"`
	// Endpoints are instances that already run elsewhere.
	// +optional
	Endpoints *EndpointsSpec `json:"endpoints,omitempty"`
	// Deployment is a Kubernetes Deployment in the namespace of the release.
	// +optional
	Deployment *DeploymentSpec `json:"deployment,omitempty"`
	// Rewrite changes each request on its way to this version, so that a model
	// name, an adapter or a prompt can be the version while one server runs. A body
	// that is compressed, not JSON by its type or above 16 MiB stays as it is, and
	// such requests are evidence of no version.
	// +optional
	Rewrite *RewriteSpec `json:"rewrite,omitempty"`
	// WarmUp sends requests to every new instance before it counts as ready.
	// +optional
	WarmUp *WarmUpSpec `json:"warmUp,omitempty"`
}

// ProcessSpec is a program on this machine.
type ProcessSpec struct {
	// Command is the program and its arguments; no shell is involved. {port}
	// stands for the instance's port.
	// +kubebuilder:validation:MinItems=1
	Command []string `json:"command"`
	// Dir is the working directory, relative to the manifest's. Default: the manifest's.
	// +optional
	Dir string `json:"dir,omitempty"`
	// Env is added to a small inherited environment (PATH, HOME, LANG, TZ, TMPDIR).
	// A value may be "env:NAME" or "file:/path", read when an instance starts,
	// so that no secret stands here; "text:..." takes anything literally.
	// +optional
	Env map[string]string `json:"env,omitempty"`
	// Replicas is the number of instances that serve all of the traffic. Default: 1.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +optional
	Replicas *int32 `json:"replicas,omitempty"`
	// PortEnv names the environment variable that tells an instance which
	// loopback port to listen on. Default: PORT.
	// +optional
	PortEnv string `json:"portEnv,omitempty"`
	// Ready says when an instance is ready. Default: when its port answers.
	// +optional
	Ready *ProbeSpec `json:"ready,omitempty"`
	// Drain is the longest time an instance may take to finish its requests. Default: 30s.
	// +optional
	Drain *metav1.Duration `json:"drain,omitempty"`
	// Protocol that instances speak: http (HTTP/1.1) or h2c (HTTP/2 without TLS, gRPC). Default: http.
	// +kubebuilder:validation:Enum=http;h2c
	// +optional
	Protocol string `json:"protocol,omitempty"`
}

// EndpointsSpec are instances that already run elsewhere.
type EndpointsSpec struct {
	// Addresses of the instances: host:port, or a URL with http, https or h2c.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	Addresses []string `json:"addresses"`
	// Ready says when an instance is ready. Default: when its port answers.
	// +optional
	Ready *ProbeSpec `json:"ready,omitempty"`
	// Drain is the longest time requests may take to finish. Default: 30s.
	// +optional
	Drain *metav1.Duration `json:"drain,omitempty"`
}

// DeploymentSpec names a Kubernetes Deployment.
type DeploymentSpec struct {
	// Name of the Deployment, in the namespace of the release.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
	// Content are objects whose content belongs to the version, beside the pod
	// template: where it changes, a run starts. Default: none.
	// +optional
	Content *ContentSpec `json:"content,omitempty"`
}

// ContentSpec names objects in the namespace of the release. The controller must
// be allowed to get, list and watch them.
//
// +kubebuilder:validation:AtLeastOneOf=configMaps;secrets
type ContentSpec struct {
	// ConfigMaps by name. Default: none.
	// +kubebuilder:validation:MaxItems=16
	// +optional
	ConfigMaps []string `json:"configMaps,omitempty"`
	// Secrets by name. Default: none.
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Secrets []string `json:"secrets,omitempty"`
}

// ProbeSpec says when an instance is ready.
type ProbeSpec struct {
	// HTTP is a path that answers 200 to 399 when the instance is ready.
	// Default: none, a TCP connection is enough.
	// +kubebuilder:validation:Pattern=`^(/.*)?$`
	// +optional
	HTTP string `json:"http,omitempty"`
	// Interval between two probes; an instance that starts is asked at least
	// every 250ms. Default: 2s.
	// +optional
	Interval *metav1.Duration `json:"interval,omitempty"`
	// Timeout of one probe. Default: 1s.
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// Deadline from the start of an instance to its first readiness. Default: 60s.
	// +optional
	Deadline *metav1.Duration `json:"deadline,omitempty"`
}

// WarmUpSpec are requests to a new instance.
type WarmUpSpec struct {
	// Requests is how many. Default: 1.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	// +optional
	Requests *int32 `json:"requests,omitempty"`
	// Path that is asked.
	// +kubebuilder:validation:Pattern=`^/`
	Path string `json:"path"`
	// Body is JSON that is posted as it is, such as a question to a model with the
	// beginning that all users' questions share, so that weights are loaded and the
	// prefix cache is filled; an answer other than a 2xx leaves the instance not
	// ready. Default: none, by GET, and any answer will do.
	// +kubebuilder:validation:MaxLength=65536
	// +optional
	Body string `json:"body,omitempty"`
}

// RewriteSpec changes requests.
type RewriteSpec struct {
	// PathPrefix is put before the path.
	// +optional
	PathPrefix string `json:"pathPrefix,omitempty"`
	// SetHeaders are set, whatever the client sent.
	// +optional
	SetHeaders map[string]string `json:"setHeaders,omitempty"`
	// RemoveHeaders are taken away.
	// +optional
	RemoveHeaders []string `json:"removeHeaders,omitempty"`
	// SetJSON sets fields of a JSON request body, by dotted path: {"model": "llama-b"}.
	// In a list a number names an element: messages.0.content.
	// +optional
	SetJSON map[string]JSONValue `json:"setJSON,omitempty"`
	// System is the system prompt of a chat: it takes the place of a system (or
	// developer) message that comes first, else it comes first itself. Requests of
	// the responses API get it as their instructions.
	// +kubebuilder:validation:MaxLength=65536
	// +optional
	System string `json:"system,omitempty"`
}
