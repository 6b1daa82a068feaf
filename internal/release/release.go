// Package release holds the words of Haldane as plain types: release, version,
// step, weight, split, metric. It knows the rules that hold for one release by
// itself (what makes a version, how a strategy compiles into steps) and nothing
// of time, storage, YAML, networks or statistics. Standard library only.
//
// Read release.go first, then plan.go (steps) and version.go (identity).
package release

import "time"

// Weight is a share of traffic in hundredths of a percent: 0 to Full.
type Weight int32

// Full is all of the traffic, 100 %.
const Full Weight = 10_000

// Release is what the user declares: which workload should serve, behind which
// traffic, and how a new version of it comes to serve. It is the parsed and
// defaulted form of a manifest; everything in it is valid.
type Release struct {
	Name       string
	UID        string // identity of this declaration; a deleted and re-created release has another
	Generation int64  // grows with every accepted change of the spec
	Version    Version
	Replicas   int // instances that serve all of the traffic
	Traffic    Traffic
	Strategy   Strategy
	Analysis   Analysis
}

// VersionID is the content hash of a version's template, ten hex digits.
type VersionID string

// Version is an immutable, content-hashed workload template.
type Version struct {
	ID       VersionID `json:"id"`
	Name     string    `json:"name"` // what people call it; the ID where they gave no name
	Workload Workload  `json:"workload"`
}

// Workload is the template of a version: exactly one of Process, Endpoints and
// Deployment is set.
type Workload struct {
	Process    *Process    `json:"process,omitempty"`
	Endpoints  *Endpoints  `json:"endpoints,omitempty"`
	Deployment *Deployment `json:"deployment,omitempty"`
	Rewrite    *Rewrite    `json:"rewrite,omitempty"` // what is changed in each request that this version gets
	WarmUp     *WarmUp     `json:"warmUp,omitempty"`
}

// Process is a local program that Haldane starts and supervises. Every instance
// gets a free loopback port in the environment variable PortEnv.
type Process struct {
	Command []string      `json:"command"`
	Dir     string        `json:"dir,omitempty"`
	Env     []EnvVar      `json:"env,omitempty"` // sorted by name
	PortEnv string        `json:"portEnv"`
	Ready   Probe         `json:"ready"`
	Drain   time.Duration `json:"drain"` // longest time an instance may finish its requests
	H2C     bool          `json:"h2c,omitempty"`
}

// EnvVar is one environment variable. ValueFrom names a variable of Haldane's
// own environment or a file ("env:NAME", "file:/path"), so that secrets need
// not stand in the manifest; it is resolved when an instance starts.
type EnvVar struct {
	Name      string `json:"name"`
	Value     string `json:"value,omitempty"`
	ValueFrom string `json:"valueFrom,omitempty"`
}

// Endpoints are instances that already run elsewhere.
type Endpoints struct {
	Addresses []string      `json:"addresses"` // host:port, http://host:port, https://host:port, h2c://host:port
	Ready     Probe         `json:"ready"`
	Drain     time.Duration `json:"drain"`
}

// Deployment names a Kubernetes Deployment of the release's own namespace.
type Deployment struct {
	Name    string  `json:"name"`
	Content Content `json:"content,omitzero"`
}

// Content names the objects whose content belongs to a version of a Deployment.
type Content struct {
	ConfigMaps []string `json:"configMaps,omitempty"`
	Secrets    []string `json:"secrets,omitempty"`
}

// Probe says when an instance is ready. Without HTTP a TCP connection is enough.
type Probe struct {
	HTTP     string        `json:"http,omitempty"` // path; ready when it answers 200..399
	Interval time.Duration `json:"interval"`
	Timeout  time.Duration `json:"timeout"`
	Deadline time.Duration `json:"deadline"` // longest time from start to first ready
}

// WarmUp are requests sent to every new instance before it counts as ready.
type WarmUp struct {
	Requests int    `json:"requests"`
	Path     string `json:"path"`
	Body     string `json:"body,omitempty"` // JSON, by POST; empty: GET
}

// Rewrite changes requests on their way to one version, so that a model name,
// an adapter or a prompt can be the version while one server runs.
type Rewrite struct {
	PathPrefix    string            `json:"pathPrefix,omitempty"` // put before the path
	SetHeaders    map[string]string `json:"setHeaders,omitempty"`
	RemoveHeaders []string          `json:"removeHeaders,omitempty"`
	SetJSON       map[string]any    `json:"setJSON,omitempty"` // dotted path in a JSON request body -> value
	System        string            `json:"system,omitempty"`  // prompt of a chat, in place of the client's
}

// Traffic says what splits the requests between versions: exactly one field.
type Traffic struct {
	Embedded   *Embedded
	GatewayAPI *GatewayAPI
	Istio      *Istio
	Linkerd    *Linkerd
	NGINX      *NGINX
	Replicas   *Replicas
}

// Embedded is Haldane's own proxy.
type Embedded struct {
	Listen string // host:port
	TLS    *TLS
	Sticky Sticky
	// TestHeader lets a client ask for a version by name or role ("canary",
	// "stable"); empty switches that off.
	TestHeader string
	Shield     Shield
	Timeouts   Timeouts
	Model      *Model         `json:",omitempty"` // nil: model traffic is not read
	Feedback   *TakesFeedback `json:",omitempty"` // nil: none is taken
	Mirror     Mirroring
}

// TLS names the files of a certificate and its key, read again when they change.
type TLS struct{ CertFile, KeyFile string }

// Sticky says how a user is recognised, so that one user stays with one
// version. All empty: every request is assigned by itself.
type Sticky struct {
	Cookie string        // name of a cookie that the proxy sets; it holds a random key, never a version
	TTL    time.Duration // of that cookie
	Header string
	JWT    string // claim of a bearer token (not verified: it only groups requests)
	Client bool   // client address
	JSON   string // dotted path of a field of JSON request bodies
}

// Enabled reports whether requests are assigned by user.
func (s Sticky) Enabled() bool {
	return s.Cookie != "" || s.Header != "" || s.JWT != "" || s.Client || s.JSON != ""
}

// Shield answers a request by stable when the canary failed before its first
// byte was sent to the client. The failure still counts against the canary.
type Shield struct {
	Enabled bool
	// Methods lists the methods that are shielded; idempotent ones by default.
	Methods []string
	MaxBody int64 // bytes kept for a second try; larger requests are not shielded
}

// Timeouts of the embedded proxy; zero means none.
type Timeouts struct {
	Header   time.Duration // for a client's request header
	Idle     time.Duration // of a client connection between requests
	Response time.Duration // until a version's response header; its end counts against the version
}

// Match selects requests: all of the conditions that are set must hold.
type Match struct {
	Headers []HeaderMatch `json:"headers,omitempty"`
	Cookie  *HeaderMatch  `json:"cookie,omitempty"`
	Path    string        `json:"path,omitempty"`   // prefix
	Cohort  Weight        `json:"cohort,omitempty"` // share of users, by sticky key
}

// HeaderMatch compares one header (or cookie) by exactly one of its ways.
type HeaderMatch struct {
	Name   string `json:"name"`
	Exact  string `json:"exact,omitempty"`
	Prefix string `json:"prefix,omitempty"`
	Regexp string `json:"regexp,omitempty"` // RE2, anchored at both ends
}

// Backend is where one version can be reached now.
type Backend struct {
	Version   VersionID
	Addresses []string // scheme://host:port
	Rewrite   *Rewrite
}
