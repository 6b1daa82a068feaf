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
	// name, an adapter or a prompt can be the version while one server runs.
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

// TrafficSpec says what splits the requests: exactly one field. All but
// embedded work in a cluster, on a workload that is a Deployment.
//
// +kubebuilder:validation:ExactlyOneOf=embedded;gatewayAPI;istio;linkerd;nginx;replicas
type TrafficSpec struct {
	// Embedded is Haldane's own proxy.
	// +optional
	Embedded *EmbeddedSpec `json:"embedded,omitempty"`
	// GatewayAPI splits in your HTTPRoutes and GRPCRoutes, by any
	// implementation of the Gateway API.
	// +optional
	GatewayAPI *GatewayAPISpec `json:"gatewayAPI,omitempty"`
	// Istio splits in VirtualServices, by subsets of a DestinationRule.
	// +optional
	Istio *IstioSpec `json:"istio,omitempty"`
	// Linkerd splits in an HTTPRoute of Haldane's with your Service as its parent.
	// +optional
	Linkerd *LinkerdSpec `json:"linkerd,omitempty"`
	// NGINX splits by the canary annotations of the NGINX ingress controller.
	// +optional
	NGINX *NGINXSpec `json:"nginx,omitempty"`
	// Replicas uses no router: the share follows the number of instances, and
	// the new version gets requests as soon as its first instance is ready. It
	// knows no matches and no mirror.
	// +optional
	Replicas *ReplicasSpec `json:"replicas,omitempty"`
}

// GatewayAPISpec says which of your routes lead to the workload. During a run
// their references to the Service are parted into SERVICE-stable and
// SERVICE-canary; at rest they are what you wrote.
type GatewayAPISpec struct {
	// Service that selects the workload's pods and that the routes refer to.
	// +kubebuilder:validation:MinLength=1
	Service string `json:"service"`
	// Routes that refer to the Service, in the namespace of the release. They
	// change together or not at all.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Routes []RouteSpec `json:"routes"`
	// Settle is how long the implementation may take to follow a route whose
	// status says that it was accepted. Default: 3s.
	// +optional
	Settle *metav1.Duration `json:"settle,omitempty"`
}

// RouteSpec names one route.
type RouteSpec struct {
	// Kind of the route. Default: HTTPRoute.
	// +kubebuilder:validation:Enum=HTTPRoute;GRPCRoute
	// +optional
	Kind string `json:"kind,omitempty"`
	// Name of the route.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
	// Rules that are split: their names, or their numbers counted from 0.
	// Default: all rules that refer to the Service.
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Rules []string `json:"rules,omitempty"`
}

// IstioSpec says how a mesh or gateway of Istio leads to the workload. At rest
// your own objects are what you wrote.
type IstioSpec struct {
	// Service that selects the workload's pods.
	// +kubebuilder:validation:MinLength=1
	Service string `json:"service"`
	// VirtualServices of yours that send requests to the Service. Default: none,
	// Haldane owns one of the Service's name.
	// +kubebuilder:validation:MaxItems=16
	// +optional
	VirtualServices []VirtualServiceSpec `json:"virtualServices,omitempty"`
	// DestinationRule of yours for the Service. Default: none, Haldane owns one
	// of the Service's name.
	// +optional
	DestinationRule *DestinationRuleSpec `json:"destinationRule,omitempty"`
	// Settle is how long the proxies may take to follow a change. Default: 1s.
	// +optional
	Settle *metav1.Duration `json:"settle,omitempty"`
}

// VirtualServiceSpec names one VirtualService.
type VirtualServiceSpec struct {
	// Name of the VirtualService, in the namespace of the release.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
	// Routes are the names of the HTTP routes that are split. Default: all that
	// send requests to the Service.
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Routes []string `json:"routes,omitempty"`
}

// DestinationRuleSpec names a DestinationRule and its subsets.
type DestinationRuleSpec struct {
	// Name of the DestinationRule, in the namespace of the release.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
	// StableSubset is the subset for the stable version. Default: stable.
	// +optional
	StableSubset string `json:"stableSubset,omitempty"`
	// CanarySubset is the subset for the new version. Default: canary.
	// +optional
	CanarySubset string `json:"canarySubset,omitempty"`
}

// LinkerdSpec names the Service that clients in the mesh ask.
type LinkerdSpec struct {
	// Service that selects the workload's pods.
	// +kubebuilder:validation:MinLength=1
	Service string `json:"service"`
	// Port of the Service that is split. Default: its only port.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	Port *int32 `json:"port,omitempty"`
	// Settle is how long the proxies may take to follow a change. Default: 1s.
	// +optional
	Settle *metav1.Duration `json:"settle,omitempty"`
}

// NGINXSpec names an Ingress. During a run its paths to the Service lead to
// SERVICE-stable, and an Ingress NAME-canary has the canary's share; at rest it
// is what you wrote.
type NGINXSpec struct {
	// Service that selects the workload's pods and that the Ingress refers to.
	// +kubebuilder:validation:MinLength=1
	Service string `json:"service"`
	// Ingress that refers to the Service, in the namespace of the release.
	// +kubebuilder:validation:MinLength=1
	Ingress string `json:"ingress"`
	// Settle is how long the controller may take to follow a change. Default: 3s.
	// +optional
	Settle *metav1.Duration `json:"settle,omitempty"`
}

// ReplicasSpec is no router.
type ReplicasSpec struct{}

// EmbeddedSpec is Haldane's own proxy.
type EmbeddedSpec struct {
	// Listen is the address that users connect to, such as 127.0.0.1:8080.
	// +kubebuilder:validation:Pattern=`:\d{1,5}$`
	Listen string `json:"listen"`
	// TLS serves HTTPS and HTTP/2 on that address.
	// +optional
	TLS *TLSSpec `json:"tls,omitempty"`
	// Sticky keeps a user with one version. Default: every request is assigned by itself.
	// +optional
	Sticky *StickySpec `json:"sticky,omitempty"`
	// TestHeader lets a client ask for a version by role (canary, stable) or by
	// name with this header. Default: off, since anybody could use it.
	// +optional
	TestHeader string `json:"testHeader,omitempty"`
	// Shield answers a request by stable when the canary failed before its first
	// byte was sent; the failure still counts against the canary.
	// +optional
	Shield *ShieldSpec `json:"shield,omitempty"`
	// Timeouts of the proxy.
	// +optional
	Timeouts *TimeoutsSpec `json:"timeouts,omitempty"`
	// Model reads requests to models and their answers along, so that what a
	// model says can be compared, not only whether it answered. {} is enough for
	// the paths that the protocols lay down. Default: off.
	// +optional
	Model *ModelSpec `json:"model,omitempty"`
	// Feedback takes what users say of answers, for metrics whose source is
	// feedback. Answers get an X-Request-Id where they have none. Default: off.
	// +optional
	Feedback *FeedbackSpec `json:"feedback,omitempty"`
	// Mirror says which requests are copied, where a step or strategy.shadow asks
	// for copies, and how the answers of both versions are compared.
	// +optional
	Mirror *MirrorSpec `json:"mirror,omitempty"`
}

// FeedbackSpec says how feedback is taken: by POST of {"id": "...", "vote": "up"
// or "down", "score": 0 to 1, "label": "..."} to path on the release's address, or
// to /api/v1/releases/NAME/feedback of the daemon. The id is the X-Request-Id of
// the answer, or the one that a completion or inference gives itself; on the
// release's address "session", the value of the sticky key, may stand in its
// place for the last answer to that user. The same said again counts once. Which
// version answered is kept in memory: feedback on answers from before a restart
// of the daemon is answered 404.
type FeedbackSpec struct {
	// Path on the release's address; requests to it do not reach a version. Default: /feedback.
	// +kubebuilder:validation:Pattern=`^/[^?#]+$`
	// +optional
	Path string `json:"path,omitempty"`
	// Keep is how long after a request feedback on it is taken. Default: 24h.
	// +optional
	Keep *metav1.Duration `json:"keep,omitempty"`
}

// MirrorSpec says how requests are copied. A copy is made after the user's
// request was answered, bears the header X-Haldane-Mirror: 1 and is rewritten as
// every request of its version is; nobody gets its answer.
type MirrorSpec struct {
	// Methods that are copied. Others than GET, HEAD and OPTIONS may change
	// something, and a copy does so once more: name POST only where it does not,
	// as with a model. Default: GET, HEAD and OPTIONS.
	// +kubebuilder:validation:MaxItems=7
	// +optional
	Methods []string `json:"methods,omitempty"`
	// Timeout of one copy; slower answers count as failures of either version. Default: 30s.
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// Budget is how many copies are under way at once; under load, further ones
	// are not made. Default: 64.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1024
	// +optional
	Budget *int32 `json:"budget,omitempty"`
	// MaxBody is the largest request body, in bytes, that is copied. Default: 262144.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=16777216
	// +optional
	MaxBody *int64 `json:"maxBody,omitempty"`
	// Noise is the share of the copies of which the old version gets one too: how
	// often its own answers differ is what the new version's are held against.
	// 0 says that they never do. Default: 20.
	// +optional
	Noise *intstr.IntOrString `json:"noise,omitempty"`
	// Credentials passes Authorization and Cookie on to copies. Default: false.
	// +optional
	Credentials *bool `json:"credentials,omitempty"`
	// Compare says when two answers are the same.
	// +optional
	Compare *CompareSpec `json:"compare,omitempty"`
	// Keep bounds the differing answers that are kept in memory to be looked at
	// (haldane diff).
	// +optional
	Keep *KeepSpec `json:"keep,omitempty"`
}

// CompareSpec says when two answers to one request are the same.
type CompareSpec struct {
	// How: exact (bytes), json (values; the order of members does not count),
	// argmax (the class or the largest score), text (similarity of the words),
	// none, or auto: text for a model's words and text/plain, argmax for answers
	// of the Open Inference Protocol or with a class, json for other JSON, else
	// exact. Default: auto.
	// +kubebuilder:validation:Enum=auto;exact;json;argmax;text;none
	// +optional
	How string `json:"how,omitempty"`
	// Ignore are dotted paths in JSON answers that do not count; * stands for any
	// one part: id, choices.*.index.
	// +kubebuilder:validation:MaxItems=64
	// +optional
	Ignore []string `json:"ignore,omitempty"`
	// Tolerance is the relative difference of two numbers that does not count. Default: "0%".
	// +optional
	Tolerance *intstr.IntOrString `json:"tolerance,omitempty"`
	// Threshold is the similarity from which on prose counts as the same. Default: "80%".
	// +optional
	Threshold *intstr.IntOrString `json:"threshold,omitempty"`
}

// KeepSpec bounds what is kept of answers that differ. Headers and queries are
// never kept; members of JSON with names such as password or token, bearer
// tokens and well-known keys are masked always.
type KeepSpec struct {
	// Count is how many pairs of answers are kept; 0 keeps none. Default: 50.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	// +optional
	Count *int32 `json:"count,omitempty"`
	// Age after which a pair is let go. Default: 24h.
	// +optional
	Age *metav1.Duration `json:"age,omitempty"`
	// Fields are further members of JSON whose values are masked, by name.
	// +kubebuilder:validation:MaxItems=64
	// +optional
	Fields []string `json:"fields,omitempty"`
	// Patterns (RE2) whose matches are masked in every text.
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Patterns []string `json:"patterns,omitempty"`
}

// ModelSpec says how model traffic is read. Requests (POST) are known by the end
// of their path: /chat/completions, /completions, /embeddings and /responses
// (OpenAI-compatible), /v2/models/NAME/infer (Open Inference Protocol).
type ModelSpec struct {
	// Usage asks streams for their usage chunk (stream_options.include_usage)
	// where the client did not, and takes that chunk out of the answer; such a
	// request asks for an answer that is not compressed. Without it, the tokens of
	// such a stream are counted by its chunks. Default: false.
	// +optional
	Usage *bool `json:"usage,omitempty"`
	// Currency of the prices. Default: USD.
	// +kubebuilder:validation:Pattern=`^[A-Z]{3}$`
	// +optional
	Currency string `json:"currency,omitempty"`
	// Prices by the name of the model that answers, or else that was asked for;
	// "*" is for any other. Default: none, cost is not measured.
	// +kubebuilder:validation:MaxProperties=256
	// +optional
	Prices map[string]PriceSpec `json:"prices,omitempty"`
	// Paths name further paths and their protocols; they go before those that
	// the protocols lay down.
	// +kubebuilder:validation:MaxItems=64
	// +optional
	Paths []ModelPathSpec `json:"paths,omitempty"`
	// JSON says where the facts stand in answers of the api json, by dotted path
	// (a number names an element of a list): class, score, text, model,
	// modelVersion, finish, inputTokens, outputTokens, error.
	// +optional
	JSON map[string]string `json:"json,omitempty"`
}

// PriceSpec is the price of a million tokens, as a decimal number in quotes: "0.15".
type PriceSpec struct {
	// Input is of a million input tokens. Default: 0.
	// +kubebuilder:validation:Pattern=`^[0-9]+(\.[0-9]+)?$`
	// +optional
	Input string `json:"input,omitempty"`
	// Output is of a million output tokens. Default: 0.
	// +kubebuilder:validation:Pattern=`^[0-9]+(\.[0-9]+)?$`
	// +optional
	Output string `json:"output,omitempty"`
	// Cached is of input tokens that the server had in its cache. Default: the
	// price of input.
	// +kubebuilder:validation:Pattern=`^[0-9]+(\.[0-9]+)?$`
	// +optional
	Cached string `json:"cached,omitempty"`
	// Reasoning is of output tokens that are not shown. Default: the price of output.
	// +kubebuilder:validation:Pattern=`^[0-9]+(\.[0-9]+)?$`
	// +optional
	Reasoning string `json:"reasoning,omitempty"`
}

// ModelPathSpec names the protocol of a path.
type ModelPathSpec struct {
	// Path of the requests; * stands for anything but a slash: /models/*/predict.
	// +kubebuilder:validation:Pattern=`^/`
	Path string `json:"path"`
	// API is the protocol that is spoken there.
	// +kubebuilder:validation:Enum=chat;completions;embeddings;responses;infer;json
	API string `json:"api"`
}

// TLSSpec names a certificate.
type TLSSpec struct {
	// CertFile is a PEM file with the certificate chain, read again when it
	// changes. A relative name is relative to the manifest.
	CertFile string `json:"certFile"`
	// KeyFile is a PEM file with its key. A relative name is relative to the manifest.
	KeyFile string `json:"keyFile"`
}

// StickySpec says how a user is recognised: exactly one way.
//
// +kubebuilder:validation:ExactlyOneOf=cookie;header;jwt;client;json
type StickySpec struct {
	// Cookie is the name of a cookie that the proxy sets. It holds a random key, never a version.
	// +optional
	Cookie string `json:"cookie,omitempty"`
	// TTL of the cookie. Default: 720h.
	// +optional
	TTL *metav1.Duration `json:"ttl,omitempty"`
	// Header whose value is the user.
	// +optional
	Header string `json:"header,omitempty"`
	// JWT is a claim of the bearer token whose value is the user.
	// +optional
	JWT string `json:"jwt,omitempty"`
	// Client uses the address that the connection comes from.
	// +optional
	Client bool `json:"client,omitempty"`
	// JSON is the dotted path of a field of JSON request bodies whose text or number
	// is the user or the conversation, such as user or metadata.conversation. A
	// request whose body is longer than 1 MiB, or has no such field, is assigned by
	// itself. An id that changes with every turn, as previous_response_id does,
	// keeps nobody with a version.
	// +optional
	JSON string `json:"json,omitempty"`
}

// ShieldSpec is the second try by stable.
type ShieldSpec struct {
	// Enabled switches it. Default: true.
	// +optional
	Enabled *bool `json:"enabled,omitempty"`
	// Methods that may be tried twice. Adding POST or PATCH is your word that
	// doing them twice is harmless. Default: the idempotent ones (GET, HEAD,
	// OPTIONS, TRACE, PUT, DELETE).
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:Enum=GET;HEAD;OPTIONS;TRACE;PUT;DELETE;POST;PATCH
	// +optional
	Methods []string `json:"methods,omitempty"`
	// MaxBody is the largest request body kept for the second try, in bytes. Default: 65536.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=16777216
	// +optional
	MaxBody *int64 `json:"maxBody,omitempty"`
}

// TimeoutsSpec are the proxy's timeouts.
type TimeoutsSpec struct {
	// Header until a client's request header is complete. Default: 10s.
	// +optional
	Header *metav1.Duration `json:"header,omitempty"`
	// Idle of a client connection between two requests. Default: 2m.
	// +optional
	Idle *metav1.Duration `json:"idle,omitempty"`
	// Response until a version's response header; its end counts as an error of
	// the version; 0s: no limit. Default: 60s.
	// +optional
	Response *metav1.Duration `json:"response,omitempty"`
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
