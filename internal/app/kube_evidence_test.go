package app

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	engine "github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/test/cluster"
)

// asked is a Prometheus server that has nothing and keeps what it was asked.
type asked struct {
	mu      sync.Mutex
	queries []string
	headers []http.Header
}

func (a *asked) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queries, a.headers = append(a.queries, r.FormValue("query")), append(a.headers, r.Header)
	fmt.Fprint(w, `{"status":"success","data":{"resultType":"matrix","result":[]}}`)
}

var podMatcher = regexp.MustCompile(`pod=~("(?:[^"\\]|\\.)*")`)

// forget what was asked.
func (a *asked) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queries = nil
}

// pods are the expressions of pods' names that were asked for of a counter, since what was forgotten.
func (a *asked) pods(counter string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []string
	for _, q := range a.queries {
		if m := podMatcher.FindStringSubmatch(q); m != nil && strings.HasPrefix(q, counter) {
			if text, err := strconv.Unquote(m[1]); err == nil && !slices.Contains(out, text) {
				out = append(out, text)
			}
		}
	}
	return out
}

// TestClusterSeriesAreOfEachVersionsPods: in the second run stable's pods are those
// that the first run's canary had, by name too, and each version is asked for by
// its own.
func TestClusterSeriesAreOfEachVersionsPods(t *testing.T) {
	s, server := newShop(t), &asked{}
	at := httptest.NewServer(server)
	defer at.Close()
	e, err := openEvidence(engine.New(s.live, s.live), t.TempDir(), at.URL, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	s.evidence = e
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v1"), halfRelease)
	s.controller()
	s.until("v1 serves", s.serves("hello", "v1"))
	s.until("the API server has taken the policy in", s.policyHolds)
	for n, version := range []string{"v2", "v3"} {
		s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, version))
		s.until(version+" has half of the traffic", s.weighs("hello", "50%"))
		server.forget()
		s.until("both versions are asked for", s.asks(server, fmt.Sprintf("v%d", n+1), version))
		s.annotate("hello", fmt.Sprintf(`{"haldane.dev/promote-full": "hello-%d"}`, n+2))
		s.until(version+" serves", s.serves("hello", version))
		s.until("the Deployment is free", s.free)
	}
}

// asks reports whether each of the versions was asked for by what names pods of it,
// and none of the other's.
func (s *shop) asks(server *asked, versions ...string) func() error {
	return func() error {
		list, err := s.Client.CoreV1().Pods(s.ns).List(s.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		var got []string
		asked := server.pods("http_server_request_duration_seconds_count")
		for _, text := range asked {
			named, all := map[string]bool{}, regexp.MustCompile("^(?:"+text+")$")
			for _, p := range list.Items {
				if all.MatchString(p.Name) {
					named[p.Spec.Containers[0].Image] = true
				}
			}
			if len(named) > 1 {
				return fmt.Errorf("%q names pods of %v", text, slices.Sorted(maps.Keys(named)))
			}
			for image := range named {
				got = append(got, strings.TrimPrefix(image, "hello:"))
			}
		}
		if slices.Sort(got); !slices.Equal(slices.Compact(got), versions) {
			return fmt.Errorf("pods of %v were asked for, by %q", got, asked)
		}
		return nil
	}
}

// TestClusterSecretsOfAPrometheusServer: the credentials are read from Secrets of
// the release's namespace, one that is not there yet the next time; and a server
// that asks for a certificate gets it.
func TestClusterSecretsOfAPrometheusServer(t *testing.T) {
	s, server := newShop(t), &asked{}
	pair := newAuthority(t)
	at := httptest.NewUnstartedServer(server)
	at.TLS = pair.serverConfig
	at.StartTLS()
	defer at.Close()
	e, err := openEvidence(engine.New(s.live, s.live), t.TempDir(), "", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	rel := release.Release{Name: s.ns + "/hello", Version: release.Version{Workload: release.Workload{Deployment: &release.Deployment{Name: "hello"}}}}
	if _, err := e.secrets.get(s.ns, "prometheus", "token"); err == nil {
		t.Fatal("a Secret that is not there was read")
	}
	s.secret("tls", map[string][]byte{corev1.ServiceAccountRootCAKey: pair.ca, corev1.TLSCertKey: pair.cert, corev1.TLSPrivateKeyKey: pair.key})
	s.secret("prometheus", map[string][]byte{"token": []byte("t0ken"), "password": []byte("pass")})
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v1"))
	for name, c := range map[string]struct {
		from release.Prometheus
		want string
	}{
		"bearer": {release.Prometheus{Bearer: "secret:prometheus/token"}, "Bearer t0ken"},
		"basic":  {release.Prometheus{User: "haldane", Password: "secret:prometheus/password"}, "Basic aGFsZGFuZTpwYXNz"},
	} {
		c.from.Address, c.from.TLS, c.from.Interval = at.URL, "tls", time.Hour
		reading := func() error {
			p, err := e.server(rel, c.from)
			if err != nil {
				return err
			}
			r, err := p.Open(t.Context(), metric.Subject{Release: rel, Started: time.Now(), Metrics: []release.Metric{{Name: "errors", Kind: release.Errors}}}, nil)
			if err != nil {
				return err
			}
			defer r.Close()
			deadline := time.After(cluster.Patience)
			select {
			case <-r.Wake(): // the server has answered
				return nil
			case <-deadline:
				got, err := r.Read(t.Context())
				return errors.Join(err, errors.New(got.Missing))
			}
		}
		if err := reading(); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		server.mu.Lock()
		if got := server.headers[len(server.headers)-1].Get("Authorization"); got != c.want {
			t.Errorf("%s: sent %q, want %q", name, got, c.want)
		}
		server.mu.Unlock()
	}
}

// secret makes a Secret.
func (s *shop) secret(name string, data map[string][]byte) {
	s.Helper()
	_, err := s.Client.CoreV1().Secrets(s.ns).Create(s.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}, metav1.CreateOptions{})
	if err != nil {
		s.Fatal(err)
	}
}

// authority is who signed the server's certificate and the client's.
type authority struct {
	ca, cert, key []byte // PEM: of itself, and of a client
	serverConfig  *tls.Config
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	root, rootKey, rootPEM, _ := certificate(t, "authority", nil, nil)
	_, _, cert, key := certificate(t, "haldane", root, rootKey)
	_, _, serverCert, serverKey := certificate(t, "prometheus", root, rootKey)
	pair, err := tls.X509KeyPair(serverCert, serverKey)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	return authority{ca: rootPEM, cert: cert, key: key, serverConfig: &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
	}}
}

// certificate makes one for the loopback address; without a parent it signs itself.
func certificate(t *testing.T, name string, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, []byte, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true, IsCA: parent == nil, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	if parent == nil {
		parent, by = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return parsed, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})
}
