package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

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
	// Fields are further members of JSON, or fields of forms, whose values are masked,
	// by name.
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
	// Input says where the requests of the api json say what is asked, by dotted path
	// (* stands for every element of a list): text, values (numbers, such as
	// instances.*.*). It tells whether both versions are asked alike.
	// +optional
	Input map[string]string `json:"input,omitempty"`
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
