package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// PrometheusSpec is a Prometheus server, or what speaks its API.
type PrometheusSpec struct {
	// Address of the server: http://host:port or https://host:port/prefix.
	// +kubebuilder:validation:Pattern=`^https?://[^@]+$`
	Address string `json:"address"`
	// Layout names the series that count a version's requests: envoy, http
	// (OpenTelemetry's http_server_request_duration_seconds), istio, linkerd, nginx
	// or traefik. Those of http, istio and linkerd are exported by the version's
	// own pods, and a server must label them with namespace and pod. Default: that of the router,
	// where spec.traffic names one by itself, or http.
	// +kubebuilder:validation:Enum=envoy;http;istio;linkerd;nginx;traefik
	// +optional
	Layout string `json:"layout,omitempty"`
	// Series are your own, in place of a layout.
	// +optional
	Series *SeriesSpec `json:"series,omitempty"`
	// Interval between two queries. Default: 1s.
	// +optional
	Interval *metav1.Duration `json:"interval,omitempty"`
	// Bearer names the token that is sent: a key of a Secret in the namespace
	// of the release.
	// +optional
	Bearer *SecretKeySpec `json:"bearer,omitempty"`
	// Basic is a user and a password.
	// +optional
	Basic *BasicSpec `json:"basic,omitempty"`
	// TLS names a Secret with ca.crt, and tls.crt and tls.key where the server
	// asks for a certificate.
	// +optional
	TLS string `json:"tls,omitempty"`
}

// SeriesSpec are the series that count one version's requests. Label values
// may hold $version, $role, $release, $namespace and $service, and regular
// expressions $pods: pod=~"$pods" selects what the version's own pods export.
type SeriesSpec struct {
	// Requests selects the counter of requests.
	// +kubebuilder:validation:MinLength=1
	Requests string `json:"requests"`
	// Buckets selects the _bucket series of the histogram of their times, or a
	// native histogram. Default: none, latency is not measured.
	// +optional
	Buckets string `json:"buckets,omitempty"`
	// Milliseconds says that the histogram's bounds are milliseconds.
	// +optional
	Milliseconds bool `json:"milliseconds,omitempty"`
	// Failed are labels and the values, as regular expressions, that mark
	// requests as failed: {"code": "5.."}.
	Failed map[string]string `json:"failed"`
}

// SecretKeySpec names one key of a Secret.
type SecretKeySpec struct {
	// Secret is its name.
	Secret string `json:"secret"`
	// Key in it.
	Key string `json:"key"`
}

// BasicSpec is a user and where the password stands.
type BasicSpec struct {
	// User that is sent.
	User string `json:"user"`
	// Password names a key of a Secret.
	Password SecretKeySpec `json:"password"`
}

// ScrapeSpec is Haldane's own scraper: it reads the counters of the router's
// pods, or of the versions' own pods, itself.
type ScrapeSpec struct {
	// Pods that serve /metrics of the router: a label selector and a namespace.
	// Default: the versions' own pods.
	// +optional
	Pods *PodsSpec `json:"pods,omitempty"`
	// Addresses of a router that runs outside of the cluster, host:port, in place
	// of pods.
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Addresses []string `json:"addresses,omitempty"`
	// Port of /metrics on pods.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	Port int32 `json:"port,omitempty"`
	// Path of the metrics. Default: /metrics.
	// +kubebuilder:validation:Pattern=`^/`
	// +optional
	Path string `json:"path,omitempty"`
	// Layout of the series: as for prometheus.
	// +kubebuilder:validation:Enum=envoy;http;istio;linkerd;nginx;traefik
	// +optional
	Layout string `json:"layout,omitempty"`
	// Series are your own, in place of a layout.
	// +optional
	Series *SeriesSpec `json:"series,omitempty"`
	// Interval between two readings. For three seconds after a failed request of the
	// canary, and a fifth of the time at most, pods that answer soon are read every
	// 50ms. Default: 100ms, 250ms of pods that take long to answer.
	// +optional
	Interval *metav1.Duration `json:"interval,omitempty"`
}

// PodsSpec selects pods.
type PodsSpec struct {
	// Namespace of the pods. Default: that of the release.
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// Labels that they have.
	// +kubebuilder:validation:MinProperties=1
	Labels map[string]string `json:"labels"`
}
